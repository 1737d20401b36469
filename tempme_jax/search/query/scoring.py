"""Scores of queries against windows, and the scores that unrelated queries get. NumPy only."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# Numbers of a matrix of scores that are computed at once: 16 MiB of float32.
BLOCK = 2**22
# With fewer unrelated scores than this, "better than 95 of 100" cannot be told.
MIN_SCORES = 20
# How far unrelated scores may reach above their median, as a multiple of how far they do below it.
STRETCH = 1.6


class ExactSearch:
    """Search by comparing a query with every vector.

    The time is that of reading the matrix once: about 25 ms for 100,000 vectors of 512 numbers on
    two CPU cores.

    >>> search = ExactSearch(np.eye(3))
    >>> rows, scores = search.find_best([0.6, 0.8, 0.0], count=2)
    >>> print(rows, scores)
    [1 0] [0.8 0.6]
    """

    def __init__(self, vectors: np.ndarray):
        """Take unit vectors, float32 [n, d]; float32 arrays are not copied.

        Raises:
            ValueError: if they have another shape.
        """
        self.vectors = np.asarray(vectors, np.float32)
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors of shape {self.vectors.shape}; expected [n, d]")

    def compute_scores(self, query: Any) -> np.ndarray:
        """Compute cosines of unit vectors [d] or [q, d] with every vector: float32 [n] or [q, n].

        Raises:
            ValueError: if the query has another width or is not finite.
        """
        query = self._check_query(query)
        return self.vectors @ query if query.ndim == 1 else query @ self.vectors.T

    def find_best(
        self, query: Any, count: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows with the best scores, best first; of equal scores the lower row first.

        Args:
            query: unit vectors, float32 [d] or [q, d].
            count: number of rows; fewer are returned if fewer are allowed.
            allowed: bool [n], the rows that may be returned; None for all.

        Returns:
            Rows and scores, int64 and float32, [count] or [q, count].

        Raises:
            ValueError: if the query has another width or is not finite.
        """
        query = self._check_query(query)
        if query.ndim == 1:
            rows, scores = self.find_best(query[None], count, allowed)
            return rows[0], scores[0]
        size = len(self.vectors) if allowed is None else int(np.count_nonzero(allowed))
        shape = (len(query), max(0, min(count, size)))
        rows, best = np.empty(shape, np.int64), np.empty(shape, np.float32)
        for part in split_rows(len(query), max(1, BLOCK // max(1, len(self.vectors)))):
            # Matrix times vector is faster than matrix times matrix of one column.
            if part.stop - part.start == 1:
                scores = self.compute_scores(query[part.start])[None]
            else:
                scores = self.compute_scores(query[part])
            if allowed is not None:
                scores[:, ~allowed] = -np.inf
            for number, row in enumerate(scores, part.start):
                rows[number] = select_top(row, shape[1])
                best[number] = row[rows[number]]
        return rows, best

    def _check_query(self, query: Any) -> np.ndarray:
        query, width = np.asarray(query, np.float32), self.vectors.shape[1]
        if query.ndim not in (1, 2) or query.shape[-1] != width:
            raise ValueError(f"a query of shape {query.shape}; expected [{width}] or [q, {width}]")
        if not np.isfinite(query).all():
            raise ValueError("the query's vector is not finite; check what it was computed from")
        return query


def select_top(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of the largest scores, best first; of equal scores the lower row first.

    Rows with a score of -inf are never returned, so there may be fewer than `count`.

    >>> select_top(np.array([0.1, 0.5, -np.inf, 0.5]), 3).tolist()
    [1, 3, 0]
    """
    least = -np.inf
    if 0 < count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero((scores >= least) & (scores > -np.inf))
    order = np.argsort(-scores[rows], kind="stable")
    return rows[order[: max(count, 0)]]


class UnrelatedScores:
    """The best scores in an index of many queries that have nothing to do with it.

    They turn a score into a percentile. A few of the queries do describe something in a large
    index; their scores are those of true matches and lie in the upper half. So the upper half may
    reach at most `STRETCH` times as far from the median as the lower half does: what is higher is
    brought down to that. `benchmarks/verdicts.py` measures what comes of it. Comparing with each
    query's mean score over the index does not help, and fails if all windows are alike, as those of
    one fixed camera.

    Attributes:
        scores: float64, ascending; one for each query.
    """

    def __init__(self, best: Any):
        """Take the best score of each query, in any order."""
        best = np.sort(np.asarray(best, np.float64))
        middle = np.median(best) if len(best) else 0.0
        half = len(best) // 2
        highest = middle + STRETCH * (middle - best[:half][::-1])
        self.scores = best.copy()
        self.scores[len(best) - half :] = np.minimum(best[len(best) - half :], highest)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def is_enough(self) -> bool:
        """True if there are enough scores for a percentile."""
        return len(self) >= MIN_SCORES

    def compute_percentile(self, score: float) -> float:
        """Return the share of scores below `score`, 0 to 100; NaN if there are too few.

        Equal scores count half.
        """
        if not self.is_enough:
            return float("nan")
        below, upto = (np.searchsorted(self.scores, score, side) for side in ("left", "right"))
        return float(50 * (below + upto) / len(self))

    def compute_levels(self, *percentiles: float) -> tuple[float, ...] | None:
        """Return the least scores that have these percentiles; None if there are too few scores."""
        if not self.is_enough:
            return None
        return tuple(np.percentile(self.scores, percentiles, method="higher").tolist())

    @property
    def spread(self) -> float:
        """About one standard deviation, from the quartiles; 0 if there are too few scores."""
        if not self.is_enough:
            return 0.0
        low, high = np.percentile(self.scores, [25, 75])
        return float(high - low) / 1.349


def find_best_scores(
    queries: np.ndarray, vectors: np.ndarray, groups: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """Return the best score of each query, float32 [q]; -inf if it may be compared with nothing.

    Args:
        queries: unit vectors, float32 [q, d].
        vectors: unit vectors, float32 [n, d].
        groups: int [n], the group of each vector; those of group -1 are ignored.
        own: int [q], a group that each query is not compared with; None for no such groups.
    """
    best = np.full(len(queries), -np.inf, np.float32)
    for rows in split_rows(len(vectors), max(1, BLOCK // max(1, len(queries)))):
        scores = queries @ vectors[rows].T
        scores[:, groups[rows] < 0] = -np.inf
        if own is not None:
            scores[own[:, None] == groups[rows]] = -np.inf
        np.fmax(best, np.fmax.reduce(scores, axis=1), out=best)  # fmax ignores NaN
    return best


def split_rows(count: int, size: int) -> Iterator[slice]:
    """Split `count` rows into slices of at most `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
