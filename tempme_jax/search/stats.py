"""What an index holds, in figures."""

import dataclasses

from tempme_jax.search.paths import root_path
from tempme_jax.search.store.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """What an index holds.

    Attributes:
        address: where it is.
        folders: of videos that it is of.
        videos: files that can be found in it.
        failed: files that could not be indexed.
        windows: spans of videos with a vector.
        hours: of video.
        model: that made the vectors, as `load` takes it; empty if it was handed over.
        method: of that model.
        frames: of a window.
        fps: frames a second.
        overlap: share of a window that the next one begins before its end.
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


def stats_of(store: Store) -> Stats:
    """Counts what an index holds."""
    rows = store.files()
    good = [row for row in rows if not row.reason]
    contents = {row.content: row for row in good}.values()
    return Stats(
        address=store.uri,
        folders=tuple(sorted({str(root_path(store.uri, row.root)) for row in rows})),
        videos=len(good),
        failed=len(rows) - len(good),
        windows=sum(row.windows for row in contents),
        hours=sum(row.seconds for row in contents) / 3600,
        model=str(store.header["source"].get("source", "")),
        method=store.header["model"]["method"],
        **store.header["sampling"],
    )
