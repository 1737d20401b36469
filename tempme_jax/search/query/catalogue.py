"""The files of an index by path, and the contents that a filtered search may return."""

import bisect
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tempme_jax.search.query.filters import Filters, fold_name, make_name_test
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
        self._changed = np.array([row.mtime_ns for row in self.rows], np.float64) / 1e9

    def select(self, **filters: Any) -> np.ndarray:
        """Return the first file of each content that passes all filters, those of `Filters`.

        The result, int [contents], holds numbers of files; -1 where no file passes.
        """
        return self.find_first(self.find_passing(**filters))

    def find_first(self, passes: np.ndarray) -> np.ndarray:
        """Return the first file of each content among some files, bool [files]; -1 without one."""
        first = np.full(len(self.names), -1)
        files = np.flatnonzero(passes)[::-1]  # of several files the first is assigned last
        first[self.contents[files]] = files
        return first

    def find_passing(self, **filters: Any) -> np.ndarray:
        """Return which files pass all filters, those of `Filters`, as bool [files]."""
        chosen = Filters(**filters)
        passes = np.ones(len(self.rows), bool)
        if chosen.folder is not None:
            passes[:] = False
            passes[self._find_below(chosen.folder)] = True
        if chosen.name:
            test = make_name_test(chosen.name)
            passes &= np.array([bool(test.search(name)) for name in self._folded], bool)
        if chosen.min_seconds is not None:
            passes &= self._seconds >= chosen.min_seconds
        if chosen.max_seconds is not None:
            passes &= self._seconds <= chosen.max_seconds
        if chosen.after is not None or chosen.before is not None:
            first, last = chosen.changed
            passes &= (self._changed >= first) & (self._changed < last)
        return passes

    @functools.cached_property
    def _folded(self) -> list[str]:
        return [fold_name(os.fsdecode(row.path)) for row in self.rows]

    def _find_below(self, folder: str | os.PathLike) -> slice:
        """Return the files below a folder, or of a path; as these are sorted, they are a slice."""
        try:
            real = os.path.realpath(os.path.expanduser(folder))
        except ValueError:  # such as a zero byte: no folder can have this name
            return slice(0, 0)
        above = os.fsencode(real).rstrip(b"/")
        own = slice(bisect.bisect_left(self._keys, above), bisect.bisect_right(self._keys, above))
        if own.start < own.stop:
            return own
        # Paths below it begin with its name and a slash; "0" is the byte after the slash.
        first, last = (bisect.bisect_left(self._keys, above + end) for end in (b"/", b"0"))
        return slice(first, last)

    def list_files(self, content: int) -> list[int]:
        """Return the numbers of all files with a content, in the order of their paths."""
        return np.flatnonzero(self.contents == content).tolist()
