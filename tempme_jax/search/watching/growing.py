"""Tell files that are still being written from those that are whole."""

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple


class _Look(NamedTuple):
    """What a file was like, and since when."""

    size: int
    mtime_ns: int
    since: float


class GrowingFiles:
    """The files that have changed lately, and have not been at rest for long enough yet."""

    def __init__(self, settle: float):
        """Take the seconds that a file has to be at rest."""
        self._settle = settle
        self._looks: dict[str, _Look] = {}

    def note(self, path: str, now: float, clock: float) -> bool | None:
        """Note that a file has changed at a second; return whether that is new.

        It is None if the file is whole: what was only moved here was written to long before.

        Args:
            path: the file.
            now: a second of the clock that `look` goes by.
            clock: the same in seconds since 1970.
        """
        is_new = path not in self._looks
        try:
            if is_new and clock - os.stat(path, follow_symlinks=False).st_mtime >= self._settle:
                return None
        except OSError:
            return None
        self._look(path, now)
        return is_new

    def _look(self, path: str, now: float) -> bool:
        """Look at a file; return whether it is at rest now, or gone."""
        before = self._looks.get(path)
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError:
            self._looks.pop(path, None)
            return True
        if not stat.S_ISREG(status.st_mode):
            self._looks.pop(path, None)
            return True
        state = status.st_size, status.st_mtime_ns
        if before is None or state != before[:2]:
            self._looks[path] = _Look(*state, now)
            return False
        if now - before.since >= self._settle:
            del self._looks[path]
            return True
        return False

    def look(self, now: float) -> list[str]:
        """Look at all of them again; return those that are at rest, or gone, and forget them."""
        return [path for path in list(self._looks) if self._look(path, now)]

    def note_young(self, paths: Iterable[str], now: float, clock: float) -> None:
        """Note those files that were written to in the last seconds before a time since 1970."""
        for path in paths:
            try:
                age = clock - os.stat(path, follow_symlinks=False).st_mtime
            except OSError:
                continue
            # A time in the future is that of another clock, and says nothing.
            if 0 <= age < self._settle and path not in self._looks:
                self._look(path, now)

    @property
    def paths(self) -> list[str]:
        """The files."""
        return list(self._looks)
