"""The files of an index by path, and the contents that a filtered search may return."""

import bisect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tempme_jax.search.store.rows import FileRow


class Catalogue:
    """The indexed files in the order of their paths; contents in the order of their first file.

    Files with equal bytes share a content, and windows belong to contents.

    Attributes:
        rows: the files that are indexed.
        paths: their paths.
        names: the contents.
        number: the place of each content in `names`.
        contents: int [files], the number of each file's content.
        windows: int [contents], the number of windows of each content.
    """

    def __init__(self, rows: Iterable[FileRow], paths: Mapping[str, Path]):
        """Sort files by path, which `paths` holds by id, and leave out those that failed."""
        indexed = ((os.fsencode(paths[row.id]), row) for row in rows if not row.reason)
        indexed = sorted(indexed, key=lambda pair: (pair[0], pair[1].id))
        self._keys = [key for key, _ in indexed]
        self.rows = [row for _, row in indexed]
        self.paths = [paths[row.id] for row in self.rows]
        self.names = list(dict.fromkeys(row.content for row in self.rows))
        self.number = {name: number for number, name in enumerate(self.names)}
        self.contents = np.array([self.number[row.content] for row in self.rows], np.int64)
        self.windows = np.zeros(len(self.names), np.int64)
        self.windows[self.contents] = [row.windows for row in self.rows]
        self._seconds = np.array([row.seconds for row in self.rows], np.float64)

    def select(
        self,
        *,
        folder: str | os.PathLike | None = None,
        min_seconds: float | None = None,
        max_seconds: float | None = None,
    ) -> np.ndarray:
        """Return the first file of each content that passes all filters.

        Filters are those of `VideoIndex.search`. The result, int [contents], holds numbers of
        files; -1 where no file passes.
        """
        passes = np.ones(len(self.rows), bool)
        if folder is not None:
            passes[:] = False
            passes[self._find_below(folder)] = True
        if min_seconds is not None:
            passes &= self._seconds >= min_seconds
        if max_seconds is not None:
            passes &= self._seconds <= max_seconds
        first = np.full(len(self.names), -1)
        files = np.flatnonzero(passes)[::-1]  # of several files the first is assigned last
        first[self.contents[files]] = files
        return first

    def _find_below(self, folder: str | os.PathLike) -> slice:
        """Return the files below a folder; paths are sorted, so they follow each other."""
        try:
            real = os.path.realpath(os.path.expanduser(folder))
        except ValueError:  # such as a zero byte: no folder can have this name
            return slice(0, 0)
        above = os.fsencode(real).rstrip(b"/")
        # Paths below it begin with its name and a slash; "0" is the byte after the slash.
        first, last = (bisect.bisect_left(self._keys, above + end) for end in (b"/", b"0"))
        return slice(first, last)

    def list_files(self, content: int) -> list[int]:
        """Return the numbers of all files with a content, in the order of their paths."""
        return np.flatnonzero(self.contents == content).tolist()
