"""Statistics of an index."""

import dataclasses
import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.paths import decode_root
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.search.store.rows import PASSED_OVER, FileRow
from tempme_jax.search.store.subtitle_file import open_subtitles
from tempme_jax.video.reading import READING_VERSION

if TYPE_CHECKING:
    from tempme_jax.search.store.sidefile import SideFile
    from tempme_jax.search.store.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexStats:
    """The contents of an index, in numbers.

    Attributes:
        address: path or address of the index.
        folders: the indexed folders.
        videos: number of files that a search can find.
        failed: number of files that could not be indexed, without those that are no videos.
        windows: number of windows of these videos; copies of a file share theirs.
        hours: hours of video; copies count once.
        model: the model that made the vectors, as `load` takes it; empty if a Model was passed.
        method: method of that model.
        frames: frames per window.
        fps: frames per second of video.
        overlap: share of a window that the next one repeats.
        speed: speed of the model that was asked for, as a multiple of the trained one; None if a
            program has turned its dial.
        outdated: number of files that an earlier version of this package read. The next run of
            `tempme index` looks at them again, and embeds anew those that it reads otherwise.

    `last_run`, `subtitles` and `size` are looked up when they are asked for.
    """

    address: str
    folders: tuple[str, ...]
    videos: int
    failed: int
    windows: int
    hours: float
    model: str
    method: str
    frames: int
    fps: float
    overlap: float
    speed: float | None = 1.0
    outdated: int = 0

    @property
    def last_run(self) -> str | None:
        """When `tempme index` ended last, such as 2026-11-28T10:15:00+00:00; None if unknown."""
        folder = find_local_folder(self.address)
        # Every run that ends writes the list of what failed; before, there are the tables.
        for pattern in ("failed*.jsonl", "files.lance/_versions/*"):
            times = [file.stat().st_mtime for file in folder.glob(pattern)] if folder else []
            if times:
                ended = datetime.datetime.fromtimestamp(max(times), datetime.UTC)
                return ended.isoformat(timespec="seconds")
        return None

    @property
    def subtitles(self) -> int | None:
        """Number of files and tracks of subtitles that are searched; None if they are damaged."""
        try:
            with open_subtitles(self.address) as subtitles:
                return subtitles.count_tracks() if subtitles else 0
        except VideoIndexError:
            return None

    @property
    def size(self) -> int | None:
        """Bytes of the index on the disk; None if it lies elsewhere."""
        folder = find_local_folder(self.address)
        files = folder.rglob("*") if folder else ()
        return sum(file.lstat().st_size for file in files) if folder else None


def count_outdated(rows: Iterable[FileRow]) -> int:
    """Count the files that an earlier version read."""
    return sum(map(is_outdated, rows))


def select_rows(store: "Store | SideFile", within: Path | None) -> list[FileRow]:
    """Return the rows of the files of an index that are in a folder; of all if it is None."""
    rows = store.read_files()
    return [row for row in rows if is_within(make_path(store.uri, row), within)]


def is_within(path: bytes, folder: Path | None) -> bool:
    """Return whether the path of a file of an index is in a folder; None holds all."""
    return folder is None or path.startswith(os.path.join(os.fsencode(folder.resolve()), b""))


def make_path(uri: str, row: FileRow) -> bytes:
    """Return the path of a file of an index."""
    return os.path.join(os.fsencode(decode_root(uri, row.root)), row.path)


def list_failures(
    store: "Store | SideFile", within: Path | None = None
) -> list[tuple[bytes, str, str]]:
    """List the path, stage and reason of each file of an index that could not be indexed."""
    failed = [row for row in select_rows(store, within) if row.reason and row.stage != PASSED_OVER]
    return sorted((make_path(store.uri, row), row.stage, row.reason) for row in failed)


def is_outdated(row: FileRow) -> bool:
    """Return whether an earlier version read a file."""
    return row.reading < READING_VERSION


def compute_stats(store: "Store | SideFile", within: Path | None = None) -> IndexStats:
    """Count the contents of an index, or of the part of it that is in a folder."""
    rows = select_rows(store, within)
    good = [row for row in rows if not row.reason]
    contents = {row.content: row for row in good}.values()
    return IndexStats(
        address=store.uri,
        folders=tuple(sorted({str(decode_root(store.uri, row.root)) for row in rows})),
        videos=len(good),
        failed=sum(bool(row.reason) and row.stage != PASSED_OVER for row in rows),
        windows=sum(row.windows for row in contents),
        hours=sum(row.seconds for row in contents) / 3600,
        model=str(store.header["source"].get("source", "")),
        method=store.header["model"]["method"],
        speed=store.header["dial"]["speed"] if "dial" in store.header else 1.0,
        outdated=count_outdated(rows),
        **store.header["sampling"],
    )
