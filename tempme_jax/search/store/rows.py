"""Rows of the tables of an index, and results of queries."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Stage of files that are passed over for what they hold. Their reason is a kind.
PASSED_OVER = "passed over"


class FileRow(NamedTuple):
    """A video file, as of the last run that looked at it.

    Attributes:
        id: 24 hexadecimal digits, a hash of its root and path.
        root: the indexed folder; ".." for the folder that the index lies in.
        path: path below the root, as bytes of the file system, which need not be text.
        size: size of the file in bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
        content: 32 hexadecimal digits, the id of what it holds; its windows refer to it. "" if
            the file failed.
        seconds: length of the video in seconds.
        windows: number of windows of its content; 0 if the file failed.
        reason: why it failed; "" if it is indexed.
        stage: where it failed: "open", "scan", "decode" or "embed"; "" if it is indexed.
        samples: 32 hexadecimal digits, a hash of samples of the file; "" if the file failed. Rows
            of the first versions have it in `content` instead.
        whole: 64 hexadecimal digits, the SHA-256 of the whole file; "" if it is not known.
        reading: the `READING_VERSION` that read the file.
    """

    id: str
    root: str
    path: bytes
    size: int
    mtime_ns: int
    content: str = ""
    seconds: float = 0.0
    windows: int = 0
    reason: str = ""
    stage: str = ""
    samples: str = ""
    whole: str = ""
    reading: int = 1


class WindowRow(NamedTuple):
    """A window of a content: a span of time and its vector.

    Attributes:
        id: the content and a number, as `make_window_id` joins them.
        content: the content that the window is part of.
        start: where it begins, in seconds from the video's start.
        end: where it ends, in seconds from the video's start.
        vector: unit vector, float32 [d].
        thumbnail: a JPEG file; empty if it was not read.
        is_whole: False if vector or thumbnail have changed since they were stored.
        frames: the vectors of its frames, see `frame_codes`; empty if the index has none.
    """

    id: str
    content: str
    start: float
    end: float
    vector: np.ndarray
    thumbnail: bytes
    is_whole: bool = True
    frames: bytes = b""


class Content(NamedTuple):
    """The number of windows of a content, and the end of the last one in seconds."""

    windows: int
    seconds: float


class Vectors(NamedTuple):
    """All windows without their thumbnails, in the order of their ids.

    Attributes:
        ids: ids of the n windows.
        contents: int32 [n], the place of each window's content in `names`, ascending: the windows
            of a content are a slice.
        names: the contents, sorted.
        starts: float32 [n], start of each window in seconds.
        ends: float32 [n], end of each window in seconds.
        matrix: float32 [n, d], one vector per row.
        checksums: CRC-32 of the windows of each content; empty if they were not computed.
    """

    ids: list[str]
    contents: np.ndarray
    names: list[str]
    starts: np.ndarray
    ends: np.ndarray
    matrix: np.ndarray
    checksums: Sequence[int] = ()


class Near(NamedTuple):
    """A window found by `Store.find_nearest`; `score` is its cosine similarity."""

    id: str
    content: str
    start: float
    end: float
    score: float


def make_window_id(content: str, number: int) -> str:
    """Make the id of a window from its content and its number, from 0 on.

    >>> make_window_id("ab12", 7)
    'ab12-00007'
    """
    return f"{content}-{number:05d}"
