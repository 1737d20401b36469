"""How a prepared set lies on disk: shards of records, written once, and read without TensorFlow.

<home>/<name>/<storage>/<version>/
    <name>-<split>.array_record-00000-of-00004    the records, as TFDS reads them
    <split>.jsonl                                 a line for each record, without its frames
    report.json                                   which videos are missing or bad
    features.json, dataset_info.json              of TFDS; the last is written last of all
"""

import bisect
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.video.frames import VideoError
from tempme_jax.video.workers import Decoded

REPORT = "report.json"
INFO = "dataset_info.json"
LOCK = "preparation.lock"


class NotPreparedError(FileNotFoundError):
    """A data set, or a split of it, that is not stored where it was looked for."""


class PreparationError(Exception):
    """A data set that cannot be prepared as it is; it says what to do."""


class Prepared:
    """The videos of one or several splits, as JPEG frames; what is said of them is in memory.

    Goes from process to process as its index: the record files are opened where they are read.

    Attributes:
        folder: where the set lies.
        splits: whose videos these are, one split after the other.
        ids: of each video.
        captions: of each video.
        groups: of each video; videos of one group are hard negatives of one another, "" is none.
        frames: how many frames each video has.
        report: what report.json says of all splits.
    """

    def __init__(self, folder: str | os.PathLike[str], splits: str | Sequence[str]):
        """Read the index of the splits.

        Raises:
            NotPreparedError: the folder does not hold them; it says which command prepares them.
        """
        self.folder = Path(folder).absolute()
        self.splits = (splits,) if isinstance(splits, str) else tuple(splits)
        name = self.folder.parent.parent.name
        if not (self.folder / INFO).exists():
            raise NotPreparedError(
                f"{self.folder} holds no complete data set; run `tempme data prepare CONFIG` with "
                f"the config file of the run, such as configs/{name}.py"
            )
        self.report: dict[str, Any] = json.loads((self.folder / REPORT).read_text())
        for split in self.splits:
            if split not in self.report:
                raise NotPreparedError(
                    f"{name} has no split {split!r}; it has {', '.join(self.report)}"
                )
        parts = [_lines(self.folder / f"{split}.jsonl") for split in self.splits]
        lines = list(itertools.chain.from_iterable(parts))
        self.ids: list[str] = [line["id"] for line in lines]
        self.captions: list[tuple[str, ...]] = [tuple(line["captions"]) for line in lines]
        self.groups: list[str] = [line["group"] for line in lines]
        self.frames: list[int] = [line["frames"] for line in lines]
        self._starts = [0, *itertools.accumulate(map(len, parts))][:-1]

    @property
    def expected(self) -> int:
        """The published number of videos, or that of the listed ones where none is published."""
        return sum(self.report[split]["expected"] for split in self.splits)

    @property
    def id_hash(self) -> str:
        """Twelve hex digits that tell which videos these are, in whatever order."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, video: int) -> tuple[list[bytes], np.ndarray]:
        """The JPEG files of the frames, and when each comes on screen: float32 [t], in seconds."""
        video = range(len(self))[video]
        part = bisect.bisect_right(self._starts, video) - 1
        record = self._sources[part][video - self._starts[part]]
        return list(record["frames"]), np.array(record["times"], np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_sources"}

    @functools.cached_property
    def _sources(self) -> list[Sequence[dict[str, Any]]]:
        builder = tfds.builder_from_directory(self.folder)
        return [builder.as_data_source(split) for split in self.splits]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some videos of a split, and the file for the records of those that can be decoded.

    The file is written under a temporary name, renamed when it is complete, and then described by
    a side file, which goes when the whole set is complete.

    Attributes:
        path: of the records.
        split: whose videos these are.
        videos: all that are listed, also those that were not found.
        signature: of these videos and of their files.
    """

    path: Path
    split: str
    videos: tuple[Video, ...]
    signature: str

    @property
    def found(self) -> list[Video]:
        """The videos that there are."""
        return [video for video in self.videos if video.file is not None]

    @property
    def side(self) -> Path:
        """The side file."""
        return self.path.with_name(f"{self.path.name}.json")

    def described(self) -> dict[str, Any]:
        """The index lines ("records") and the "bad" videos of a shard that is done."""
        return json.loads(self.side.read_text())

    def is_done(self, limits: dict[str, float]) -> bool:
        """Whether it holds these videos; under other limits, what was bad may be good."""
        if not self.side.exists():
            return False
        side = self.described()
        same_limits = side["limits"] == limits or not side["bad"]
        return side["signature"] == self.signature and same_limits

    def write(
        self,
        builder: VideoSet,
        results: Iterator[Decoded | VideoError],
        limits: dict[str, float],
        advance: Callable[[bool], None],
    ) -> None:
        """Store the results for `found`, the next ones of an iterator that goes on."""
        features = builder.info.features
        serializer = ExampleSerializer(features.get_serialized_info())
        self.side.unlink(missing_ok=True)
        records, bad = [], []
        writer = ArrayRecordWriter(str(unfinished(self.path)), "group_size:1")
        for video, result in zip(self.found, results, strict=False):
            if isinstance(result, VideoError):
                bad.append({"id": video.id, "file": result.path, "reason": result.reason})
            else:
                example = features.encode_example(builder.example(video, result))
                record = serializer.get_tf_example(example)
                # Otherwise the order of the fields differs from process to process.
                writer.write(record.SerializeToString(deterministic=True))
                records.append(_line(video, result))
            advance(isinstance(result, VideoError))
        writer.close()
        publish(unfinished(self.path), self.path)
        side = {"signature": self.signature, "limits": limits, "bad": bad, "records": records}
        write_text(self.side, json.dumps(side))


def shards_of(builder: VideoSet, split: str, videos: list[Video], size: int) -> Iterator[Shard]:
    """The shards of a split, of so many listed videos each."""
    count = -(-len(videos) // size)
    for number in range(count):
        name = f"{builder.name}-{split}.array_record-{number:05}-of-{count:05}"
        some = tuple(videos[number * size : (number + 1) * size])
        files = [_state(video.file, builder.root) for video in some]
        yield Shard(Path(builder.data_dir) / name, split, some, signature(some, files))


def _state(file: Path | None, root: Path) -> list[Any] | None:
    """What tells a file from one put in its place."""
    if file is None or not file.exists():
        return None
    return [os.path.relpath(file, root), file.stat().st_size, file.stat().st_mtime_ns]


def signature(videos: list[Video], files: list[Any] | None = None) -> str:
    """What tells these videos, and what is said of them, from others."""
    listed = [(video.id, video.captions, video.start, video.end, video.group) for video in videos]
    return hashlib.sha256(json.dumps([listed, files]).encode()).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from preparing a set; the system drops the lock of one that dies.

    Raises:
        PreparationError: another process holds the lock.
    """
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PreparationError(
                f"{folder} is being prepared by {file.read()}; wait until it is done, or end it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def unfinished(path: Path) -> Path:
    """Where a file is until it is complete."""
    return path.with_name(f"unfinished-{path.name}")


def publish(complete: Path, path: Path) -> None:
    """Give a complete file its name, once it is on the disk."""
    with complete.open("rb") as file:
        os.fsync(file.fileno())
    complete.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished(path).write_text(text, encoding="utf-8")
    publish(unfinished(path), path)


def _line(video: Video, decoded: Decoded) -> dict[str, Any]:
    return {
        "id": video.id,
        "captions": video.captions,
        "group": video.group,
        "frames": len(decoded.frames),
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
