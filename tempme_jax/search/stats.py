"""Statistics of an index."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tempme_jax.search.paths import decode_root
from tempme_jax.search.store.rows import PASSED_OVER, FileRow
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
        outdated: number of files that an earlier version of this package read. The next run of
            `tempme index` looks at them again, and embeds anew those that it reads otherwise.
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
    outdated: int = 0


def count_outdated(rows: Iterable[FileRow]) -> int:
    """Count the files that an earlier version read."""
    return sum(map(is_outdated, rows))


def is_outdated(row: FileRow) -> bool:
    """Return whether an earlier version read a file."""
    return row.reading < READING_VERSION


def compute_stats(store: "Store | SideFile") -> IndexStats:
    """Count the contents of an index."""
    rows = store.read_files()
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
        outdated=count_outdated(rows),
        **store.header["sampling"],
    )
