"""Speed of searching the vectors of an index, in memory and by the database's own index."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from tempme_jax.search.query.moments import count_candidates
from tempme_jax.search.query.scoring import ExactSearch
from tempme_jax.search.store.rows import Near, WindowRow, make_window_id
from tempme_jax.search.store.store import Store

T = TypeVar("T")
# Number of best windows whose recall judges the database's index.
JUDGED = 10
# Windows of a video, most centres that the vectors lie around, and windows stored at once.
OF_A_VIDEO, CENTRES, AT_ONCE = 50, 2000, 10_000
# Noise between a centre and its windows, and a window and its query: cosines of 0.8 and 0.7.
WINDOW_NOISE, QUERY_NOISE = 0.5, 1.0


@dataclasses.dataclass(frozen=True)
class SearchSpeed:
    """Speed of searching windows.

    Attributes:
        windows, queries: their numbers.
        width: numbers in a vector.
        fetched: windows that each query asks for.
        exact_p50_ms, exact_p99_ms: time of a query that is compared with all vectors in memory.
        batch_ms: time per query if all queries are compared at once.
        memory_mb: size of the vectors, in 1e6 bytes.
        index_p50_ms, index_p99_ms: time of a query by the database's index.
        recall: share of the best 10 windows that the index finds.
        write_seconds: seconds to write all windows into the database.
        build_seconds: seconds to build the index.
        disk_mb: size of the database with its index, in 1e6 bytes.
    """

    windows: int
    queries: int
    width: int
    fetched: int
    exact_p50_ms: float
    exact_p99_ms: float
    batch_ms: float
    memory_mb: float
    index_p50_ms: float
    index_p99_ms: float
    recall: float
    write_seconds: float
    build_seconds: float
    disk_mb: float


def measure_search(
    windows: int = 100_000,
    queries: int = 1000,
    width: int = 512,
    fetch: int = count_candidates(10),
    *,
    report: Callable[[str], None] = lambda message: None,
) -> SearchSpeed:
    """Search random vectors that lie in clusters, as those of videos do.

    Args:
        windows, queries: their numbers.
        width: numbers in a vector.
        fetch: windows that each query asks for; the default is enough for ten moments.
        report: called with a message before each part of the work.
    """
    vectors, asked = make_random_vectors(windows, queries, width)
    fetched = min(fetch, windows)
    exact = ExactSearch(vectors)
    report("searching in memory, one query at a time")
    exact_times, found = time_queries(lambda query: exact.find_best(query, fetched)[0], asked)
    report("searching in memory, all queries at once")
    started = time.perf_counter()
    exact.find_best(asked, fetched)
    batch = time.perf_counter() - started
    index_times, hits, *made = measure_database(vectors, asked, fetched, report)
    judged = min(JUDGED, windows)
    right = sum(
        len({int(hit.id.rpartition("-")[2]) for hit in row[:judged]} & set(best[:judged].tolist()))
        for row, best in zip(hits, found, strict=True)
    )
    return SearchSpeed(
        windows, queries, width, fetched, *summarize_times(exact_times), 1000 * batch / queries,
        vectors.nbytes / 1e6, *summarize_times(index_times), right / (judged * queries), *made,
    )  # fmt: skip


def measure_database(
    vectors: np.ndarray, queries: np.ndarray, count: int, report: Callable[[str], None]
) -> tuple[list[float], list[list[Near]], float, float, float]:
    """Return seconds and windows of each query, seconds to write and to index, and size in MB."""
    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as folder:
        report("writing the database")
        started = time.perf_counter()
        unrelated = np.zeros((0, vectors.shape[1]), np.float32)
        store = Store.create(folder, {}, [], unrelated, exact_limit=0)
        for rows in make_window_rows(vectors):
            store.commit(rows, [])
        written = time.perf_counter()
        report("making its index")
        store.tidy()
        built = time.perf_counter()
        report("searching with its index")
        seconds, found = time_queries(lambda query: store.find_nearest(query, count), queries)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return seconds, found, written - started, built - written, size / 1e6


def make_random_vectors(windows: int, queries: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of windows and queries, float32 [windows, width], [queries, width]."""
    rng = np.random.default_rng(0)

    def scatter(vectors: np.ndarray, noise: float) -> np.ndarray:
        step = rng.standard_normal(vectors.shape, np.float32)
        step *= noise / np.sqrt(width)
        step += vectors
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        return step

    count = min(CENTRES, max(1, windows // OF_A_VIDEO))
    centres = scatter(np.zeros((count, width), np.float32), 1.0)
    vectors = scatter(centres[np.arange(windows) // OF_A_VIDEO % count], WINDOW_NOISE)
    return vectors, scatter(vectors[rng.integers(windows, size=queries)], QUERY_NOISE)


def make_window_rows(vectors: np.ndarray) -> Iterator[list[WindowRow]]:
    """Yield windows for the database in batches; the number in an id is the row of its vector."""
    for start in range(0, len(vectors), AT_ONCE):
        rows = []
        for row in range(start, min(start + AT_ONCE, len(vectors))):
            content, at = f"{row // OF_A_VIDEO:08x}", 6.0 * (row % OF_A_VIDEO)
            rows.append(
                WindowRow(make_window_id(content, row), content, at, at + 12.0, vectors[row], b"")
            )
        yield rows


def time_queries(
    search: Callable[[np.ndarray], T], queries: np.ndarray
) -> tuple[list[float], list[T]]:
    """Return the seconds and the result of each query, after one query that is not timed."""
    search(queries[0])
    seconds, found = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - started)
    return seconds, found


def summarize_times(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    p50, p99 = 1000 * np.percentile(seconds, [50, 99])
    return float(p50), float(p99)
