"""What there is to do in a folder: which files are new, and which of them must be decoded."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.probe import Probed, Source, probe_all
from tempme_jax.search.indexing.progress import Progress
from tempme_jax.search.indexing.walk import Difference, Found, Skipped, compare, file_id, walk
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.container import VideoError


class Place(NamedTuple):
    """A folder of videos, and how the index names it."""

    folder: Path
    root: str


class Looked(NamedTuple):
    """What is in the folder, and what of it this run is to look at."""

    found: int
    difference: Difference
    skipped: list[Skipped]


@dataclasses.dataclass
class Work:
    """What there is to do.

    Attributes:
        rows: files that need no decoding: unusable, or of a content that has windows.
        waiting: by content, the files that get their windows once it is embedded.
        seconds: by content, the length that the file says it has; None if it does not.
        sources: what to decode, each content once.
    """

    rows: list[FileRow] = dataclasses.field(default_factory=list)
    waiting: dict[str, list[FileRow]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float | None] = dataclasses.field(default_factory=dict)
    sources: list[Source] = dataclasses.field(default_factory=list)


def look(
    store: Store, place: Place, *, retry_failed: bool, shard: tuple[int, int] | None
) -> Looked:
    """Walks a folder and compares it with the index.

    Args:
        store: of the index.
        place: the folder.
        retry_failed: whether files that failed before are looked at again.
        shard: (i, n): only every n-th file, from the i-th on; None: all.

    Raises:
        VideoIndexError: if there is no such folder, or no video in it.
    """
    found, skipped = walk(place.folder)
    rows = [row for row in store.files() if row.root == place.root]
    if not found and not skipped:
        refuse_nothing(place, rows)
    difference = compare(found, rows, root=place.root, retry_failed=retry_failed, skipped=skipped)
    if shard:
        found = [file for file in found if is_mine(file.size, shard)]
        skipped = [file for number, file in enumerate(skipped) if number % shard[1] == shard[0]]
        difference = Difference(
            *([one for one in part if is_mine(one.size, shard)] for part in difference)
        )
    return Looked(len(found), difference, skipped)


def refuse_nothing(place: Place, rows: list[FileRow]) -> None:
    """Raises a VideoIndexError that fits a folder without videos."""
    if rows:
        raise VideoIndexError(
            f"there is no video in {place.folder}, where the index knows {len(rows)}. Is a disk "
            "not mounted? Nothing was removed from the index; --forget takes them out"
        )
    raise VideoIndexError(
        f"there is no video in {place.folder}: no file with a suffix such as .mp4, .mkv, .mov, "
        ".avi or .webm, there or in a folder in it"
    )


def is_mine(size: int, shard: tuple[int, int]) -> bool:
    """Whether a file is of a shard: by its size, so that all copies of it are of the same."""
    number, shards = shard
    return int(file_id("", str(size).encode()), 16) % shards == number


def plan(
    store: Store, place: Place, files: list[Found], *, workers: int | None, progress: Progress
) -> Work:
    """Opens the files, in child processes, and sorts them.

    Args:
        store: of the index.
        place: the folder.
        files: of it, those to look at.
        workers: child processes.
        progress: is told of every file.
    """
    work, stored = Work(), store.contents()
    by_key = {file_id(place.root, file.path): file for file in files}
    sources = [Source(key=key, file=path_of(place, file.path)) for key, file in by_key.items()]
    for source, probed in progress.opened(probe_all(sources, workers=workers), len(sources)):
        path = by_key[source.key].path
        if isinstance(probed, VideoError):
            work.rows.append(
                failed(source.key, place.root, by_key[source.key], probed.reason, "open")
            )
            continue
        row = row_of(source.key, place.root, path, probed)
        if probed.content in stored:
            windows, seconds = stored[probed.content]
            work.rows.append(row._replace(windows=windows, seconds=seconds))
        elif probed.content in work.waiting:
            work.waiting[probed.content].append(row)
        else:
            work.waiting[probed.content] = [row]
            work.seconds[probed.content] = probed.seconds
            work.sources.append(Source(key=probed.content, file=source.file))
    return work


def path_of(place: Place, path: bytes) -> str:
    """The whole path of a file of a folder."""
    return os.path.join(place.folder, os.fsdecode(path))


def row_of(key: str, root: str, path: bytes, probed: Probed) -> FileRow:
    """A file that has no windows yet."""
    return FileRow(
        id=key, root=root, path=path, size=probed.size, mtime_ns=probed.mtime_ns,
        content=probed.content, seconds=0.0, windows=0, reason="", stage="",
    )  # fmt: skip


def failed(key: str, root: str, file: Found, reason: str, stage: str) -> FileRow:
    """A file that cannot be indexed."""
    return FileRow(
        id=key, root=root, path=file.path, size=file.size, mtime_ns=file.mtime_ns,
        content="", seconds=0.0, windows=0, reason=reason, stage=stage,
    )  # fmt: skip
