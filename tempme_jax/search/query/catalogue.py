"""Which files hold a content, and which contents a search may look at."""

import bisect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tempme_jax.search.store.rows import FileRow


class Catalogue:
    """Files in the order of their paths, contents in the order of their first file.

    Attributes:
        rows: of the files that are indexed.
        paths: of those files.
        names: the contents.
        number: of each content: its place in `names`.
        contents: int [files], the number of each file's content.
        windows: int [contents], how many windows each has.
    """

    def __init__(self, rows: Iterable[FileRow], paths: Mapping[str, Path]):
        """Takes files, and where they are, by their ids; files that failed are left out."""
        found = ((os.fsencode(paths[row.id]), row) for row in rows if not row.reason)
        found = sorted(found, key=lambda pair: (pair[0], pair[1].id))
        self._keys = [key for key, _ in found]
        self.rows = [row for _, row in found]
        self.paths = [Path(paths[row.id]) for row in self.rows]
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
        """The first file of each content that passes, int [contents]; -1 where none does.

        Args:
            folder: only files in it, or in folders below it.
            min_seconds, max_seconds: only videos of such a length, limits included.
        """
        passes = np.ones(len(self.rows), bool)
        if folder is not None:
            passes[:] = False
            passes[self._below(folder)] = True
        if min_seconds is not None:
            passes &= self._seconds >= min_seconds
        if max_seconds is not None:
            passes &= self._seconds <= max_seconds
        first = np.full(len(self.names), -1)
        files = np.flatnonzero(passes)[::-1]
        first[self.contents[files]] = files
        return first

    def _below(self, folder: str | os.PathLike) -> slice:
        """The files in a folder: they follow each other, since paths are sorted."""
        try:
            real = os.path.realpath(os.path.expanduser(folder))
        except ValueError:  # no folder can have such a name
            return slice(0, 0)
        above = os.fsencode(real).rstrip(b"/")
        # A slash is the last byte of all that is below, and "0" the byte that follows it.
        first, last = (bisect.bisect_left(self._keys, above + end) for end in (b"/", b"0"))
        return slice(first, last)

    def files_of(self, content: int) -> list[int]:
        """All files of a content, in the order of their paths."""
        return np.flatnonzero(self.contents == content).tolist()
