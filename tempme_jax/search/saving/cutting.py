"""Save parts of videos as mp4 files; untrusted files are read in child processes.

A part is copied where that can be done right, else decoded and encoded again.
"""

import contextlib
import dataclasses
import errno
import os
import tempfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from tempme_jax.files import write_whole
from tempme_jax.search.saving.copied import UnfitCopyError, copy_part
from tempme_jax.search.saving.encoded import LEAST_SIDE, Size, encode_part
from tempme_jax.search.saving.part import Part
from tempme_jax.video import workers
from tempme_jax.video.container import VideoError, convert_errors
from tempme_jax.video.opening import FileState, hold_file
from tempme_jax.video.positions import check_part

# Most seconds without a frame or a packet.
PATIENCE = 60.0
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """A part of a video to save.

    Attributes:
        file: path of the video.
        start: start of the part in seconds, as a player counts them.
        end: end of the part, likewise; a part ends with its video at the latest.
        root: the folder that it lies in or below, of which no link is followed; None follows links.
        state: size and time that the file should have; None for any.
        in_browser: whether every browser has to play it.
        most_side: most pixels of the longer side of the picture; None for any.
        size: size of the picture, on black if its shape is another; None for its own.
        is_piece: whether it is to be laid end to end with others, so it is encoded, and has sound.
        threads: threads that encode.
        target: path of the mp4 file, which the child process writes.
    """

    file: str
    start: float
    end: float
    root: str | None = None
    state: FileState | None = None
    in_browser: bool = False
    most_side: int | None = None
    size: Size | None = None
    is_piece: bool = False
    threads: int = 1
    target: str = ""

    def __post_init__(self):
        """Check that the part is not empty."""
        check_part(self.start, self.end)
        if self.most_side is not None and self.most_side < LEAST_SIDE:
            raise ValueError(f"most_side={self.most_side} must be {LEAST_SIDE} pixels or more")


class SavedPart(NamedTuple):
    """A part of a video that was saved.

    Attributes:
        file: path of the mp4 file.
        seconds: its length.
        copied: whether its pictures were copied and not encoded again.
        size: width and height of its picture, if it was encoded; else None.
    """

    file: Path
    seconds: float
    copied: bool
    size: Size | None = None


class DiskFailure(NamedTuple):
    """Why a file could not be written, by the number of the system's error."""

    number: int


def save_part(
    file: str | os.PathLike,
    start: float,
    end: float,
    target: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    state: FileState | None = None,
    in_browser: bool = False,
    most_side: int | None = None,
    total: float | None = None,
) -> SavedPart:
    """Save a part of a video as an mp4 file, whole or not at all; replace a file that is there.

    Args:
        file, start, end, root, state, in_browser, most_side: see `Cut`.
        target: path of the mp4 file.
        total: most seconds that it may take; None for any.

    Raises:
        VideoError: the video is missing, has changed, or cannot be read.
        OSError: the file cannot be written.
        ValueError: there is no such part.
    """
    cut = Cut(
        file=os.fspath(file), start=start, end=end, state=state, in_browser=in_browser,
        root=None if root is None else os.fspath(root), most_side=most_side,
    )  # fmt: skip
    with contextlib.closing(save_parts([(cut, Path(target))], total=total)) as saved:
        result = next(saved)
    if isinstance(result, Exception):
        raise result
    return result


def save_parts(
    parts: Iterable[tuple[Cut, Path]], *, total: float | None = None
) -> Generator[SavedPart | VideoError | OSError, None, None]:
    """Save parts of videos; yield for each what became of it, in their order.

    Args:
        parts: each with the path of its mp4 file, which is replaced if it is there.
        total: most seconds that a part may take; None for any.
    """
    parts = list(parts)
    if not parts:
        return
    processes = min(len(parts), count_cores())
    with contextlib.ExitStack() as stack:
        folders: dict[Path, str] = {}
        cuts = []
        for number, (cut, target) in enumerate(parts):
            if target.parent not in folders:
                made = tempfile.TemporaryDirectory(prefix=".tempme-", dir=target.parent)
                folders[target.parent] = stack.enter_context(made)
            unfinished = os.path.join(folders[target.parent], f"{number}.mp4")
            threads = max(1, count_cores() // processes)
            cuts.append(dataclasses.replace(cut, target=unfinished, threads=threads))
        results = workers.decode_all(
            cuts, workers=processes, seconds=PATIENCE, total=total, decode=cut_part
        )
        stack.enter_context(contextlib.closing(results))
        for (cut, result), (_, target) in zip(results, parts, strict=True):
            yield _finish(cut, result, target)


def _finish(
    cut: Cut, result: SavedPart | VideoError | DiskFailure, target: Path
) -> SavedPart | VideoError | OSError:
    """Give what was written its name."""
    if isinstance(result, VideoError):
        Path(cut.target).unlink(missing_ok=True)
        return result
    if isinstance(result, DiskFailure):
        Path(cut.target).unlink(missing_ok=True)
        return OSError(result.number, os.strerror(result.number), os.fspath(target))
    try:
        with write_whole(target) as unfinished:
            os.replace(cut.target, unfinished)
    except OSError as error:
        return error
    return result._replace(file=target)


def cut_part(cut: Cut) -> SavedPart | DiskFailure:
    """Write a part to its target; this runs in the child process.

    Raises:
        VideoError: the video cannot be read.
    """

    def write() -> SavedPart:
        with hold_file(cut.file, root=cut.root, state=cut.state), convert_errors(cut.file):
            return _write(cut, Part.open(cut.file, cut.start, cut.end))

    return write_to_disk(write)


def write_to_disk(write: Callable[[], T]) -> T | DiskFailure:
    """Call a function, and return what it does, or what is wrong with the disk it writes to."""
    try:
        return write()
    except OSError as error:
        return DiskFailure(error.errno or errno.EIO)


def _write(cut: Cut, part: Part) -> SavedPart:
    seconds = float(part.seconds)
    if cut.most_side is None and not cut.is_piece:
        with contextlib.suppress(UnfitCopyError):
            copy_part(part, cut.target, in_browser=cut.in_browser)
            return SavedPart(Path(cut.target), seconds, True)
    size = encode_part(
        part, cut.target, most_side=cut.most_side, size=cut.size, always_sound=cut.is_piece,
        threads=cut.threads,
    )  # fmt: skip
    return SavedPart(Path(cut.target), seconds, False, size)


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))
