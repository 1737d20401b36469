"""Checks of an index: every row against its file, every vector against its checksum."""

import contextlib
import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.probe import Source, probe_all
from tempme_jax.search.indexing.progress import Progress
from tempme_jax.search.paths import root_path
from tempme_jax.search.store.locking import locked
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.container import VideoError
from tempme_jax.words import pluralize, printable_name

# How far from 1 the length of a vector may be.
UNIT_TOLERANCE = 1e-3


class Problem(NamedTuple):
    """A file whose rows are wrong, and how."""

    file: str
    what: str


@dataclasses.dataclass(kw_only=True)
class Verification:
    """What was found.

    Attributes:
        files: that were checked.
        windows: that were checked.
        problems: files whose rows are wrong.
        leftovers: windows that no file needs: of videos that are gone, or of a run that was ended
            before it wrote the row of their file. They do no harm.
        repaired: whether what is wrong was taken out of the index.
        folders: those in which files are to be embedded anew.
    """

    files: int
    windows: int
    problems: list[Problem]
    leftovers: int
    repaired: bool
    folders: list[Path]

    @property
    def is_clean(self) -> bool:
        """Whether all is as it should be."""
        return not self.problems

    @property
    def summary(self) -> str:
        """In some lines."""
        files, windows = pluralize(self.files, "file"), pluralize(self.windows, "window")
        checked = f"{files} and {windows} checked: "
        if self.is_clean:
            lines = [checked + "all is as it should be"]
        else:
            lines = [checked + f"{pluralize(len(self.problems), 'file')} with problems"]
            lines += [f"  {problem.file}: {problem.what}" for problem in self.problems[:10]]
            more = len(self.problems) - 10
            lines += [f"  and {more} more"] if more > 0 else []
        if self.leftovers:
            done = "removed" if self.repaired else "left; they do no harm"
            lines.append(f"{pluralize(self.leftovers, 'window')} that no file needs: {done}")
        return "\n".join(lines)


def verify(store: Store, *, repair: bool, progress: Progress) -> Verification:
    """Checks an index, and takes out of it what is wrong.

    Raises:
        VideoIndexError: another process writes to it, or it is damaged beyond reading.
    """
    with locked(store.uri) if repair else contextlib.nullcontext():
        # Before the windows, which are written first: of a run at work these may be more.
        rows = [row for row in store.files() if not row.reason]
        windows, damaged = check_windows(store)
        wrong = check_rows(rows, windows, damaged)
        absent = absent_folders(store, rows)
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
    folders = {root_path(store.uri, by_id[key].root) for key in wrong}
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
    """How many windows each content has, and the contents whose windows are damaged, and how."""
    windows, damaged, seen = Counter(), {}, set()
    for row in store.scan():
        windows[row.content] += 1
        length = np.linalg.norm(row.vector)
        if row.id in seen:
            damaged[row.content] = "a window is there twice"
        elif row.stored != row.computed:
            damaged[row.content] = "a vector or thumbnail is not what was stored (checksum)"
        elif not abs(length - 1) < UNIT_TOLERANCE:  # also if it is not a number
            damaged[row.content] = f"a vector has the length {length:.3g}, not 1"
        seen.add(row.id)
    return windows, damaged


def check_rows(
    rows: list[FileRow], windows: Counter[str], damaged: dict[str, str]
) -> dict[str, str]:
    """The files whose windows are damaged or missing, by id, and how."""
    wrong = {}
    for row in rows:
        if row.content in damaged:
            wrong[row.id] = damaged[row.content]
        elif windows[row.content] != row.windows:
            wrong[row.id] = f"{windows[row.content]} of its {row.windows} windows are stored"
    return wrong


def absent_folders(store: Store, rows: list[FileRow]) -> dict[str, tuple[Path, str]]:
    """By root, the folders none of whose files is there, and how many there were.

    A disk may not be mounted: what was indexed with much work is not thrown away for that.
    """
    counts, seen = Counter(row.root for row in rows), set()
    for row in rows:
        if row.root not in seen and os.path.lexists(path_of(store, row)):
            seen.add(row.root)
    return {
        root: (
            root_path(store.uri, root),
            f"none of its {pluralize(count, 'video')} is there; is a disk not mounted? They stay "
            "in the index; `tempme index FOLDER --forget` takes them out",
        )
        for root, count in counts.items()
        if root not in seen
    }


def path_of(store: Store, row: FileRow) -> str:
    """Where a file should be."""
    return os.path.join(root_path(store.uri, row.root), os.fsdecode(row.path))


def check_files(store: Store, rows: list[FileRow], progress: Progress) -> dict[str, str]:
    """The files that are gone or hold something else by now, by id, and how."""
    sources = [Source(key=row.id, file=path_of(store, row)) for row in rows]
    content, wrong = {row.id: row.content for row in rows}, {}
    for source, probed in progress.opened(probe_all(sources), len(sources)):
        if isinstance(probed, VideoError):
            wrong[source.key] = f"cannot be opened any more ({probed.reason})"
        elif probed.content != content[source.key]:
            wrong[source.key] = "holds something else than when it was indexed"
    return wrong
