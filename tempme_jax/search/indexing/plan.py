"""Planning a run: find the new files of a folder, and those that have to be decoded."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple, NoReturn

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.probe import ProbedFile, Source, probe_files
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.walk import (
    Difference,
    FoundFile,
    SkippedPath,
    compare_with_index,
    find_videos,
    make_file_id,
)
from tempme_jax.search.paths import encode_root
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.container import VideoError


class VideoFolder(NamedTuple):
    """A folder of videos, and its name in the index, which is the root of its files."""

    folder: Path
    root: str

    @classmethod
    def locate(cls, uri: str, folder: Path) -> "VideoFolder":
        """Locate a folder for the index at an address."""
        return cls(folder.expanduser().absolute(), encode_root(uri, folder))


class Survey(NamedTuple):
    """The number of videos in a folder, how they differ from the index, and skipped paths."""

    found: int
    difference: Difference
    skipped: list[SkippedPath]


@dataclasses.dataclass
class Work:
    """The work of a run.

    Attributes:
        rows: files that need no decoding: they are unusable, or their content has windows already.
        waiting: for each content to embed, the files that hold it.
        seconds: for each content to embed, the length that its file states, in seconds; None if
            it states none.
        sources: one file to decode for each content.
    """

    rows: list[FileRow] = dataclasses.field(default_factory=list)
    waiting: dict[str, list[FileRow]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float | None] = dataclasses.field(default_factory=dict)
    sources: list[Source] = dataclasses.field(default_factory=list)


def survey_folder(
    store: Store, place: VideoFolder, *, retry_failed: bool, shard: tuple[int, int] | None
) -> Survey:
    """Find the videos of a folder, and compare them with the index.

    Args:
        store: store of the index.
        place: the folder.
        retry_failed: whether files that failed before are tried again.
        shard: (i, n) takes only the i-th of n parts of the files; None takes all.

    Raises:
        VideoIndexError: the folder is missing, or has no video.
    """
    found, skipped = find_videos(place.folder)
    rows = [row for row in store.read_files() if row.root == place.root]
    if not found and not skipped:
        refuse_empty_folder(place.folder, indexed=len(rows))
    difference = compare_with_index(
        found, rows, root=place.root, retry_failed=retry_failed, skipped=skipped
    )
    if shard:
        found = [file for file in found if belongs_to_shard(file.size, shard)]
        skipped = [file for number, file in enumerate(skipped) if number % shard[1] == shard[0]]
        difference = Difference(
            unchanged=[row for row in difference.unchanged if belongs_to_shard(row.size, shard)],
            look_at=[file for file in difference.look_at if belongs_to_shard(file.size, shard)],
            failed_before=[
                row for row in difference.failed_before if belongs_to_shard(row.size, shard)
            ],
            gone=[row for row in difference.gone if belongs_to_shard(row.size, shard)],
            unseen=[row for row in difference.unseen if belongs_to_shard(row.size, shard)],
        )
    return Survey(len(found), difference, skipped)


def refuse_empty_folder(folder: Path, *, indexed: int) -> NoReturn:
    """Raise a VideoIndexError for a folder without videos, of which `indexed` are in the index."""
    if indexed:
        raise VideoIndexError(
            f"there is no video in {folder}, but the index has {indexed} of them. Is a disk not "
            "mounted? Nothing was removed from the index; --forget removes them"
        )
    raise VideoIndexError(
        f"there is no video in {folder}: no file with a suffix such as .mp4, .mkv, .mov, "
        ".avi or .webm, there or in a folder in it"
    )


def belongs_to_shard(size: int, shard: tuple[int, int]) -> bool:
    """Return whether a file belongs to a shard: by its size, so copies are in the same one."""
    number, shards = shard
    return int(make_file_id("", str(size).encode()), 16) % shards == number


def plan_work(
    store: Store,
    place: VideoFolder,
    files: list[FoundFile],
    *,
    workers: int | None,
    progress: IndexProgress,
) -> Work:
    """Open the files in child processes, and sort them into the work of a run.

    Args:
        store: store of the index.
        place: the folder.
        files: the files of it to open.
        workers: number of child processes.
        progress: counts the opened files.
    """
    work, stored = Work(), store.read_contents()
    by_key = {make_file_id(place.root, file.path): file for file in files}
    sources = [Source(key=key, file=join_path(place, file.path)) for key, file in by_key.items()]
    for source, probed in progress.track_opening(
        probe_files(sources, workers=workers), len(sources)
    ):
        path = by_key[source.key].path
        if isinstance(probed, VideoError):
            work.rows.append(
                make_failed_row(source.key, place.root, by_key[source.key], probed.reason, "open")
            )
            continue
        row = make_row(source.key, place.root, path, probed)
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


def join_path(place: VideoFolder, path: bytes) -> str:
    """Return the whole path of a file of a folder."""
    return os.path.join(place.folder, os.fsdecode(path))


def make_row(key: str, root: str, path: bytes, probed: ProbedFile) -> FileRow:
    """Make the row of a file that has no windows yet."""
    return FileRow(
        id=key, root=root, path=path, size=probed.size, mtime_ns=probed.mtime_ns,
        content=probed.content, seconds=0.0, windows=0, reason="", stage="",
    )  # fmt: skip


def make_failed_row(key: str, root: str, file: FoundFile, reason: str, stage: str) -> FileRow:
    """Make the row of a file that cannot be indexed."""
    return FileRow(
        id=key, root=root, path=file.path, size=file.size, mtime_ns=file.mtime_ns,
        content="", seconds=0.0, windows=0, reason=reason, stage=stage,
    )  # fmt: skip
