"""`tempme index --verify`: check every row against its file, every vector against its checksum."""

import contextlib
import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.probe import Source, probe_files
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.paths import decode_root
from tempme_jax.search.store.locking import lock_index
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.container import VideoError
from tempme_jax.words import pluralize, printable_name

# Tolerance of the length of a vector, which is 1.
UNIT_TOLERANCE = 1e-3


class Problem(NamedTuple):
    """A file whose rows are wrong, and what is wrong with them."""

    file: str
    what: str


@dataclasses.dataclass(kw_only=True)
class Verification:
    """The result of a check.

    Attributes:
        files: number of files that were checked.
        windows: number of windows that were checked.
        problems: files whose rows are wrong.
        leftovers: number of windows that no file refers to: of videos that are gone, or of a run
            that ended before it wrote the row of their file. They are harmless.
        repaired: whether wrong rows were removed from the index.
        folders: folders with files that have to be embedded again.
    """

    files: int
    windows: int
    problems: list[Problem]
    leftovers: int
    repaired: bool
    folders: list[Path]

    @property
    def is_clean(self) -> bool:
        """True if no problem was found."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in a few lines."""
        files, windows = pluralize(self.files, "file"), pluralize(self.windows, "window")
        checked = f"{files} and {windows} checked: "
        if self.is_clean:
            lines = [checked + "no problems"]
        else:
            lines = [checked + f"{pluralize(len(self.problems), 'file')} with problems"]
            lines += [f"  {problem.file}: {problem.what}" for problem in self.problems[:10]]
            more = len(self.problems) - 10
            lines += [f"  and {more} more"] if more > 0 else []
        if self.leftovers:
            done = "removed" if self.repaired else "kept; they are harmless"
            lines.append(f"{pluralize(self.leftovers, 'window')} that no file needs: {done}")
        return "\n".join(lines)


def verify_index(store: Store, *, repair: bool, progress: IndexProgress) -> Verification:
    """Check an index, and with `repair` remove wrong rows from it.

    Raises:
        VideoIndexError: another process writes to it, or it is too damaged to be read.
    """
    with lock_index(store.uri) if repair else contextlib.nullcontext():
        # Files are read before windows: another run, which writes windows first, may add some.
        rows = [row for row in store.read_files() if not row.reason]
        windows, damaged = check_windows(store)
        wrong = check_rows(rows, windows, damaged)
        absent = find_absent_folders(store, rows)
        there = [row for row in rows if row.id not in wrong and row.root not in absent]
        wrong |= check_files(store, there, progress)
        needed = {row.content for row in rows if row.id not in wrong}
        known = {row.content for row in rows}
        leftovers = sum(count for content, count in windows.items() if content not in known)
        if repair:
            store.remove_files(sorted(wrong))
            store.remove_contents(sorted((windows.keys() | damaged.keys()) - needed))
            store.tidy()
    by_id = {row.id: row for row in rows}
    folders = {decode_root(store.uri, by_id[key].root) for key in wrong}
    return Verification(
        files=len(rows),
        windows=sum(windows.values()),
        problems=[
            Problem(printable_name(os.fsencode(folder)), what) for folder, what in absent.values()
        ]
        + sorted(Problem(printable_name(by_id[key].path), what) for key, what in wrong.items()),
        leftovers=leftovers,
        repaired=repair,
        folders=sorted(folders),
    )


def check_windows(store: Store) -> tuple[Counter[str], dict[str, str]]:
    """Count the windows of each content, and describe the damage of damaged contents."""
    windows, damaged, seen = Counter(), {}, set()
    for row in store.scan():
        windows[row.content] += 1
        length = np.linalg.norm(row.vector)
        if row.id in seen:
            damaged[row.content] = "a window is stored twice"
        elif not row.is_whole:
            damaged[row.content] = (
                "a vector or thumbnail has changed since it was stored (checksum)"
            )
        elif not abs(length - 1) < UNIT_TOLERANCE:  # also if it is not a number
            damaged[row.content] = f"a vector has the length {length:.3g}, not 1"
        seen.add(row.id)
    return windows, damaged


def check_rows(
    rows: list[FileRow], windows: Counter[str], damaged: dict[str, str]
) -> dict[str, str]:
    """Describe, by the ids of files, which windows are damaged or missing."""
    wrong = {}
    for row in rows:
        if row.content in damaged:
            wrong[row.id] = damaged[row.content]
        elif windows[row.content] != row.windows:
            wrong[row.id] = f"{windows[row.content]} of its {row.windows} windows are stored"
    return wrong


def find_absent_folders(store: Store, rows: list[FileRow]) -> dict[str, tuple[Path, str]]:
    """Find the roots of which no file is there; return each one's folder and a message.

    Their files stay in the index, since a disk may just not be mounted.
    """
    counts, seen = Counter(row.root for row in rows), set()
    for row in rows:
        if row.root not in seen and os.path.lexists(locate_file(store, row)):
            seen.add(row.root)
    return {
        root: (
            decode_root(store.uri, root),
            f"none of its {pluralize(count, 'video')} is there; is a disk not mounted? They stay "
            "in the index; `tempme index FOLDER --forget` removes them",
        )
        for root, count in counts.items()
        if root not in seen
    }


def locate_file(store: Store, row: FileRow) -> str:
    """Return where a file should be."""
    return os.path.join(decode_root(store.uri, row.root), os.fsdecode(row.path))


def check_files(store: Store, rows: list[FileRow], progress: IndexProgress) -> dict[str, str]:
    """Describe, by the ids of files, which are gone or have another content by now."""
    sources = [Source(key=row.id, file=locate_file(store, row)) for row in rows]
    content, wrong = {row.id: row.content for row in rows}, {}
    for source, probed in progress.track_opening(probe_files(sources), len(sources)):
        if isinstance(probed, VideoError):
            wrong[source.key] = f"cannot be opened any more ({probed.reason})"
        elif probed.content != content[source.key]:
            wrong[source.key] = "has another content than when it was indexed"
    return wrong
