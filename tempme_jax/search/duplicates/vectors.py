"""The vectors of an index by content, read in parts, and an upper bound of their cosines."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.search.store.sidefile import SideFile

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# Numbers of a vector that are compared first, and vectors by which these are chosen.
DIMENSIONS, SAMPLE = 64, 4096
# Vectors that are read at once.
ROWS = 8192
# By how much a bound may be too small, as it is computed in float32.
SLACK = 1e-4


class ContentVectors:
    """The windows of some contents, the longest first.

    Attributes:
        names: the contents.
        counts: int64 [contents], the number of windows of each.
    """

    def __init__(self, reader: "Store | SideFile", seconds: Mapping[str, float]):
        """Take what is read, and the contents with their lengths in seconds."""
        self._coded = reader.coded if isinstance(reader, SideFile) and reader.is_large else None
        if isinstance(reader, SideFile) and self._coded:
            names, firsts = reader.names, self._coded.firsts
            self._starts, self._ends = reader.read_times(slice(None))
        else:
            found = reader.read_vectors()
            names, self._matrix = found.names, found.matrix
            firsts = np.searchsorted(found.contents, np.arange(len(names) + 1))
            self._starts, self._ends = found.starts, found.ends
        kept = [place for place, name in enumerate(names) if name in seconds]
        kept.sort(key=lambda place: (-seconds[names[place]], names[place]))
        self.names = [names[place] for place in kept]
        self._firsts = firsts[:-1][kept]
        self.counts = np.diff(firsts)[kept]

    def list_rows(self, contents: Iterable[int]) -> np.ndarray:
        """Return the rows of all windows of some contents, one content after another."""
        parts = [
            np.arange(self._firsts[each], self._firsts[each] + self.counts[each])
            for each in contents
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read vectors, float32 [n, d]; of those that are not finite nothing is left.

        Raises:
            VideoIndexError: they cannot be read, or have changed since they were written.
        """
        vectors = self._coded.read(rows) if self._coded else self._matrix[rows]
        return np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)

    def find_span(self, content: int, first: int, last: int) -> tuple[float, float]:
        """Return start and end of the windows from the first to the last of a content."""
        row = self._firsts[content]
        return float(self._starts[row + first]), float(self._ends[row + last])

    def find_starts(self, content: int) -> np.ndarray:
        """Return the starts of a content's windows in seconds."""
        first = self._firsts[content]
        return np.asarray(self._starts[first : first + self.counts[content]], np.float64)


class Bounds:
    """Vectors in a few dimensions, whose products are never less than the cosines.

    In the main directions of all vectors they are exact. Of what is left of each only its length is
    kept: the product of two is at most that of their lengths.
    """

    def __init__(self, vectors: ContentVectors):
        """Choose the directions by a sample of all vectors."""
        self._vectors = vectors
        rows = vectors.list_rows(range(len(vectors.names)))
        places = np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)
        sample = vectors.read(np.sort(rows[places]))
        _, directions = np.linalg.eigh(sample.T @ sample)  # the main ones come last
        self._directions = np.ascontiguousarray(directions[:, -DIMENSIONS:])

    def compute(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of rows, float32 [n, dimensions + 1]."""
        parts = []
        for first in range(0, len(rows), ROWS):
            vectors = self._vectors.read(rows[first : first + ROWS])
            main = vectors @ self._directions
            rest = np.einsum("nd,nd->n", vectors, vectors) - np.einsum("nd,nd->n", main, main)
            parts.append(np.column_stack([main, np.sqrt(np.maximum(rest, 0) + SLACK**2)]))
        return np.concatenate([np.zeros((0, self._directions.shape[1] + 1)), *parts]).astype("f4")
