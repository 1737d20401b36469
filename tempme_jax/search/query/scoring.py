"""Scores of queries with windows, and what unrelated queries score. NumPy only."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# Numbers of a matrix of scores that are handled at once: 16 MiB of float32.
BLOCK = 2**22
# With fewer scores of unrelated queries nobody can say that one in twenty reaches a score.
LEAST = 20


class Exact:
    """Search by comparing a query with every vector.

    A product of a float32 matrix and a vector takes as long as reading the matrix does, so that
    100,000 vectors of 512 numbers take some 25 ms on two cores.
    """

    def __init__(self, vectors: np.ndarray):
        """Takes unit vectors, float32 [n, d]; they are not copied if they are float32 already.

        Raises:
            ValueError: if they are of another shape.
        """
        self.vectors = np.asarray(vectors, np.float32)
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors of shape {self.vectors.shape}; expected [n, d]")

    def scores(self, query: Any) -> np.ndarray:
        """Cosines of unit vectors [d] or [q, d] with every vector: float32 [n] or [q, n].

        Raises:
            ValueError: if they are of another length, or not finite.
        """
        query = self._checked(query)
        return self.vectors @ query if query.ndim == 1 else query @ self.vectors.T

    def best(
        self, query: Any, count: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows that score best, and their scores, best first; of equal ones the lower row.

        Args:
            query: unit vectors, float32 [d] or [q, d].
            count: how many rows; fewer come if fewer are allowed.
            allowed: bool [n], which rows may come; None = all.

        Returns:
            int64 and float32, [count] or [q, count].

        Raises:
            ValueError: if the query is of another length, or not finite.
        """
        query = self._checked(query)
        if query.ndim == 1:
            rows, scores = self.best(query[None], count, allowed)
            return rows[0], scores[0]
        there = len(self.vectors) if allowed is None else np.count_nonzero(allowed)
        shape = (len(query), max(0, min(count, there)))
        rows, best = np.empty(shape, np.int64), np.empty(shape, np.float32)
        for part in blocks(len(query), max(1, BLOCK // max(1, len(self.vectors)))):
            # A product with one vector is quicker as such than as one with a matrix.
            single = part.stop - part.start == 1
            scores = self.scores(query[part.start])[None] if single else self.scores(query[part])
            if allowed is not None:
                scores[:, ~allowed] = -np.inf
            for number, row in enumerate(scores, part.start):
                rows[number] = top(row, shape[1])
                best[number] = row[rows[number]]
        return rows, best

    def _checked(self, query: Any) -> np.ndarray:
        query, width = np.asarray(query, np.float32), self.vectors.shape[1]
        if query.ndim not in (1, 2) or query.shape[-1] != width:
            raise ValueError(f"a query of shape {query.shape}; expected [{width}] or [q, {width}]")
        if not np.isfinite(query).all():
            raise ValueError("the vector of the query is not finite: look at what it was made of")
        return query


def top(scores: np.ndarray, count: int) -> np.ndarray:
    """The rows of the largest scores, best first, of equal ones the lower; never those of -inf.

    Args:
        scores: float [n].
        count: how many.
    """
    least = -np.inf
    if 0 < count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero((scores >= least) & (scores > -np.inf))
    order = np.argsort(-scores[rows], kind="stable")
    return rows[order[: max(count, 0)]]


class Unrelated:
    """How well queries score that have nothing to do with an index.

    Made of the best score in the index of each of many queries of all sorts. What most of them
    look for is not there, but in a large index some of it is: such scores are those of true
    matches, which nothing could be told from. They are all in the upper half, unless the index
    shows most of the world. So the lower half is believed, and mirrored at the median.

    In simulations where a tenth of the queries' subjects are in the index, 98 % of true matches
    were then above the 95th percentile, instead of 52 % with all scores as they are; of queries
    without a match 3 to 6 % were, and at worst a tenth, where best scores are skewed. To take off
    each query's own mean over the index does not help there, and fails where all windows are
    alike, as a single camera's are: what they show is then above no mean.

    Attributes:
        scores: float64, ascending; as many as queries.
    """

    def __init__(self, best: Any):
        """Takes the best score of each query, in any order."""
        best = np.sort(np.asarray(best, np.float64))
        middle = np.median(best) if len(best) else 0.0
        lower = best[: len(best) // 2]
        centre = np.full(len(best) % 2, middle)
        self.scores = np.concatenate([lower, centre, (2 * middle - lower)[::-1]])

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def tells(self) -> bool:
        """Whether they are enough to say anything."""
        return len(self) >= LEAST

    def percentile(self, score: float) -> float:
        """Which share of them is below a score, 0 to 100, half of equal ones; nan if too few."""
        if not self.tells:
            return float("nan")
        below, upto = (np.searchsorted(self.scores, score, side) for side in ("left", "right"))
        return float(50 * (below + upto) / len(self))

    def reaching(self, score: float) -> float:
        """Which share of them is a score or more, 0 to 100."""
        return float(100 - 100 * np.searchsorted(self.scores, score) / len(self))

    @property
    def spread(self) -> float:
        """About one standard deviation, by the middle half of them; 0 if there are too few."""
        if not self.tells:
            return 0.0
        low, high = np.percentile(self.scores, [25, 75])
        return float(high - low) / 1.349


def best_of_each(
    queries: np.ndarray, vectors: np.ndarray, groups: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """The best score of each query, float32 [q]; -inf where there is nothing to find.

    Args:
        queries: unit vectors, float32 [q, d].
        vectors: unit vectors, float32 [n, d].
        groups: int [n], what each vector belongs to; those of -1 do not count.
        own: int [q]: the group that a query does not look in; None = queries look everywhere.
    """
    best = np.full(len(queries), -np.inf, np.float32)
    for rows in blocks(len(vectors), max(1, BLOCK // max(1, len(queries)))):
        scores = queries @ vectors[rows].T
        scores[:, groups[rows] < 0] = -np.inf
        if own is not None:
            scores[own[:, None] == groups[rows]] = -np.inf
        np.fmax(best, np.fmax.reduce(scores, axis=1), out=best)  # a vector of NaN is found by none
    return best


def blocks(count: int, size: int) -> Iterator[slice]:
    """Rows that are handled at once."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
