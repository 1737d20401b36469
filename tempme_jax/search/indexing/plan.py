"""Planning a run: find the new files of a folder, and those that have to be decoded."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.probe import Source, probe_files
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

T = TypeVar("T", FileRow, FoundFile)


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
    """Find the videos of a folder, or of a shard of it, and compare them with the index.

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
        found = select_shard(found, shard)
        skipped = [file for number, file in enumerate(skipped) if number % shard[1] == shard[0]]
        difference = Difference(
            unchanged=select_shard(difference.unchanged, shard),
            look_at=select_shard(difference.look_at, shard),
            failed_before=select_shard(difference.failed_before, shard),
            gone=select_shard(difference.gone, shard),
            unseen=select_shard(difference.unseen, shard),
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


def select_shard(files: list[T], shard: tuple[int, int]) -> list[T]:
    """Return the files of a shard. Sizes decide, so copies of a file are in the same shard."""
    number, shards = shard
    hashes = [int(make_file_id("", str(file.size).encode()), 16) for file in files]
    return [file for file, value in zip(files, hashes, strict=True) if value % shards == number]


def plan_work(
    store: Store,
    place: VideoFolder,
    files: list[FoundFile],
    *,
    workers: int | None,
    progress: IndexProgress,
) -> Work:
    """Open files of a folder in child processes, and sort them into the work of a run."""
    work, stored = Work(), store.read_contents()
    by_key = {make_file_id(place.root, file.path): file for file in files}
    sources = [
        Source(key=key, file=os.path.join(place.folder, os.fsdecode(file.path)))
        for key, file in by_key.items()
    ]
    for source, probed in progress.track_opening(
        probe_files(sources, workers=workers), len(sources)
    ):
        file = by_key[source.key]
        if isinstance(probed, VideoError):
            row = FileRow(source.key, place.root, *file, reason=probed.reason, stage="open")
            work.rows.append(row)
            continue
        row = FileRow(
            source.key, place.root, file.path, probed.size, probed.mtime_ns, probed.content
        )
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
