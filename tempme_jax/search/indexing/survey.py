"""Surveying a folder: its videos, and how they differ from the index."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.difference import Difference, compare_with_index
from tempme_jax.search.indexing.report import describe_counts
from tempme_jax.search.indexing.walk import FolderContent, FoundFile, find_videos, make_file_id
from tempme_jax.search.paths import encode_root
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.reading import READING_VERSION

Listed = TypeVar("Listed", FileRow, FoundFile)


class VideoFolder(NamedTuple):
    """A folder of videos, and its name in the index, which is the root of its files."""

    folder: Path
    root: str

    @classmethod
    def locate(cls, uri: str, folder: Path) -> "VideoFolder":
        """Locate a folder for the index at an address."""
        return cls(folder.expanduser().absolute(), encode_root(uri, folder))


class Survey(NamedTuple):
    """What a folder holds, and how it differs from the index.

    Attributes:
        found: number of videos.
        difference: how they differ from the index.
        content: what the folder holds; of a shard, all but the videos are divided otherwise.
        rows: the rows of all files of the index, also of other folders.
    """

    found: int
    difference: Difference
    content: FolderContent
    rows: list[FileRow]


def survey_folder(
    store: Store,
    place: VideoFolder,
    *,
    retry_failed: bool,
    shard: tuple[int, int] | None,
    exclude: Sequence[str] = (),
) -> Survey:
    """Find the videos of a folder, or of a shard of it, and compare them with the index.

    Raises:
        VideoIndexError: the folder is missing, or has no video; or a pattern cannot be used.
    """
    content = find_videos(place.folder, exclude)
    every = store.read_files()
    rows = [row for row in every if row.root == place.root]
    if content.is_empty:
        refuse_empty_folder(place.folder, content, indexed=len(rows))
    found = content.found
    difference = compare_with_index(
        found, rows, root=place.root, retry_failed=retry_failed,
        skipped=content.skipped, left_out=content.left_out,
    )  # fmt: skip
    if shard:
        found = select_shard(found, shard)
        skipped = content.skipped[shard[0] :: shard[1]]
        content = content._replace(skipped=skipped)
        if shard[0]:  # the first one tells what the folder holds besides
            content = content._replace(left_out=[], passed_over=Counter(), unused=[])
        difference = Difference(
            unchanged=select_shard(difference.unchanged, shard),
            look_at=select_shard(difference.look_at, shard),
            failed_before=select_shard(difference.failed_before, shard),
            gone=select_shard(difference.gone, shard),
            unseen=select_shard(difference.unseen, shard),
            left_out=select_shard(difference.left_out, shard),
        )
    return Survey(len(found), look_again_at_failures(difference), content, every)


def look_again_at_failures(difference: Difference) -> Difference:
    """Look at files again that an earlier version could not read."""
    rows = difference.failed_before
    outdated = [row for row in rows if row.reading < READING_VERSION]
    again = [FoundFile(row.path, row.size, row.mtime_ns) for row in outdated]
    return difference._replace(
        look_at=sorted(difference.look_at + again),
        failed_before=[row for row in rows if row.reading >= READING_VERSION],
    )


def refuse_empty_folder(folder: Path, content: FolderContent, *, indexed: int) -> NoReturn:
    """Raise a VideoIndexError for a folder without videos, of which `indexed` are in the index."""
    besides = describe_counts(content.passed_over, Counter(label for _, label in content.left_out))
    besides = "".join(f". {line}" for line in besides)
    if indexed:
        raise VideoIndexError(
            f"there is no video in {folder}, but the index has {indexed} of them{besides}. Is a "
            "disk not mounted? Nothing was removed from the index; --forget removes them"
        )
    raise VideoIndexError(
        f"there is no video in {folder}: no file with a suffix such as .mp4, .mkv, .mov, "
        f".avi or .webm, there or in a folder in it{besides}"
    )


def select_shard(files: list[Listed], shard: tuple[int, int]) -> list[Listed]:
    """Return the files of a shard. Sizes decide, so copies of a file are in the same shard."""
    number, shards = shard
    hashes = [int(make_file_id("", str(file.size).encode()), 16) for file in files]
    return [file for file, value in zip(files, hashes, strict=True) if value % shards == number]
