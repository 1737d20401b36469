"""The windows that a search compares: all of them from memory, or the nearest ones by the database.

`InMemoryCandidates` suits small indexes; large ones are searched by `CodedCandidates`, or by
`DatabaseCandidates` as long as they have no side file. Contents are referred to by their numbers in
the `Catalogue`.
"""

import bisect
import collections
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.moments import Spans
from tempme_jax.search.query.scoring import ExactSearch, find_best_scores
from tempme_jax.search.store.rows import Near, WindowRow, make_window_id

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.sidefile import SideFile
    from tempme_jax.search.store.store import Store

# Number of windows of the index that are searched for, to measure what unrelated windows score.
SAMPLES = 256
# Nearest windows that each of these is compared with, before other contents are asked for.
NEIGHBOURS = 100
# Most windows that are fetched to complete the contents with several hits.
WINDOWS_AT_MOST = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredWindows:
    """Windows with their scores, in order of content and start.

    Attributes:
        ids: the ids of the n windows.
        spans: their contents and times.
        scores: float32 [n]; -inf for windows that are left out.
        complete: whether the index holds no other window that the search may return.
    """

    ids: list[str]
    spans: Spans
    scores: np.ndarray
    complete: bool


class Candidates(Protocol):
    """A way to find the windows of an index that are most similar to a query."""

    def score_windows(self, query: np.ndarray, allowed: np.ndarray, count: int) -> ScoredWindows:
        """Return at least the `count` best windows of the allowed contents, if there are as many.

        `query` is a unit vector, float32 [d]; `allowed` is bool [contents].
        """
        ...

    def measure_texts(self, texts: np.ndarray) -> np.ndarray:
        """Return the best score in the index of each text vector: float32 [m, d] to [m]."""
        ...

    def measure_windows(self) -> np.ndarray:
        """Return the best scores of sampled windows among the windows of other contents."""
        ...

    def score_content(
        self, query: np.ndarray, content: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return starts, ends and scores of all windows of a content, each [n]; maybe rounded."""
        ...

    def find_window(self, window: str) -> WindowRow | None:
        """Return the window of an id, perhaps without its thumbnail; None if there is none."""
        ...


class InMemoryCandidates:
    """Hold all vectors in memory and compare each query with every one of them."""

    def __init__(self, store: "Store | SideFile", catalogue: Catalogue):
        """Read all vectors; windows of contents that no file has are never returned."""
        self.vectors = store.read_vectors()
        self.exact = ExactSearch(self.vectors.matrix)
        numbers = [catalogue.number.get(name, -1) for name in self.vectors.names]
        # For each vector the number of its content; -1 if no file has that content.
        self.contents = np.array(numbers, np.int64)[self.vectors.contents]
        order = np.lexsort((self.vectors.ends, self.vectors.starts, self.contents))
        self.order = order[np.searchsorted(self.contents[order], 0) :]
        self.ids = [self.vectors.ids[row] for row in self.order]
        self.spans = Spans(
            self.contents[self.order],
            self.vectors.starts[self.order].astype(np.float64),
            self.vectors.ends[self.order].astype(np.float64),
        )
        self.rows: dict[str, int] = {}

    def find_damaged(self, catalogue: Catalogue, checksums: Mapping[str, int]) -> set[str]:
        """Return the contents whose windows are not all there, or have another checksum."""
        counts = np.bincount(self.vectors.contents, minlength=len(self.vectors.names)).tolist()
        stored = dict(zip(self.vectors.names, counts, strict=True))
        computed = dict(zip(self.vectors.names, self.vectors.checksums, strict=False))
        return {
            name
            for name, windows in zip(catalogue.names, catalogue.windows.tolist(), strict=True)
            if stored.get(name, 0) != windows
            or (name in computed and computed[name] != checksums.get(name, computed[name]))
        }

    def score_windows(self, query: np.ndarray, allowed: np.ndarray, count: int) -> ScoredWindows:
        """Score every window of the index; `count` does not matter here."""
        scores = self.exact.compute_scores(query)[self.order]
        scores[~allowed[self.spans.contents] | np.isnan(scores)] = -np.inf
        return ScoredWindows(ids=self.ids, spans=self.spans, scores=scores, complete=True)

    def measure_texts(self, texts: np.ndarray) -> np.ndarray:
        """Compare every text with every window."""
        best = find_best_scores(texts, self.exact.vectors, self.contents)
        return best[np.isfinite(best)]

    def measure_windows(self) -> np.ndarray:
        """Take `SAMPLES` windows, evenly over contents and time, and compare them with all."""
        rows = np.lexsort((self.vectors.starts, self.vectors.contents))
        rows = rows[self.contents[rows] >= 0]
        rows = rows[space_evenly(len(rows), SAMPLES)]
        queries, own = self.exact.vectors[rows], self.contents[rows]
        best = find_best_scores(queries, self.exact.vectors, self.contents, own)
        return best[np.isfinite(best)]

    def score_content(
        self, query: np.ndarray, content: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score the windows of a content."""
        place = bisect.bisect_left(self.vectors.names, content)
        own = slice(*np.searchsorted(self.vectors.contents, [place, place + 1]).tolist())
        scores = self.exact.vectors[own] @ query
        return self.vectors.starts[own], self.vectors.ends[own], scores

    def find_window(self, window: str) -> WindowRow | None:
        """Look a window up in memory."""
        if not self.rows:
            self.rows = {name: row for row, name in enumerate(self.vectors.ids)}
        row = self.rows.get(window)
        if row is None:
            return None
        content = self.vectors.names[self.vectors.contents[row]]
        start, end = float(self.vectors.starts[row]), float(self.vectors.ends[row])
        return WindowRow(window, content, start, end, self.vectors.matrix[row], b"")


class DatabaseCandidates:
    """Leave the vectors in the database and ask its own index for the nearest ones."""

    def __init__(self, store: "Store", catalogue: Catalogue):
        """Keep the store; no vector is read before the first query."""
        self.store, self.catalogue = store, catalogue

    def score_windows(self, query: np.ndarray, allowed: np.ndarray, count: int) -> ScoredWindows:
        """Fetch the nearest windows, and all windows of contents that have several of them.

        A scene of hours has more windows than `count`; only with all of them is it one moment.
        """
        nearest = self._find_nearest(query, count, allowed)
        hits = {hit.id: hit for hit in nearest}
        whole = self._select_repeated(nearest)
        if whole.any():
            windows = int(self.catalogue.windows[whole].sum())
            hits |= {hit.id: hit for hit in self._find_nearest(query, windows, whole)}
        number = self.catalogue.number
        rows = sorted(hits.values(), key=lambda hit: (number[hit.content], hit.start, hit.end))
        spans = Spans(
            np.array([number[hit.content] for hit in rows], np.int64),
            np.array([hit.start for hit in rows], np.float64),
            np.array([hit.end for hit in rows], np.float64),
        )
        scores = np.array([hit.score for hit in rows], np.float64)
        ids, complete = [hit.id for hit in rows], len(nearest) < count
        return ScoredWindows(ids=ids, spans=spans, scores=scores, complete=complete)

    def measure_texts(self, texts: np.ndarray) -> np.ndarray:
        """Ask for the nearest window of every text."""
        return self._find_best_scores(texts, [None] * len(texts), 1)

    def measure_windows(self) -> np.ndarray:
        """Take `SAMPLES` windows, evenly over contents and time, and ask for their neighbours."""
        samples = [
            window for name in sample_ids(self.catalogue) if (window := self.find_window(name))
        ]
        if not samples:
            return np.zeros(0, np.float32)
        own: list[str | None] = [window.content for window in samples]
        queries = np.stack([window.vector for window in samples])
        return self._find_best_scores(queries, own, NEIGHBOURS)

    def score_content(
        self, query: np.ndarray, content: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ask for all windows of a content."""
        number = self.catalogue.number[content]
        allowed = np.arange(len(self.catalogue.names)) == number
        hits = self._find_nearest(query, int(self.catalogue.windows[number]), allowed)
        columns = np.array([(hit.start, hit.end, hit.score) for hit in hits], np.float64)
        starts, ends, scores = columns.reshape(-1, 3).T
        return starts, ends, scores

    def find_window(self, window: str) -> WindowRow | None:
        """Look a window up in the database."""
        content, _, number = window.rpartition("-")
        if content not in self.catalogue.number or not (number.isascii() and number.isdigit()):
            return None
        return self.store.read_window(window)

    def _find_best_scores(
        self, queries: np.ndarray, own: list[str | None], count: int
    ) -> np.ndarray:
        """Return the best score of each query outside its own content, where there is one.

        The `count` nearest windows are looked at first; if all are of the query's own content, the
        database is asked again without it.
        """
        best, known = [], self.catalogue.number
        nearest = self.store.find_nearest_many(queries, count)
        for query, hits, content in zip(queries, nearest, own, strict=True):
            others = [hit for hit in hits if hit.content != content and hit.content in known]
            if not others:
                allowed = np.array([name != content for name in self.catalogue.names], bool)
                others = self._find_nearest(query, 1, allowed)
            best += [hit.score for hit in others[:1]]
        return np.array(best, np.float32)

    def _select_repeated(self, hits: list[Near]) -> np.ndarray:
        """Return which contents have several hits, as bool [contents].

        Those with the best hits come first, until they have more than `WINDOWS_AT_MOST` windows.
        """
        repeated, windows = np.zeros(len(self.catalogue.names), bool), 0
        for name, count in collections.Counter(hit.content for hit in hits).items():
            number = self.catalogue.number[name]
            size = int(self.catalogue.windows[number])
            if count > 1 and windows + size <= WINDOWS_AT_MOST:
                repeated[number], windows = True, windows + size
        return repeated

    def _find_nearest(self, query: np.ndarray, count: int, allowed: np.ndarray) -> list[Near]:
        if not allowed.any():
            return []
        names = None
        if not allowed.all():
            names = [self.catalogue.names[number] for number in np.flatnonzero(allowed)]
        hits = self.store.find_nearest(query, count, names)
        known = [hit for hit in hits if hit.content in self.catalogue.number]
        if len(known) < len(hits):  # some windows have no file; the next run removes them
            return self.store.find_nearest(query, count, self.catalogue.names)
        return known


def sample_ids(catalogue: Catalogue) -> list[str]:
    """Return the ids of `SAMPLES` windows, evenly over contents and time."""
    contents = sorted(catalogue.number.items())
    counts = np.array([catalogue.windows[number] for _, number in contents], np.int64)
    ends = np.cumsum(counts)
    ids = []
    for place in space_evenly(int(counts.sum()), SAMPLES):
        at = int(np.searchsorted(ends, place, "right"))
        ids.append(make_window_id(contents[at][0], int(place - ends[at] + counts[at])))
    return ids


def space_evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` of the numbers below `count`, evenly spaced from first to last."""
    steps = np.linspace(0, count - 1, min(count, most))
    return np.unique(steps.round().astype(np.int64))
