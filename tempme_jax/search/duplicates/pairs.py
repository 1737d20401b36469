"""Find pairs of contents that have windows alike, and how far one is shifted against the other."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tempme_jax.search.duplicates.vectors import SLACK, Bounds, ContentVectors

# Windows of a block of contents, at least, unless it is the last one.
WINDOWS_A_BLOCK = 2048
# Cosines that are computed at once: 32 MiB of float32.
COSINES_AT_ONCE = 2**23


class AlikePair(NamedTuple):
    """Two contents with windows alike.

    Attributes:
        first: number of the longer content.
        second: number of the other.
        shift: the window `i` of the second is compared with the window `i + shift` of the first.
        scores: float32 [n], the cosines of those windows of the second that have a counterpart.
        begin: number of the first of these windows.
    """

    first: int
    second: int
    shift: int
    scores: np.ndarray
    begin: int


class PairFinder:
    """Compares blocks of contents, the longest first; those that are taken out are left out."""

    def __init__(self, vectors: ContentVectors, threshold: float):
        """Take the least cosine of windows that are alike."""
        self._vectors, self._threshold = vectors, threshold
        self.is_out = np.zeros(len(vectors.names), bool)

    def find(self) -> Iterator[AlikePair]:
        """Yield pairs, each once; `is_out` may be changed in between."""
        if not len(self._vectors.names):
            return
        self._bounds = Bounds(self._vectors)
        blocks = self._make_blocks()
        # In few dimensions, all vectors of 100,000 windows take 26 MB.
        bounds = [self._bounds.compute(self._vectors.list_rows(block)) for block in blocks]
        for number, block in enumerate(blocks):
            for other in range(number, len(blocks)):
                if self.is_out[block].all():
                    break
                if not self.is_out[blocks[other]].all():
                    yield from self._compare(block, bounds[number], blocks[other], bounds[other])

    def _make_blocks(self) -> list[np.ndarray]:
        ends, blocks, begin, done = np.cumsum(self._vectors.counts), [], 0, 0
        for place, end in enumerate(ends.tolist()):
            if end - done >= WINDOWS_A_BLOCK or place == len(ends) - 1:
                blocks.append(np.arange(begin, place + 1))
                begin, done = place + 1, end
        return blocks

    def _compare(
        self, block: np.ndarray, bounds: np.ndarray, other: np.ndarray, other_bounds: np.ndarray
    ) -> Iterator[AlikePair]:
        """Yield the pairs of a block of contents with those of another, or of the same."""
        counts, width = self._vectors.counts, int(self._vectors.counts.max())
        firsts, places = _number(counts, block)
        seconds, other_places = _number(counts, other)
        rows, other_rows = self._vectors.list_rows(block), self._vectors.list_rows(other)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        size = max(1, COSINES_AT_ONCE // max(1, len(other_rows)))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            near = bounds[part] @ other_bounds.T >= self._threshold - SLACK
            if block is other:
                near &= firsts[part, None] < seconds
            if not near.any():
                continue
            i, j = np.nonzero(near)
            i, j = self._confirm(rows[part], other_rows, i, j)
            shift = places[part][i] - other_places[j] + width
            pair = (firsts[part][i] - block[0]) * len(other) + seconds[j] - other[0]
            found.append(np.unique(pair * (2 * width + 1) + shift, return_counts=True))
        if found:
            yield from self._choose_shifts(found, block, other, width)

    def _confirm(
        self, rows: np.ndarray, other_rows: np.ndarray, i: np.ndarray, j: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return those of the pairs (i, j) of rows whose cosine reaches the threshold."""
        (left, i_places), (right, j_places) = (
            np.unique(each, return_inverse=True) for each in (i, j)
        )
        scores = _read_sorted(self._vectors, rows[left]) @ (
            _read_sorted(self._vectors, other_rows[right]).T
        )
        is_alike = scores[i_places, j_places] >= self._threshold
        return i[is_alike], j[is_alike]

    def _choose_shifts(
        self,
        found: list[tuple[np.ndarray, np.ndarray]],
        block: np.ndarray,
        other: np.ndarray,
        width: int,
    ) -> Iterator[AlikePair]:
        """Yield each pair with the shift by which most windows are alike."""
        keys, place = np.unique(np.concatenate([each for each, _ in found]), return_inverse=True)
        votes = np.bincount(place, np.concatenate([each for _, each in found]))
        pairs, shifts = np.divmod(keys, 2 * width + 1)
        order = np.lexsort((np.abs(shifts - width), -votes, pairs))
        best = order[np.flatnonzero(np.diff(pairs[order], prepend=-1))]
        for pair, shift in zip(pairs[best].tolist(), shifts[best].tolist(), strict=True):
            first, second = block[pair // len(other)], other[pair % len(other)]
            if not (self.is_out[first] or self.is_out[second]):
                yield self._align(int(first), int(second), shift - width)

    def _align(self, first: int, second: int, shift: int) -> AlikePair:
        counts = self._vectors.counts
        begin = max(0, -shift)
        end = min(int(counts[second]), int(counts[first]) - shift)
        mine = self._vectors.read(self._vectors.list_rows([second])[begin:end])
        theirs = self._vectors.read(self._vectors.list_rows([first])[begin + shift : end + shift])
        return AlikePair(first, second, shift, np.vecdot(mine, theirs), begin)


def _number(counts: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each window of a block the number of its content, and its own in that."""
    contents = np.repeat(block, counts[block])
    firsts = np.repeat(np.cumsum(counts[block]) - counts[block], counts[block])
    return contents, np.arange(len(contents)) - firsts


def _read_sorted(vectors: ContentVectors, rows: np.ndarray) -> np.ndarray:
    """Read vectors in the order that is fast to read."""
    order = np.argsort(rows)
    found = vectors.read(rows[order])
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return found[back]
