"""How fast the vectors of an index are searched, in memory and by the index of the database."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tempme_jax.search.query.moments import to_look_at
from tempme_jax.search.query.scoring import Exact
from tempme_jax.search.store.rows import Near, WindowRow, window_id
from tempme_jax.search.store.store import Store

# Of the windows that are fetched for each query, those by which the index is judged.
JUDGED = 10
# Windows of a video, centres at most that vectors lie around, and windows stored at once.
OF_A_VIDEO, CENTRES, AT_ONCE = 50, 2000, 10_000
# How far windows are from their centre, and queries from a window: cosines of 0.8 and 0.7.
WINDOW_NOISE, QUERY_NOISE = 0.5, 1.0


@dataclasses.dataclass(frozen=True)
class SearchSpeed:
    """How fast windows are found.

    Attributes:
        windows, queries, width: how many, and of how many numbers.
        fetched: windows that each query asks for.
        exact_p50_ms, exact_p99_ms: of one query, compared with all vectors in memory.
        batch_ms: the same in one batch of all queries, for each of them.
        memory_mb: of the vectors, in 1e6 bytes.
        index_p50_ms, index_p99_ms: of one query, by the index of the database.
        recall: the share of the best 10 windows that the index finds.
        write_seconds: of all windows into the database.
        build_seconds: of the index.
        disk_mb: of the database with its index, in 1e6 bytes.
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


def measure(
    windows: int = 100_000,
    queries: int = 1000,
    width: int = 512,
    fetch: int = to_look_at(10),
    *,
    report: Callable[[str], None] = lambda message: None,
) -> SearchSpeed:
    """Searches random vectors that lie in clusters, as those of videos do.

    Args:
        windows, queries, width: how many, and of how many numbers.
        fetch: windows that each query asks for; the default is what ten moments take.
        report: is told what is being done.
    """
    vectors, asked = random_vectors(windows, queries, width)
    fetched = min(fetch, windows)
    exact = Exact(vectors)
    report("searching in memory, one query at a time")
    exact_times, found = timed(lambda query: exact.best(query, fetched)[0], asked)
    report("searching in memory, all queries at once")
    started = time.perf_counter()
    exact.best(asked, fetched)
    batch = time.perf_counter() - started
    index_times, hits, *made = in_database(vectors, asked, fetched, report)
    judged = min(JUDGED, windows)
    right = sum(
        len({int(hit.id.rpartition("-")[2]) for hit in row[:judged]} & set(best[:judged].tolist()))
        for row, best in zip(hits, found, strict=True)
    )
    return SearchSpeed(
        windows, queries, width, fetched, *milliseconds(exact_times), 1000 * batch / queries,
        vectors.nbytes / 1e6, *milliseconds(index_times), right / (judged * queries), *made,
    )  # fmt: skip


def in_database(
    vectors: np.ndarray, queries: np.ndarray, count: int, report: Callable[[str], None]
) -> tuple[list[float], list[list[Near]], float, float, float]:
    """Seconds of each query, what it found, seconds of writing and indexing, and 1e6 bytes."""
    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as folder:
        report("writing the database")
        started = time.perf_counter()
        unrelated = np.zeros((0, vectors.shape[1]), np.float32)
        store = Store.create(folder, {}, [], unrelated, exact_limit=0)
        for rows in window_rows(vectors):
            store.commit(rows, [])
        written = time.perf_counter()
        report("making its index")
        store.tidy()
        built = time.perf_counter()
        report("searching with its index")
        seconds, found = timed(lambda query: store.nearest(query, count), queries)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return seconds, found, written - started, built - written, size / 1e6


def random_vectors(windows: int, queries: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of windows and queries, float32 [windows, width] and [queries, width]."""
    rng = np.random.default_rng(0)

    def near(vectors: np.ndarray, noise: float) -> np.ndarray:
        step = rng.standard_normal(vectors.shape, np.float32)
        step *= noise / np.sqrt(width)
        step += vectors
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        return step

    count = min(CENTRES, max(1, windows // OF_A_VIDEO))
    centres = near(np.zeros((count, width), np.float32), 1.0)
    vectors = near(centres[np.arange(windows) // OF_A_VIDEO % count], WINDOW_NOISE)
    return vectors, near(vectors[rng.integers(windows, size=queries)], QUERY_NOISE)


def window_rows(vectors: np.ndarray) -> Iterator[list[WindowRow]]:
    """Windows for the database, some at once; the number in an id is the row of the vector."""
    for start in range(0, len(vectors), AT_ONCE):
        rows = []
        for row in range(start, min(start + AT_ONCE, len(vectors))):
            content, at = f"{row // OF_A_VIDEO:08x}", 6.0 * (row % OF_A_VIDEO)
            rows.append(
                WindowRow(window_id(content, row), content, at, at + 12.0, vectors[row], b"")
            )
        yield rows


def timed(search: Callable[[np.ndarray], list], queries: np.ndarray) -> tuple[list[float], list]:
    """Seconds of each query, and what it found; a first one that does not count goes before."""
    search(queries[0])
    seconds, found = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - started)
    return seconds, found


def milliseconds(seconds: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    p50, p99 = 1000 * np.percentile(seconds, [50, 99])
    return float(p50), float(p99)
