"""Videos and pictures as users give them: files, bytes, open files and arrays become frames."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Bool, UInt8

from tempme_jax.checks import require_one_of
from tempme_jax.embedded import EmbeddedSources, SkippedSource
from tempme_jax.inputs import fit_frames
from tempme_jax.video.errors import VideoError

# A path, the content of a file, a file that is open for reading, or an array: the frames of a
# video, uint8 [t, h, w, 3], or the pixels of a picture, uint8 [h, w, 3].
Source = str | os.PathLike | bytes | BinaryIO | UInt8[np.ndarray, "..."]
OnError = Literal["raise", "skip"]
# Is called with how many are done, and how many there are.
Progress = Callable[[int, int], object]
# Seconds: one for all, or one for each.
Seconds = float | None | Sequence[float | None]
FrameArrays = tuple[UInt8[np.ndarray, "f s s 3"], Bool[np.ndarray, " f"]]

ALLOWED = {
    "video": "a path, bytes, a file open for reading, or frames, uint8 [t, h, w, 3]",
    "picture": "a path, bytes, a file open for reading, a PIL image, or pixels, uint8 [h, w, 3]",
}
# What is wrong with one video, and not with the call.
FAULTS = (VideoError, ValueError, OSError)


@dataclasses.dataclass(frozen=True)
class FrameShape:
    """The number and the size of the frames that a model takes of a video.

    Attributes:
        count: number of frames.
        size: their side in pixels.
        resize: how a frame becomes a square: "crop" or "squash", see `Architecture`.
    """

    count: int
    size: int
    resize: str

    def fit(self, frames: UInt8[np.ndarray, "t h w 3"]) -> FrameArrays:
        """Return frames of any number and size as the model takes them, and their mask."""
        fitted, mask = fit_frames(frames, self.count, self.size, self.resize)
        return fitted[0], mask[0]

    def read_video(
        self, source: Any, name: str, start: float | None = None, end: float | None = None
    ) -> FrameArrays:
        """Return the frames of a part of a video, and their mask.

        Raises:
            VideoError: it cannot be read, or ends before `start`.
            ValueError: the array has another shape or dtype, or has no times to take a part of, or
                `end` is not after `start`.
            TypeError: it is something else.
        """
        from tempme_jax.video.frames import read_frames  # texts do without it

        if is_array(source):
            array = np.asarray(source)
            if array.ndim != 4:
                raise ValueError(
                    f"each video of a list must be {ALLOWED['video']}, not {array.dtype} "
                    f"{list(array.shape)}; pictures go to embed_image"
                )
            if start is not None or end is not None:
                raise ValueError("start and end are seconds of a file; an array has none")
            return self.fit(array)
        with hold_source(source, name, "video") as path:
            frames = read_frames(
                path, self.count, image_size=self.size, resize=self.resize,
                start=start or 0.0, end=end,
            )  # fmt: skip
        return frames, np.ones(self.count, bool)

    def read_picture(self, source: Any, name: str) -> FrameArrays:
        """Return a picture as the frames of a video that stands still, and their mask.

        Errors are those of `read_video`.
        """
        from tempme_jax.video.pictures import convert_picture, read_picture
        from tempme_jax.video.pixels import make_square

        if is_array(source):
            pixels = np.asarray(source)
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
                raise ValueError(
                    f"a picture must be {ALLOWED['picture']} in RGB, not {pixels.dtype} "
                    f"{list(pixels.shape)}; frames of videos go to embed_video"
                )
            if not pixels.size:
                raise ValueError(f"a picture of shape {list(pixels.shape)} holds no pixels")
        elif is_pil_image(source):
            pixels = convert_picture(source)
        else:
            with hold_source(source, name, "picture") as path:
                pixels = read_picture(path)
        square = make_square(pixels[None], self.size, self.resize)
        return np.repeat(square, self.count, axis=0), np.ones(self.count, bool)


class SourceReader:
    """Reads some videos or pictures, batch by batch, and notes what was skipped.

    Attributes:
        rows: those that were read so far.
        skipped: those that could not be read.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        read: Callable[[int, str], FrameArrays],
        *,
        kind: str,
        on_error: OnError = "raise",
        progress: Progress | None = None,
    ):
        """Read `sources` by a function of their place and their name; a `kind` of `ALLOWED`.

        Raises:
            ValueError: if there is no such `on_error`.
            TypeError: if `progress` cannot be called.
        """
        require_one_of(on_error, ("raise", "skip"), "on_error")
        check_progress(progress)
        self.rows: list[int] = []
        self.skipped: list[SkippedSource] = []
        self._sources, self._read, self._kind = sources, read, kind
        self._on_error, self._progress = on_error, progress

    def read_batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield frames, uint8 [b, f, s, s, 3], and masks, bool [b, f], of at most `size` at once.

        They are read as they are needed, since the frames of all might not fit into memory.
        """
        batch: list[FrameArrays] = []
        total = len(self._sources)
        for row in range(total):
            name = name_source(self._sources[row], row, self._kind)
            try:
                batch.append(self._read(row, name))
                self.rows.append(row)
            except FAULTS as error:
                if self._on_error == "raise":
                    raise
                reason = error.reason if isinstance(error, VideoError) else str(error)
                self.skipped.append(SkippedSource(row, name, reason))
            if batch and (len(batch) == size or row == total - 1):
                yield np.stack([frames for frames, _ in batch]), np.stack([m for _, m in batch])
                batch = []
            if self._progress and not batch:  # what was yielded is embedded by now
                self._progress(row + 1, total)

    def make_result(self, vectors: np.ndarray) -> Any:
        """Return the vectors; with what was skipped, if that was asked for."""
        if self._on_error == "raise":
            return vectors
        return EmbeddedSources(vectors, np.array(self.rows, np.int64), tuple(self.skipped))


def check_progress(progress: Any) -> None:
    """Raise a TypeError unless `progress` can be called, or is None."""
    if progress is not None and not callable(progress):
        raise TypeError(
            "progress must be a function of two numbers, how many are done and how many there are, "
            f"not {type(progress).__name__}"
        )


def is_array(source: Any) -> bool:
    """Return whether a source is an array: of NumPy, JAX or another library."""
    is_other = isinstance(source, str | bytes) or is_pil_image(source)  # as np.str_ is
    return not is_other and hasattr(source, "__array__")


def is_pil_image(source: Any) -> bool:
    """Return whether a source is a picture of Pillow, without importing it."""
    return any(kind.__module__.startswith("PIL.") for kind in type(source).__mro__)


def is_single(source: Any) -> bool:
    """Return whether a source is one, and no list of some."""
    return isinstance(source, str | bytes | bytearray | memoryview | os.PathLike) or (
        hasattr(source, "read") or is_pil_image(source) or not isinstance(source, Iterable)
    )


def list_sources(given: Any, kind: str) -> list[Any]:
    """Return what a user gave, one or several, as a list.

    Args:
        given: one source, a list of some, or an array of one or of several.
        kind: "video" or "picture".

    Raises:
        ValueError: if it is an array of another shape.

    >>> list_sources("cat.mp4", "video"), list_sources(("cat.mp4", b"..."), "video")
    (['cat.mp4'], ['cat.mp4', b'...'])
    """
    if is_array(given):
        array = np.asarray(given)
        if array.dtype.kind in "OU":  # paths, as of a column of a table
            return array.reshape(-1).tolist()
        single = {"video": 4, "picture": 3}[kind]
        if array.ndim == single + 1:
            return list(array)
        return [array]
    return [given] if is_single(given) else list(given)


def name_source(source: Any, row: int, kind: str) -> str:
    """Return what to call a source in errors.

    >>> name_source("cat.mp4", 0, "video"), name_source(b"...", 2, "video")
    ('cat.mp4', 'video 3')
    """
    is_path = isinstance(source, str | os.PathLike)
    return os.fsdecode(source) if is_path else f"{kind} {row + 1}"


@contextlib.contextmanager
def hold_source(source: Any, name: str, kind: str) -> Iterator[str]:
    """Yield the path of a file; bytes and open files are held under their name meanwhile.

    Raises:
        TypeError: if it is neither.
        OSError: if an open file cannot be read.
    """
    from tempme_jax.video.opening import hold_content

    if isinstance(source, str | os.PathLike):
        yield os.fsdecode(source)
        return
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    if not isinstance(source, bytes) and not hasattr(source, "read"):
        raise TypeError(
            f"a {kind} must be {ALLOWED[kind]}, or a list of such; {type(source).__name__} is none"
        )
    if hasattr(source, "encoding"):
        raise TypeError(f'{name} is a file that is open for text; open it with "rb"')
    with hold_content(name, source):
        yield name


def spread_seconds(name: str, given: Seconds, count: int) -> list[float | None]:
    """Return a time for each of `count` videos.

    Args:
        name: name of the argument, for errors.
        given: one time in seconds for all, or one for each; None = none.

    Raises:
        TypeError: if one is not a number.
        ValueError: if there are more or fewer.

    >>> spread_seconds("start", 2, 3), spread_seconds("end", [1, None], 2)
    ([2.0, 2.0, 2.0], [1.0, None])
    """
    times: list[Any] = [given] * count
    if isinstance(given, Iterable) and not isinstance(given, str):
        times = list(given)
    if len(times) != count:
        raise ValueError(
            f"{name} must be one number of seconds for all, or one for each of the {count} videos, "
            f"not {len(times)}"
        )
    for time in times:
        if time is not None and (isinstance(time, bool | str) or not hasattr(time, "__float__")):
            raise TypeError(f"{name}={time!r} must be a number of seconds")
    return [None if time is None else float(time) for time in times]
