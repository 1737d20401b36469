"""The ways to search windows that `tempme bench search` compares; each runs in its own process.

Every function takes a folder with `vectors.npy` and `queries.npy`, and imports what it needs
itself, so that a process holds nothing else.
"""

import concurrent.futures
import functools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

import numpy as np
import psutil

if TYPE_CHECKING:
    from tempme_jax.search.store.rows import WindowRow

P = ParamSpec("P")
T = TypeVar("T")
# Number of best windows whose recall judges a way.
JUDGED = 10
# Windows of a video, and windows stored at once.
OF_A_VIDEO, AT_ONCE = 50, 10_000
INDEX = "index"
# Lists of faiss's IVF for each root of the number of windows, and the share of them looked into.
IVF_LISTS, IVF_PROBED = 4, 0.02
# Neighbours of a window in faiss's HNSW, and windows looked at in a search, at least.
HNSW_NEIGHBOURS, HNSW_LOOKED_AT = 32, 64


class Measured(NamedTuple):
    """What was measured of a way: see `bench.search.SearchSpeed`.

    Attributes:
        seconds: of each query.
        best: rows of the best 10 windows of each query, int64 [queries, 10].
    """

    seconds: list[float]
    best: np.ndarray
    made_seconds: float
    disk_mb: float
    resident_mb: float
    anonymous_mb: float


Way = Callable[[Path, int], Measured]


def list_ways(against: str | None) -> list[tuple[Way, str]]:
    """List the ways and their names; the first one is exact."""
    ways: list[tuple[Way, str]] = [
        (search_in_memory, "all in memory"),
        (search_coded, "rounded, best exact"),
        (search_database, "LanceDB's index"),
    ]
    if against == "faiss":
        for kind in ("Flat", "IVF", "HNSW"):
            ways.append((functools.partial(search_faiss, kind), f"faiss {kind}"))
    return ways


def write_database(folder: Path) -> tuple[float, float]:
    """Write the database of an index; return seconds, and its size in 1e6 bytes."""
    from tempme_jax.search.store.rows import FileRow
    from tempme_jax.search.store.store import Store

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    started = time.perf_counter()
    unrelated = np.zeros((0, vectors.shape[1]), np.float32)
    store = Store.create(folder / INDEX, {}, [], unrelated, exact_limit=0)
    for rows in make_window_rows(vectors):
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.content] = counts.get(row.content, 0) + 1
        files = [
            FileRow(f"{name:0>24}", "..", name.encode(), 1, 1, name, 6.0, count)
            for name, count in counts.items()
        ]
        store.commit(rows, files)
    return time.perf_counter() - started, _measure_size(folder)


def search_in_memory(folder: Path, fetched: int) -> Measured:
    """Compare queries with all vectors, as a search of a small index does."""
    from tempme_jax.search.query.scoring import ExactSearch

    exact = ExactSearch(np.load(folder / "vectors.npy"))
    return _measure(folder, lambda query: exact.find_best(query, fetched)[0])


def search_coded(folder: Path, fetched: int) -> Measured:
    """Compare queries with the rounded vectors of the side file, as a search of a large index."""
    from tempme_jax.search.query.catalogue import Catalogue
    from tempme_jax.search.query.coded_candidates import CodedCandidates
    from tempme_jax.search.store import sidefile

    made = run_alone(_write_side_file, folder)
    side = sidefile.read_side_file(str(folder / INDEX))
    assert side is not None
    rows = side.read_files()
    catalogue = Catalogue(rows, {row.id: Path(row.path.decode()) for row in rows})
    candidates = CodedCandidates(side, catalogue)
    allowed = np.ones(len(catalogue.names), bool)

    def search(query: np.ndarray) -> list[int]:
        found = candidates.score_windows(query, allowed, fetched)
        best = np.argsort(-found.scores)[:fetched]
        return [_read_row(found.ids[place]) for place in best[:JUDGED]]

    size = (folder / INDEX / sidefile.NAME).stat().st_size / 1e6
    return _measure(folder, search, made, size)


def search_database(folder: Path, fetched: int) -> Measured:
    """Ask LanceDB's index, as a search of a large index in an object store does."""
    from tempme_jax.search.store.store import Store

    before = _measure_size(folder)
    store, started = Store.open(folder / INDEX, exact_limit=0), time.perf_counter()
    store.tidy()
    made = time.perf_counter() - started

    def search(query: np.ndarray) -> list[int]:
        return [_read_row(hit.id) for hit in store.find_nearest(query, fetched)[:JUDGED]]

    return _measure(folder, search, made, _measure_size(folder) - before)


def search_faiss(kind: str, folder: Path, fetched: int) -> Measured:
    """Search with faiss: "Flat" compares with all, "IVF" and "HNSW" with some of the vectors."""
    import faiss  # pyright: ignore[reportMissingImports]  # an extra of the package

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    count, width = vectors.shape
    started = time.perf_counter()
    if kind == "Flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "IVF":
        lists = max(1, min(count // 40, round(IVF_LISTS * count**0.5)))
        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT
        )
        index.nprobe = max(1, round(IVF_PROBED * lists))
        index.train(np.ascontiguousarray(vectors[:: max(1, count // (64 * lists))]))
    else:
        index = faiss.IndexHNSWFlat(width, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = max(HNSW_LOOKED_AT, fetched)
    for start in range(0, count, AT_ONCE):
        index.add(np.ascontiguousarray(vectors[start : start + AT_ONCE]))
    made = time.perf_counter() - started
    del vectors
    return _measure(folder, lambda query: index.search(query[None], fetched)[1][0], made)


def run_alone(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments, **options).result()


def make_window_rows(vectors: np.ndarray) -> Iterator[list["WindowRow"]]:
    """Yield windows for the database in batches; the number in an id is the row of its vector."""
    from tempme_jax.search.store.rows import WindowRow, make_window_id

    for start in range(0, len(vectors), AT_ONCE):
        rows = []
        for row in range(start, min(start + AT_ONCE, len(vectors))):
            content, at = f"{row // OF_A_VIDEO:08x}", 6.0 * (row % OF_A_VIDEO)
            rows.append(
                WindowRow(make_window_id(content, row), content, at, at + 12.0, vectors[row], b"")
            )
        yield rows


def _measure(
    folder: Path,
    search: Callable[[np.ndarray], np.ndarray | list[int]],
    made: float = 0.0,
    disk_mb: float = 0.0,
) -> Measured:
    """Time every query, after one that is not timed, and look at the memory."""
    queries = np.load(folder / "queries.npy")
    search(queries[0])
    seconds, best = [], []
    for query in queries:
        started = time.perf_counter()
        found = search(query)
        seconds.append(time.perf_counter() - started)
        best.append(found[:JUDGED])
    memory = psutil.Process().memory_info()
    anonymous = memory.rss - getattr(memory, "shared", 0)
    return Measured(seconds, np.array(best), made, disk_mb, memory.rss / 1e6, anonymous / 1e6)


def _write_side_file(folder: Path) -> float:
    from tempme_jax.search.store import sidefile, sidewriter
    from tempme_jax.search.store.store import Store

    sidewriter.EXACT_WINDOWS = 0
    store, started = Store.open(folder / INDEX), time.perf_counter()
    assert sidefile.write_side_file(store)
    return time.perf_counter() - started


def _read_row(window: str) -> int:
    return int(window.rpartition("-")[2])


def _measure_size(folder: Path) -> float:
    files = (folder / INDEX).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
