"""Speed, recall and memory of searching the vectors of an index, in all ways side by side.

Each way is measured in a process of its own, so the memory is what it takes by itself.
"""

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tempme_jax.bench import searchers
from tempme_jax.bench.searchers import OF_A_VIDEO, Measured
from tempme_jax.search.query.moments import count_candidates

# Most centres that the vectors lie around.
CENTRES = 2000
# Noise between a centre and its windows, and a window and its query: cosines of 0.8 and 0.7.
WINDOW_NOISE, QUERY_NOISE = 0.5, 1.0
# The libraries that `against` may name.
OTHERS = ("faiss",)


@dataclasses.dataclass(frozen=True)
class SearchSpeed:
    """Speed of one way to search windows.

    Attributes:
        way: its name.
        p50_ms, p99_ms: time of a query.
        recall: share of the best 10 windows that it finds.
        made_seconds: seconds to make what it searches, in addition to the database.
        disk_mb: what that takes on the disk, in 1e6 bytes; 0 for what is made in memory.
        resident_mb: memory of a process that only searches, in 1e6 bytes, at the end.
        anonymous_mb: the part of it that is not a file in the system's cache; the same where the
            system does not tell.
    """

    way: str
    p50_ms: float
    p99_ms: float
    recall: float
    made_seconds: float
    disk_mb: float
    resident_mb: float
    anonymous_mb: float


@dataclasses.dataclass(frozen=True)
class SearchSpeeds:
    """Speeds of searching windows, one for each way.

    Attributes:
        windows, queries: their numbers.
        width: numbers in a vector.
        fetched: windows that each query asks for.
        write_seconds: seconds to write all windows into the database.
        database_mb: size of the database without indexes, in 1e6 bytes.
        ways: the speeds.
    """

    windows: int
    queries: int
    width: int
    fetched: int
    write_seconds: float
    database_mb: float
    ways: list[SearchSpeed]


def measure_search(
    windows: int = 100_000,
    queries: int = 1000,
    width: int = 512,
    fetch: int = count_candidates(10),
    *,
    against: str | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> SearchSpeeds:
    """Search random vectors that lie in clusters, as those of videos do.

    Args:
        windows, queries: their numbers.
        width: numbers in a vector.
        fetch: windows that each query asks for; the default is enough for ten moments.
        against: a library to measure, too, which has to be installed: one of `OTHERS`.
        report: called with a message before each part of the work.

    Raises:
        ImportError: the library is not installed.
    """
    if against and importlib.util.find_spec(against) is None:
        raise ImportError(
            f"{against} is not installed; install it with `pip install 'tempme-jax[bench]'`"
        )
    fetched = min(fetch, windows)
    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as name:
        folder = Path(name)
        report("making random vectors")
        searchers.run_alone(save_random_vectors, folder, windows, queries, width)
        report("writing the database")
        written, size = searchers.run_alone(searchers.write_database, folder)
        exact: np.ndarray | None = None
        ways = []
        for measure, what in searchers.list_ways(against):
            report(f"searching: {what}")
            found = searchers.run_alone(measure, folder, fetched)
            exact = found.best if exact is None else exact
            ways.append(summarize(what, found, exact))
    return SearchSpeeds(windows, queries, width, fetched, written, size, ways)


def summarize(way: str, found: Measured, exact: np.ndarray) -> SearchSpeed:
    """Summarize what was measured of a way, given the rows of the really best windows."""
    right = sum(len(set(one) & set(other)) for one, other in zip(found.best, exact, strict=True))
    p50, p99 = (1000 * float(np.percentile(found.seconds, share)) for share in (50, 99))
    return SearchSpeed(
        way, p50, p99, right / exact.size, found.made_seconds, found.disk_mb,
        found.resident_mb, found.anonymous_mb,
    )  # fmt: skip


def save_random_vectors(folder: Path, windows: int, queries: int, width: int) -> None:
    """Save vectors of windows and queries in a folder."""
    vectors, asked = make_random_vectors(windows, queries, width)
    np.save(folder / "vectors", vectors)
    np.save(folder / "queries", asked)


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
