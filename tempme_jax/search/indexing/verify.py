"""`tempme index --verify`: check every row against its file, every vector against its checksum."""

import contextlib
import dataclasses
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.identify import get_samples
from tempme_jax.search.indexing.plan import locate_file
from tempme_jax.search.indexing.probe import Source, probe_file, probe_files, probe_whole_file
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.paths import decode_root
from tempme_jax.search.store.columns import compute_window_checksum, join_checksums
from tempme_jax.search.store.locking import lock_index
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.search.store.subtitle_file import check_subtitles
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
        subtitles: number of passages of subtitles that were checked.
        repaired: whether wrong rows were removed from the index.
        folders: folders with files that have to be embedded again.
    """

    files: int
    windows: int
    problems: list[Problem]
    leftovers: int
    repaired: bool
    folders: list[Path]
    subtitles: int = 0

    @property
    def is_clean(self) -> bool:
        """True if no problem was found."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in a few lines."""
        files, windows = pluralize(self.files, "file"), pluralize(self.windows, "window")
        texts = f", {pluralize(self.subtitles, 'passage')} of subtitles" if self.subtitles else ""
        checked = f"{files} and {windows}{texts} checked: "
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


def verify_index(
    store: Store, *, repair: bool, progress: IndexProgress, full_hash: bool = False
) -> Verification:
    """Check an index, and with `repair` remove wrong rows from it.

    With `full_hash` all bytes of all files are compared. Otherwise they are if its time has
    changed, and samples of them if not.

    Raises:
        VideoIndexError: another process writes to it, or it is too damaged to be read.
    """
    with lock_index(store.uri) if repair else contextlib.nullcontext():
        if repair:
            store.finish_forgetting()
        # Files are read before windows: another run, which writes windows first, may add some.
        rows = [row for row in store.read_files() if not row.reason]
        windows, damaged = check_windows(store)
        wrong = check_rows(rows, windows, damaged)
        absent = find_absent_folders(store, rows)
        there = [row for row in rows if row.id not in wrong and row.root not in absent]
        changed, hashed = check_files(store, there, progress, full_hash=full_hash)
        wrong |= changed
        needed = {row.content for row in rows if row.id not in wrong}
        known = {row.content for row in rows}
        leftovers = sum(count for content, count in windows.items() if content not in known)
        if repair:
            if hashed:  # of files of an earlier version, which hashed samples only
                store.commit([], hashed)
            repair_index(store, sorted(wrong), sorted((windows.keys() | damaged.keys()) - needed))
        subtitles, damage = check_subtitles(store.uri, repair=repair)
    by_id = {row.id: row for row in rows}
    folders = {decode_root(store.uri, by_id[key].root) for key in wrong}
    return Verification(
        files=len(rows),
        windows=sum(windows.values()),
        problems=[
            Problem(printable_name(os.fsencode(folder)), what) for folder, what in absent.values()
        ]
        + sorted(Problem(printable_name(by_id[key].path), what) for key, what in wrong.items())
        + ([Problem("subtitles", damage)] if damage else []),
        leftovers=leftovers,
        repaired=repair,
        folders=sorted(folders),
        subtitles=subtitles,
    )


def repair_index(store: Store, files: list[str], contents: list[str]) -> None:
    """Remove contents, and files.

    Contents come first: a run that finds a file without its windows embeds it anew, but one that
    finds windows without a file would take them for whole.
    """
    store.remove_contents(contents)
    store.remove_files(files)
    if contents:  # also from the disk
        store.purge()
    store.tidy()


def check_windows(store: Store) -> tuple[Counter[str], dict[str, str]]:
    """Count the windows of each content, and describe the damage of damaged contents."""
    windows, damaged, seen, crcs = Counter(), {}, set(), defaultdict(list)
    for row in store.scan():
        windows[row.content] += 1
        crc = compute_window_checksum(row.id, row.start, row.end, row.vector)
        crcs[row.content].append((row.id, crc))
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
    for content, stored in store.read_checksums().items():
        if content in crcs and content not in damaged and join_checksums(crcs[content]) != stored:
            damaged[content] = "its windows have changed since they were stored (checksum)"
    return windows, damaged


def check_rows(
    rows: list[FileRow], windows: Counter[str], damaged: dict[str, str]
) -> dict[str, str]:
    """Describe, by the ids of files, which windows are damaged or missing."""
    wrong = {}
    for row in rows:
        if row.content in damaged and windows[row.content] >= row.windows:
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


def check_files(
    store: Store, rows: list[FileRow], progress: IndexProgress, *, full_hash: bool
) -> tuple[dict[str, str], list[FileRow]]:
    """Find files that are gone or have another content by now.

    Returns:
        By the ids of such files, what is wrong; and the rows of files of which all bytes have been
        hashed for the first time.
    """
    suspects = [row for row in rows if full_hash or not has_its_time(store, row)]
    whole, by_key = {row.id for row in suspects}, {row.id: row for row in rows}
    wrong, hashed = {}, []
    for probe in (probe_file, probe_whole_file):
        chosen = [row for row in rows if (row.id in whole) == (probe is probe_whole_file)]
        sources = [make_source(store, row) for row in chosen]
        for source, probed in progress.track(probe_files(sources, probe=probe), len(sources)):
            row = by_key[source.key]
            if isinstance(probed, VideoError):
                wrong[row.id] = f"cannot be opened any more ({probed.reason})"
            elif probed.samples != get_samples(row) or (
                probed.whole and row.whole not in ("", probed.whole)
            ):
                wrong[row.id] = "has another content than when it was indexed"
            elif full_hash and not row.whole:
                hashed.append(row._replace(samples=probed.samples, whole=probed.whole))
    return wrong, hashed


def has_its_time(store: Store, row: FileRow) -> bool:
    """Return whether the time of a file is that of its row; it is the same if it is not there."""
    try:
        mtime_ns = os.lstat(locate_file(store, row)).st_mtime_ns
    except (OSError, ValueError):
        return True
    return mtime_ns == row.mtime_ns


def make_source(store: Store, row: FileRow) -> Source:
    """Make the source that a file is read from."""
    root = str(decode_root(store.uri, row.root))
    return Source(key=row.id, file=locate_file(store, row), root=root)
