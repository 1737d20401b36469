"""Read the frames of a picture or of a part of a video, in a child process."""

import contextlib
import dataclasses
import io
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from tempme_jax.search.paths import decode_root, resolve_file
from tempme_jax.video import workers
from tempme_jax.video.container import VideoError, check_regular_file
from tempme_jax.video.frames import read_at, spread_over_part
from tempme_jax.video.opening import hold_file
from tempme_jax.video.pictures import read_picture
from tempme_jax.video.pixels import make_square
from tempme_jax.video.positions import check_part

if TYPE_CHECKING:  # child processes import this file and must not import JAX
    from tempme_jax.model import Model
    from tempme_jax.search.query.searcher import Searcher
    from tempme_jax.search.store.rows import FileRow

# Most seconds in which no frame is decoded.
PATIENCE = 60.0
# Most seconds as a whole. A part near the end of hours with a single key frame takes minutes.
MOST_SECONDS = 900.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoExcerpt:
    """A part of a video, and how many frames to read from it.

    Attributes:
        file: path of the video.
        count: number of frames, taken at the middles of as many equal spans of time.
        size: side of the frames in pixels.
        resize: how a frame becomes a square: "crop" or "squash", see `Architecture`.
        start: start of the part, in seconds from the video's start.
        end: end of the part, in seconds; None for the end of the video.
        root: the folder that it lies in or below, of which no link is followed; None follows links.

    Raises:
        ValueError: if `start` is negative, or `end` is not a number after it.
    """

    file: str
    count: int
    size: int
    resize: str = "crop"
    start: float = 0.0
    end: float | None = None
    root: str | None = None

    def __post_init__(self):
        """Check that the part is not empty."""
        check_part(self.start, self.end)

    def choose_times(self, length: Fraction) -> list[Fraction]:
        """Return the times of the frames in a video of `length` seconds.

        Raises:
            VideoError: the video ends before the part starts.
        """
        return spread_over_part(self.file, length, self.count, self.start, self.end)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file, to be read as one square frame with a side of `size` pixels.

    How it becomes a square is `resize`, as in a `VideoExcerpt`.
    """

    file: str
    size: int
    resize: str = "crop"


def read_in_child(
    request: VideoExcerpt | Picture,
) -> tuple[UInt8[np.ndarray, "t s s 3"], list[float]]:
    """Decode frames in a child process, which may crash, hang or be killed by a hostile file.

    Returns:
        The frames, uint8, and the second at which a player shows each.

    Raises:
        VideoError: if the file cannot be decoded; it says why.
    """
    decode = decode_excerpt if isinstance(request, VideoExcerpt) else decode_picture
    pairs = workers.decode_all(
        [request], workers=1, seconds=PATIENCE, total=MOST_SECONDS, decode=decode
    )
    with contextlib.closing(pairs):
        _, result = next(pairs)
    if isinstance(result, VideoError):
        raise result
    return result


def decode_excerpt(request: VideoExcerpt) -> tuple[UInt8[np.ndarray, "t s s 3"], list[float]]:
    """Decode a part of a video; this runs in the child process."""
    chosen: list[Fraction] = []

    def choose_times(length: Fraction) -> list[Fraction]:
        chosen.extend(request.choose_times(length))
        return chosen

    with hold_file(request.file, root=request.root):
        frames, times = read_at(
            request.file, choose_times, image_size=request.size, resize=request.resize
        )
    # A frame that is on screen at several of the chosen times is returned as often.
    which = np.searchsorted(times, np.array(chosen, np.float64) + 1e-4, side="right") - 1
    which = np.maximum(which, 0)
    return frames[which], times[which].tolist()


def decode_picture(request: Picture) -> tuple[UInt8[np.ndarray, "1 s s 3"], list[float]]:
    """Decode a picture; this runs in the child process."""
    picture = read_picture(request.file)[None]
    return make_square(picture, request.size, request.resize), [0.0]


def make_excerpt(
    model: "Model", file: str, start: float, end: float | None, root: str | None = None
) -> VideoExcerpt:
    """Make the excerpt of a part of a video that a model embeds."""
    return VideoExcerpt(
        file=file,
        count=model.num_frames,
        size=model.arch.image_size,
        resize=model.arch.resize,
        start=start,
        end=end,
        root=root,
    )


def read_still(model: "Model", image: str | os.PathLike) -> UInt8[np.ndarray, "t s s 3"]:
    """Return a picture as a video that stands still, for a model; a VideoError says why not."""
    size, resize = model.arch.image_size, model.arch.resize
    frames, _ = read_in_child(Picture(file=find_file(image), size=size, resize=resize))
    return np.repeat(frames, model.num_frames, axis=0)


def read_part(
    model: "Model", video: str | os.PathLike, start: float, end: float | None
) -> UInt8[np.ndarray, "t s s 3"]:
    """Return the frames of a part of a video, for a model; a VideoError says why not."""
    return read_in_child(make_excerpt(model, find_file(video), start, end))[0]


def draw_window(model: "Model", uri: str, searcher: "Searcher", window: str) -> bytes | None:
    """Draw which patches a model merges in a window of an index; None if the window is gone.

    Raises:
        VideoError: the video cannot be decoded.
    """
    excerpt = find_excerpt(model, uri, searcher, window)
    return None if excerpt is None else draw_merged(model, excerpt)


def find_excerpt(
    model: "Model", uri: str, searcher: "Searcher", window: str
) -> VideoExcerpt | None:
    """Return the excerpt that is a window of an index.

    It is None if the window is gone, or no file is there that is as it was indexed.
    """
    found = searcher.find_window(window)
    if found is None:
        return None
    for row in (searcher.files[file_id] for file_id in found.file_ids):
        path = resolve_file(uri, row.root, row.path)
        if path is not None and is_unchanged(path, row):
            root = str(decode_root(uri, row.root).resolve())
            return make_excerpt(model, str(path), found.start, found.end, root)
    return None


def is_unchanged(path: Path, row: "FileRow") -> bool:
    """Return whether a file has the size and the time that it had when it was indexed."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (row.size, row.mtime_ns)


def draw_merged(model: "Model", excerpt: VideoExcerpt) -> bytes:
    """Draw which patches of an excerpt a model merges, and return the picture as a PNG file.

    Raises:
        VideoError: if the video cannot be decoded.
    """
    from tempme_jax.visualize.merged import trace
    from tempme_jax.visualize.picture import draw_picture

    frames, seconds = read_in_child(excerpt)
    file = io.BytesIO()
    draw_picture([trace(model, frames, seconds=seconds)]).save(file, "PNG")
    return file.getvalue()


def find_file(file: str | os.PathLike) -> str:
    """Return the absolute path of a file that a user named.

    Raises:
        VideoError: if there is no such file, or it is not a regular file.
    """
    path = os.path.abspath(os.path.expanduser(os.fsdecode(file)))
    check_regular_file(path)
    return path
