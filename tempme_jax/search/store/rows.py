"""What an index holds: files, the windows of their contents, and what is asked of them."""

from typing import NamedTuple

import numpy as np


class FileRow(NamedTuple):
    """A video file under a root, as it was when it was last looked at.

    Attributes:
        id: hexadecimal digits that tell its root and path from others.
        root: the folder that was indexed.
        path: below the root, as bytes of the file system, which need not be text.
        size: in bytes.
        mtime_ns: when it was changed, in nanoseconds.
        content: hexadecimal digits of what it holds, on which its windows hang.
        seconds: its length.
        windows: how many its content has; 0 where it failed.
        reason: why it failed; "" is indexed.
        stage: in which it failed: "open", "scan" or "decode"; "" is indexed.
    """

    id: str
    root: str
    path: bytes
    size: int
    mtime_ns: int
    content: str
    seconds: float
    windows: int
    reason: str = ""
    stage: str = ""


class WindowRow(NamedTuple):
    """A span of a content.

    Attributes:
        id: the content and a number, as `window_id` writes them.
        content: whose window it is.
        start: in seconds from the first frame.
        end: in seconds.
        vector: float32 [d], of length one.
        thumbnail: a JPEG file.
    """

    id: str
    content: str
    start: float
    end: float
    vector: np.ndarray
    thumbnail: bytes


class ScannedRow(NamedTuple):
    """A window as it is stored, with the checksum stored beside it and the one it now has."""

    id: str
    content: str
    start: float
    end: float
    vector: np.ndarray
    thumbnail: bytes
    stored: int
    computed: int

    @property
    def is_whole(self) -> bool:
        """Whether vector and thumbnail are those that were stored."""
        return self.stored == self.computed


class Content(NamedTuple):
    """How many windows a content has, and when the last of them ends, in seconds."""

    windows: int
    seconds: float


class Vectors(NamedTuple):
    """All windows without their thumbnails, in the order of their ids.

    Attributes:
        ids: of the n windows.
        contents: int32 [n], each window's place in `names`: it never falls, so that the windows of
            a content are a slice.
        names: the contents, sorted.
        starts: float32 [n], in seconds.
        ends: float32 [n], in seconds.
        matrix: float32 [n, d], a vector a row.
    """

    ids: list[str]
    contents: np.ndarray
    names: list[str]
    starts: np.ndarray
    ends: np.ndarray
    matrix: np.ndarray


class Near(NamedTuple):
    """A window that `Store.nearest` found; `score` is the cosine."""

    id: str
    content: str
    start: float
    end: float
    score: float


def window_id(content: str, number: int) -> str:
    """The id of a window of a content: the first one of "ab12" is "ab12-00000"."""
    return f"{content}-{number:05d}"
