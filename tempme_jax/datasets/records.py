"""What a prepared data set says of itself: the files beside its records.

report.json      the figures of each split: its missing and bad videos, and hashes
<split>.jsonl    a line for each record, without its frames
source.json      the folder that it was prepared from
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tempme_jax.datasets.base import Video
from tempme_jax.fields import FieldError, parse_fields
from tempme_jax.files import write_text
from tempme_jax.video.errors import VideoError
from tempme_jax.video.fingerprint import hash_three_parts
from tempme_jax.video.opening import HeldFile

REPORT = "report.json"
SOURCE = "source.json"
INFO = "dataset_info.json"


class PreparationError(ValueError):
    """A data set cannot be prepared; the message says why, and what to do."""


class SplitFigures(TypedDict):
    """What report.json says of a split.

    Attributes:
        expected: published number of videos, or else of listed ones.
        listed: number of videos in the annotations.
        prepared: number of stored videos.
        missing: videos without a file.
        bad: videos that cannot be decoded.
        signature: hash of the annotations.
        lines: hash of the file with a line for each record; not in version 0.1.
    """

    expected: int
    listed: int
    prepared: int
    missing: list[dict[str, Any]]
    bad: list[dict[str, Any]]
    signature: str
    lines: NotRequired[str]


class RecordLine(TypedDict):
    """A line about a stored video.

    Attributes:
        id, captions, group: as in the annotations.
        frames: number of its frames.
        bytes: size of the file that it was decoded from; not in version 0.1.
        samples: hash of samples of that file; not in version 0.1.
        mtime_ns: time of the last change of that file, in nanoseconds; not in version 0.1.
    """

    id: str
    captions: list[str]
    group: str
    frames: int
    bytes: NotRequired[int]
    samples: NotRequired[str]
    mtime_ns: NotRequired[int]


class FileFigures(TypedDict, total=False):
    """The fields of a `RecordLine` that tell the file."""

    bytes: int
    samples: str
    mtime_ns: int


Report = dict[str, SplitFigures]


def read_report(folder: Path) -> Report:
    """Read the report of a prepared set; a PreparationError says that it is damaged."""
    return _parse(folder, REPORT, _read(folder, REPORT), Report)


def read_lines(folder: Path, split: str, report: Report) -> list[RecordLine]:
    """Read the lines about the stored videos of a split.

    Raises:
        PreparationError: they are not those that were written.
    """
    name, figures = f"{split}.jsonl", report[split]
    content = _read(folder, name)
    if "lines" in figures and figures["lines"] != hash_text(content):
        raise make_damage_error(folder, f"{folder / name} has changed since it was written")
    lines = content.splitlines()
    if "lines" in figures:  # what has the right hash has the right types
        return list(map(json.loads, lines))
    if len(lines) != figures["prepared"]:
        raise make_damage_error(folder, f"{folder / name} is not whole")
    return [_parse(folder, name, line, RecordLine) for line in lines]


def write_lines(folder: Path, split: str, lines: Sequence[RecordLine]) -> str:
    """Write the lines about the stored videos of a split, and return their hash."""
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    write_text(folder / f"{split}.jsonl", content)
    return hash_text(content.encode())


def read_source(folder: Path) -> str | None:
    """Return the real path of the folder that a set was prepared from; None if not known."""
    if not (folder / SOURCE).exists():
        return None
    return _parse(folder, SOURCE, _read(folder, SOURCE), dict[str, str]).get("root")


def write_source(folder: Path, root: Path) -> None:
    """Note the folder that a set is prepared from."""
    write_text(folder / SOURCE, json.dumps({"root": os.path.realpath(root)}) + "\n")


def describe_file(video: Video) -> FileFigures:
    """Return what distinguishes the file of a video from others; {} if it is not there.

    Samples of a file are its first, middle and last bytes, so a large one is not read whole.
    """
    try:
        with open(video.file or "", "rb") as file:
            held = HeldFile(str(video.file), file.fileno())
            samples = hash_three_parts(held)
    except (OSError, VideoError):
        return {}
    return {"bytes": held.state.size, "samples": samples, "mtime_ns": held.state.mtime_ns}


def has_changed(video: Video, line: RecordLine) -> bool:
    """Return whether the file of a video is there, and is not the one that was decoded."""
    try:
        status = os.stat(video.file or "")
    except OSError:
        return False
    if line.get("bytes", -1) not in (-1, status.st_size):
        return True
    if "samples" not in line or line.get("mtime_ns") == status.st_mtime_ns:
        return False
    return describe_file(video).get("samples") != line["samples"]


def hash_text(content: bytes) -> str:
    """Return the SHA-256 of the content of a file."""
    return hashlib.sha256(content).hexdigest()


def make_damage_error(folder: Path, problem: str) -> PreparationError:
    """Make an error that says what is wrong with a prepared set, and what to do."""
    return PreparationError(f"{problem}; delete {folder} to prepare the set anew")


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise make_damage_error(folder, f"{folder / name} cannot be read: {error}") from error


def _parse(folder: Path, name: str, content: bytes, kind: Any) -> Any:
    try:
        return parse_fields(content, kind, str(folder / name))
    except FieldError as error:
        raise make_damage_error(folder, str(error)) from error
