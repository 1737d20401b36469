"""Where the windows come from that a search looks at: memory, or the index of the database."""

import collections
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.moments import Spans
from tempme_jax.search.query.scoring import Exact, best_of_each
from tempme_jax.search.store.rows import Near, window_id

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# So many windows of an index are taken as queries, to see what they find elsewhere.
SAMPLES = 256
# The nearest windows among which one of another content is looked for.
NEIGHBOURS = 100
# Windows of few contents that are asked for, so that a moment of hours is seen whole.
WINDOWS_AT_MOST = 20_000


class Scored(NamedTuple):
    """Windows with their scores.

    Attributes:
        ids: of the windows, by their place in `spans`.
        spans: in order of content and start; contents are numbers of the catalogue.
        scores: float32 [n]; -inf for those that are left out.
        complete: whether no other window is there to be found.
    """

    ids: "list[str] | Picked"
    spans: Spans
    scores: np.ndarray
    complete: bool


class Picked(NamedTuple):
    """Some of many names, in an order of their own."""

    names: list[str]
    order: np.ndarray

    def __getitem__(self, place: int) -> str:
        """The name at a place of the order."""
        return self.names[self.order[place]]


class Candidates(Protocol):
    """Finds windows; contents are numbers of the catalogue."""

    def scored(self, query: np.ndarray, allowed: np.ndarray, count: int) -> Scored:
        """At least the `count` best windows for a unit vector, of contents that are allowed.

        Args:
            query: float32 [d].
            allowed: bool [contents].
            count: how many are needed.
        """

    def best_of_texts(self, texts: np.ndarray) -> np.ndarray:
        """The best score in the index of each of some texts, float32 [m, d]."""

    def best_of_windows(self) -> np.ndarray:
        """The best score of some windows of the index among windows of other contents."""

    def vector(self, window: str) -> tuple[np.ndarray, str, float, float] | None:
        """The vector of a window, its content, start and end; None if there is no such window."""


class Held:
    """All vectors are in memory, and each query is compared with all of them."""

    def __init__(self, store: "Store", catalogue: Catalogue):
        """Reads all vectors; windows of contents without a file are as if they were not there."""
        self.vectors = store.vectors()
        self.exact = Exact(self.vectors.matrix)
        numbers = [catalogue.number.get(name, -1) for name in self.vectors.names]
        # What each row's content is in the catalogue.
        self.contents = np.array(numbers, np.int64)[self.vectors.contents]
        order = np.lexsort((self.vectors.ends, self.vectors.starts, self.contents))
        self.order = order[np.searchsorted(self.contents[order], 0) :]
        self.spans = Spans(
            self.contents[self.order],
            self.vectors.starts[self.order].astype(np.float64),
            self.vectors.ends[self.order].astype(np.float64),
        )
        self.rows: dict[str, int] = {}

    def scored(self, query: np.ndarray, allowed: np.ndarray, count: int) -> Scored:
        """All windows."""
        scores = self.exact.scores(query)[self.order]
        scores[~allowed[self.spans.contents] | np.isnan(scores)] = -np.inf
        return Scored(Picked(self.vectors.ids, self.order), self.spans, scores, complete=True)

    def best_of_texts(self, texts: np.ndarray) -> np.ndarray:
        """What each text finds."""
        best = best_of_each(texts, self.exact.vectors, self.contents)
        return best[np.isfinite(best)]

    def best_of_windows(self) -> np.ndarray:
        """What windows find elsewhere: as many as `SAMPLES`, evenly over contents and time."""
        rows = np.lexsort((self.vectors.starts, self.vectors.contents))
        rows = rows[self.contents[rows] >= 0]
        rows = rows[evenly(len(rows), SAMPLES)]
        queries, own = self.exact.vectors[rows], self.contents[rows]
        best = best_of_each(queries, self.exact.vectors, self.contents, own)
        return best[np.isfinite(best)]

    def vector(self, window: str) -> tuple[np.ndarray, str, float, float] | None:
        """From memory."""
        if not self.rows:
            self.rows = {name: row for row, name in enumerate(self.vectors.ids)}
        row = self.rows.get(window)
        if row is None:
            return None
        of = self.vectors
        content = of.names[of.contents[row]]
        return of.matrix[row], content, float(of.starts[row]), float(of.ends[row])


class Stored:
    """Vectors stay in the database, whose index finds the nearest ones."""

    def __init__(self, store: "Store", catalogue: Catalogue):
        """Reads nothing yet."""
        self.store, self.catalogue = store, catalogue

    def scored(self, query: np.ndarray, allowed: np.ndarray, count: int) -> Scored:
        """The nearest windows, and of contents that have several of them all windows."""
        found = self._nearest(query, count, allowed)
        hits = {hit.id: hit for hit in found}
        whole = self._several(found)
        if whole.any():
            windows = int(self.catalogue.windows[whole].sum())
            hits |= {hit.id: hit for hit in self._nearest(query, windows, whole)}
        number = self.catalogue.number
        hits = sorted(hits.values(), key=lambda hit: (number[hit.content], hit.start, hit.end))
        contents = np.array([number[hit.content] for hit in hits], np.int64)
        starts, ends, scores = (
            np.array([getattr(hit, name) for hit in hits], np.float64)
            for name in ("start", "end", "score")
        )
        ids = [hit.id for hit in hits]
        return Scored(ids, Spans(contents, starts, ends), scores, complete=len(found) < count)

    def best_of_texts(self, texts: np.ndarray) -> np.ndarray:
        """What each text finds."""
        return self._best(texts, [None] * len(texts), 1)

    def best_of_windows(self) -> np.ndarray:
        """What windows find elsewhere: as many as `SAMPLES`, evenly over contents and time."""
        found = [window for name in self._samples() if (window := self.vector(name))]
        if not found:
            return np.zeros(0, np.float32)
        vectors, own = [window[0] for window in found], [window[1] for window in found]
        return self._best(np.stack(vectors), own, NEIGHBOURS)

    def vector(self, window: str) -> tuple[np.ndarray, str, float, float] | None:
        """From the database."""
        content, _, number = window.rpartition("-")
        if content not in self.catalogue.number or not (number.isascii() and number.isdigit()):
            return None
        row = self.store.window(window)
        return None if row is None else (row.vector, row.content, row.start, row.end)

    def _best(self, queries: np.ndarray, own: list[str | None], count: int) -> np.ndarray:
        """The best score of each query outside of its own content; none where there is none.

        It is looked for among the `count` nearest windows first.
        """
        best = []
        found = self.store.nearest_many(queries, count)
        for query, hits, content in zip(queries, found, own, strict=True):
            others = [
                h for h in hits if h.content != content and h.content in self.catalogue.number
            ]
            if not others:
                allowed = np.array([name != content for name in self.catalogue.names], bool)
                others = self._nearest(query, 1, allowed)
            best += [hit.score for hit in others[:1]]
        return np.array(best, np.float32)

    def _samples(self) -> list[str]:
        contents = sorted(self.catalogue.number.items())
        counts = np.array([self.catalogue.windows[number] for _, number in contents])
        upto = np.cumsum(counts)
        ids = []
        for place in evenly(int(counts.sum()), SAMPLES):
            at = int(np.searchsorted(upto, place, "right"))
            ids.append(window_id(contents[at][0], int(place - upto[at] + counts[at])))
        return ids

    def _several(self, hits: list[Near]) -> np.ndarray:
        """The contents that more than one hit is of, the best first, if they are not too long."""
        several, windows = np.zeros(len(self.catalogue.names), bool), 0
        for name, count in collections.Counter(hit.content for hit in hits).items():
            number = self.catalogue.number[name]
            size = int(self.catalogue.windows[number])
            if count > 1 and windows + size <= WINDOWS_AT_MOST:
                several[number], windows = True, windows + size
        return several

    def _nearest(self, query: np.ndarray, count: int, allowed: np.ndarray) -> list[Near]:
        """The nearest windows of contents that are allowed."""
        if not allowed.any():
            return []
        names = None
        if not allowed.all():
            names = [self.catalogue.names[number] for number in np.flatnonzero(allowed)]
        hits = self.store.nearest(query, count, names)
        known = [hit for hit in hits if hit.content in self.catalogue.number]
        if len(known) < len(hits):  # windows that no file has: rare, and soon taken out
            return self.store.nearest(query, count, self.catalogue.names)
        return known


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of the numbers below `count`, at even steps from the first to the last."""
    steps = np.linspace(0, count - 1, min(count, most))
    return np.unique(steps.round().astype(np.int64))
