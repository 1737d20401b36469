"""A quick look at video files: their stated length, and hashes that identify what they hold."""

import dataclasses
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, TypeVar

from tempme_jax.video import changes, container
from tempme_jax.video.container import VideoError
from tempme_jax.video.fingerprint import WHOLE, hash_samples, hash_whole
from tempme_jax.video.opening import FileState, HeldFile, hold_file
from tempme_jax.video.workers import decode_all

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A file to read, and the key by which the caller refers to it.

    Attributes:
        key: the key.
        file: path of the file.
        root: the folder that it lies in or below. No link below it is followed; None follows links.
        state: the size and time that it should have; None for any.
        samples: the hash of samples that it should have; "" for any.
        known: number of its first windows that an earlier run embedded, and the SHA-256 of the file
            that they are of.
    """

    key: str
    file: str
    root: str | None = None
    state: FileState | None = None
    samples: str = ""
    known: tuple[int, str] = (0, "")


class ProbedFile(NamedTuple):
    """Properties of a video file that are found without reading all of it.

    Attributes:
        seconds: length in seconds as the header states it; None if it states none.
        size: size of the file in bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
        samples: 32 hexadecimal digits, a hash of its size and of samples of it. It tells files
            apart that differ in them. Files that agree may still differ elsewhere.
        whole: 64 hexadecimal digits, the SHA-256 of the whole file; "" if it was not computed.
    """

    seconds: float | None
    size: int
    mtime_ns: int
    samples: str
    whole: str = ""

    @property
    def state(self) -> FileState:
        """Size and time."""
        return FileState(self.size, self.mtime_ns)


class CheckedFile(NamedTuple):
    """A file that an earlier version read, and why it is read otherwise today, if it is."""

    probed: ProbedFile
    reasons: list[str]


def probe_file(source: Source) -> ProbedFile:
    """Open a file as a video, and hash samples of its bytes; if it is small, all of them.

    Raises:
        VideoError: the file is missing, not a regular file, not a video, or it changes meanwhile.
    """
    with hold_file(source.file, root=source.root, state=source.state) as held:
        return _probe(held, hashes_whole=held.state.size <= WHOLE)


def probe_whole_file(source: Source) -> ProbedFile:
    """Do as `probe_file`, and hash all bytes of the file."""
    with hold_file(source.file, root=source.root, state=source.state) as held:
        return _probe(held, hashes_whole=True)


def check_file(source: Source) -> CheckedFile:
    """Find out whether a file is read otherwise than by an earlier version; hash all its bytes."""
    with hold_file(source.file, root=source.root, state=source.state) as held:
        reasons = changes.list_changes(source.file)
        return CheckedFile(_probe(held, hashes_whole=True), reasons)


def probe_files(
    sources: Iterable[Source],
    *,
    workers: int | None = None,
    probe: Callable[[Source], T] = probe_file,
) -> Generator[tuple[Source, T | VideoError], None, None]:
    """Probe files in child processes.

    Args:
        sources: the files; they are taken as they are needed.
        workers: number of processes; None for one per CPU.
        probe: the function of this module that looks at each.

    Yields:
        Each source, in the given order, with what was found or the reason why it is not a video.

    Raises:
        RuntimeError: the child processes do not run at all.
    """
    return decode_all(sources, workers=workers, decode=probe)


def _probe(held: HeldFile, *, hashes_whole: bool) -> ProbedFile:
    with container.convert_errors(held.path):
        seconds = _read_stated_seconds(held.path)
    whole = hash_whole(held) if hashes_whole else ""
    return ProbedFile(seconds, *held.state, hash_samples(held), whole)


def _read_stated_seconds(path: str) -> float | None:
    with container.open_video(path) as opened:
        stream = container.find_video_stream(opened, path)
        if stream.duration and stream.duration > 0 and stream.time_base:
            return float(stream.duration * stream.time_base)
        if opened.duration and opened.duration > 0:
            return opened.duration / 1e6  # AV_TIME_BASE
    return None
