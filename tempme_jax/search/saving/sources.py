"""Find the file of an indexed video again, if it is still the one that was indexed."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.search.paths import decode_root, resolve_file
from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import FileState

if TYPE_CHECKING:
    from tempme_jax.search.store.rows import FileRow

GONE = "is gone, or cannot be reached; `tempme index` on its folder finds it if it was moved"
CHANGED = "has changed since it was indexed; run `tempme index` on its folder, and search again"


class VideoSource(NamedTuple):
    """An indexed video, to be read safely: see `opening.hold_file`.

    Attributes:
        file: its real path.
        root: the folder that was indexed; no link below it is to be followed.
        state: the size and the time that it had when it was indexed, and has now.
    """

    file: Path
    root: Path
    state: FileState


def find_source(uri: str, rows: Iterable["FileRow"]) -> VideoSource:
    """Return the first of some files with equal bytes that is there as it was indexed.

    Args:
        uri: address of the index.
        rows: the rows of the files, at least one.

    Raises:
        VideoError: none of them is; it says why the first is not.
    """
    reasons = []
    for row in rows:
        path, root = resolve_file(uri, row.root, row.path), decode_root(uri, row.root)
        state = FileState(row.size, row.mtime_ns)
        if path is None:
            reasons.append((str(root / os.fsdecode(row.path)), GONE))
            continue
        try:
            status = path.stat()
        except OSError:
            reasons.append((str(path), GONE))
            continue
        if FileState(status.st_size, status.st_mtime_ns) == state:
            return VideoSource(path, root.resolve(), state)
        reasons.append((str(path), CHANGED))
    raise VideoError(*reasons[0])
