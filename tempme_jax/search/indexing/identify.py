"""Identifying files by what they hold, so those that were moved or copied are not decoded again.

What decides is, in this order:

* Files whose samples differ are different. A file that is small is its own sample.
* A file whose time has not changed, at its old place or at a new one while its old place is empty,
  is the same file as long as its samples agree.
* Otherwise the SHA-256 of all bytes decides. Samples are too little to tell a finished download
  from one that has gaps.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tempme_jax.search.indexing.probe import ProbedFile
from tempme_jax.search.store.rows import Content, FileRow
from tempme_jax.video.fingerprint import WHOLE
from tempme_jax.video.opening import FileState
from tempme_jax.video.reading import READING_VERSION


class Match(NamedTuple):
    """What is known of a file.

    Attributes:
        row: the row of a file that holds the same; None if there is none.
        is_sure: False if only the hash of all bytes can tell.
    """

    row: FileRow | None
    is_sure: bool


class KnownFiles:
    """The files of an index that have windows, by what they hold."""

    def __init__(
        self,
        rows: Iterable[FileRow],
        stored: Mapping[str, Content],
        locate: Callable[[FileRow], str],
    ):
        """Use rows whose windows are all stored; `locate` returns where the file of a row lies."""
        self._locate = locate
        self._by_samples: dict[str, dict[str, FileRow]] = defaultdict(dict)
        for row in rows:
            if row.content in stored and stored[row.content].windows == row.windows:
                self.add(row)

    def add(self, row: FileRow) -> None:
        """Add a file, or replace it."""
        self._by_samples[get_samples(row)][row.id] = row

    def find(self, file_id: str, probed: ProbedFile) -> Match:
        """Find out whether a file of the index holds the same as a file that was probed."""
        rows = self._by_samples.get(probed.samples, {}).values()
        for row in rows:
            if probed.size <= WHOLE or (probed.whole and row.whole == probed.whole):
                return Match(row, True)
        if not probed.whole:
            for row in rows:
                if probed.state.agrees(FileState(row.size, row.mtime_ns)) and (
                    row.id == file_id or not os.path.lexists(self._locate(row))
                ):
                    return Match(row, True)
        return Match(None, bool(probed.whole) or not rows)

    def list_unhashed(self, samples: str) -> list[FileRow]:
        """List the files with these samples of which only samples were hashed."""
        rows = self._by_samples.get(samples, {}).values()
        return [row for row in rows if not row.whole and row.size > WHOLE]


def get_samples(row: FileRow) -> str:
    """Return the hash of samples of a file; the first versions used it as the id of the content."""
    return row.samples or row.content


def make_content_id(whole: str) -> str:
    """Make the id of what a file holds, 32 hexadecimal digits, from the SHA-256 of its bytes.

    It changes with the way in which files are read, so that windows which an earlier version made
    can stay until new ones are stored.
    """
    return hashlib.blake2b(f"{whole} {READING_VERSION}".encode(), digest_size=16).hexdigest()
