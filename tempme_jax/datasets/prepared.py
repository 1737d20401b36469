"""The files of a prepared data set: records written once, and read without TensorFlow.

<home>/<name>/<storage>/<version>/
    <name>-<split>.array_record-00000-of-00004    the records, as TFDS reads them
    <split>.jsonl                                 a line for each record, without its frames
    report.json                                   the missing and the bad videos, and hashes
    source.json                                   the folder that it was prepared from
    features.json, dataset_info.json              written by TFDS, the second one last of all
"""

import bisect
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.datasets.records import (
    INFO,
    PreparationError,
    describe_file,
    read_lines,
    read_report,
)
from tempme_jax.files import write_text, write_whole
from tempme_jax.video.container import VideoError
from tempme_jax.video.workers import Decoded, Request

LOCK = "preparation.lock"
# Who holds the lock. Taking a lock empties its own file.
HOLDER = "unfinished-by"


class NotPreparedError(FileNotFoundError):
    """A data set, or a split of it, is not stored in the given folder."""


class Prepared:
    """The videos of one or several splits: captions in memory, JPEG frames on disk.

    Only the captions are pickled. Each process opens the record files when it first reads them.

    Attributes:
        folder: folder of the prepared set.
        splits: names of the splits, whose videos follow one another.
        ids: id of each video.
        captions: captions of each video.
        groups: group of each video; videos of one group are hard negatives of one another, and ""
            stands for no group.
        frames: number of frames of each video.
        files: hash of samples of the file of each video; "" if it is not known.
        report: content of report.json, for all splits.
    """

    def __init__(self, folder: str | os.PathLike[str], splits: str | Sequence[str]):
        """Read the index of the splits.

        Raises:
            NotPreparedError: the folder does not hold them; the message names the command that
                prepares them.
            PreparationError: a file in it is damaged.
        """
        self.folder = Path(folder).absolute()
        self.splits = (splits,) if isinstance(splits, str) else tuple(splits)
        name = self.folder.parent.parent.name
        if not (self.folder / INFO).exists():
            raise NotPreparedError(
                f"{self.folder} holds no complete data set; run `tempme data prepare CONFIG` with "
                f"the config file of the run, such as configs/{name}.py"
            )
        self.report = read_report(self.folder)
        for split in self.splits:
            if split not in self.report:
                raise NotPreparedError(
                    f"{name} has no split {split!r}; it has {', '.join(self.report)}"
                )
        parts = [read_lines(self.folder, split, self.report) for split in self.splits]
        lines = list(itertools.chain.from_iterable(parts))
        self.ids: list[str] = [line["id"] for line in lines]
        self.captions: list[tuple[str, ...]] = [tuple(line["captions"]) for line in lines]
        self.groups: list[str] = [line["group"] for line in lines]
        self.frames: list[int] = [line["frames"] for line in lines]
        self.files: list[str] = [line.get("samples", "") for line in lines]
        self._starts = [0, *itertools.accumulate(map(len, parts))][:-1]

    @property
    def expected(self) -> int:
        """Published number of videos; the number of listed ones if none is published."""
        return sum(self.report[split]["expected"] for split in self.splits)

    @property
    def id_hash(self) -> str:
        """Twelve hexadecimal digits of a hash of the sorted ids."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()[:12]

    @property
    def text_hash(self) -> str:
        """Twelve hexadecimal digits of a hash of the captions, in the order of the ids."""
        listed = sorted(zip(self.ids, self.captions, strict=True))
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, video: int) -> tuple[list[bytes], np.ndarray]:
        """Return the JPEG files of t frames, and the times they appear: float32 [t], in seconds."""
        video = range(len(self))[video]
        part = bisect.bisect_right(self._starts, video) - 1
        record = self._sources[part][video - self._starts[part]]
        return list(record["frames"]), np.array(record["times"], np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_sources"}

    @functools.cached_property
    def _sources(self) -> list[Sequence[dict[str, Any]]]:
        builder = tfds.builder_from_directory(self.folder)
        # A decorator of TFDS hides the arguments.
        read = builder.as_data_source
        return [read(split) for split in self.splits]  # pyright: ignore[reportCallIssue]


@dataclasses.dataclass(frozen=True)
class RecordShard:
    """Some videos of a split, and the file with the records of those that can be decoded.

    A side file describes a complete record file. Side files are removed when the set is complete.

    Attributes:
        path: path of the record file.
        split: name of the split.
        videos: all listed videos, including those without a file.
        signature: hash of the annotations of these videos, and of the state of their files.
    """

    path: Path
    split: str
    videos: tuple[Video, ...]
    signature: str

    @property
    def found(self) -> list[Video]:
        """The videos that have a file."""
        return [video for video in self.videos if video.file is not None]

    @property
    def side(self) -> Path:
        """Path of the side file."""
        return self.path.with_name(f"{self.path.name}.json")

    def read_side(self) -> dict[str, Any]:
        """Read the lines about stored videos ("records") and the "bad" videos of a shard."""
        return json.loads(self.side.read_text())

    def is_done(self, limits: dict[str, float]) -> bool:
        """Return whether these videos are stored; bad ones are tried again under new limits."""
        if not self.side.exists():
            return False
        side = self.read_side()
        same_limits = side["limits"] == limits or not side["bad"]
        return side["signature"] == self.signature and same_limits

    def write(
        self,
        builder: VideoSet,
        pairs: Iterator[tuple[Request, Decoded | VideoError]],
        limits: dict[str, float],
        advance: Callable[[bool], None],
    ) -> None:
        """Store the decoded frames of the videos of `found`, which are the next of `pairs`."""
        features = builder.info.features
        assert features is not None
        specs = features.get_serialized_info()
        # A dict at run time, whatever the annotation of the method says.
        serializer = ExampleSerializer(specs)  # pyright: ignore[reportArgumentType]
        self.side.unlink(missing_ok=True)
        records, bad = [], []
        with write_whole(self.path) as unfinished:
            writer = ArrayRecordWriter(str(unfinished), "group_size:1")
            for video, (_, result) in zip(self.found, pairs, strict=False):
                if isinstance(result, VideoError):
                    bad.append({"id": video.id, "file": result.path, "reason": result.reason})
                else:
                    example = features.encode_example(builder.make_example(video, result))
                    record = serializer.get_tf_example(example)
                    # Otherwise the order of the fields differs from process to process.
                    writer.write(record.SerializeToString(deterministic=True))
                    line = {"id": video.id, "captions": video.captions, "group": video.group}
                    line |= {"frames": len(result.frames), **describe_file(video)}
                    records.append(line)
                advance(isinstance(result, VideoError))
            writer.close()
        side = {"signature": self.signature, "limits": limits, "bad": bad, "records": records}
        write_text(self.side, json.dumps(side))


def make_shards(builder: VideoSet, splits: dict[str, list[Video]], size: int) -> list[RecordShard]:
    """Cut the splits into shards of at most `size` listed videos each."""
    shards = []
    for split, videos in splits.items():
        count = -(-len(videos) // size)
        for number in range(count):
            name = f"{builder.name}-{split}.array_record-{number:05}-of-{count:05}"
            some = tuple(videos[number * size : (number + 1) * size])
            files = [_describe_file(video.file, builder.root) for video in some]
            signature = compute_signature(some, files)
            shards.append(RecordShard(Path(builder.data_dir) / name, split, some, signature))
    return shards


def _describe_file(file: Path | None, root: Path) -> list[Any] | None:
    """Return what distinguishes a file from another one put in its place."""
    if file is None or not file.exists():
        return None
    return [os.path.relpath(file, root), file.stat().st_size, file.stat().st_mtime_ns]


def compute_signature(videos: Sequence[Video], files: list[Any] | None = None) -> str:
    """Return a hash of the annotations of videos, and of the state of their files."""
    listed = [(video.id, video.captions, video.start, video.end, video.group) for video in videos]
    return hashlib.sha256(json.dumps([listed, files]).encode()).hexdigest()


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from preparing a set; a process that dies loses the lock.

    Raises:
        PreparationError: another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    # Where the system cannot lock, a soft lock would outlive a killed process.
    lock = filelock.UnixFileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        owner = "another process"
        with contextlib.suppress(FileNotFoundError):
            owner = holder.read_text()
        raise PreparationError(
            f"{folder} is being prepared by {owner}; wait until it is done, or end it"
        ) from None
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed preparations; only the holder of the lock may."""
    # The names of `write_whole`, and those of earlier versions.
    for path in {*folder.glob(".*.[0-9]*"), *folder.glob("unfinished-*")}:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != HOLDER:
            path.unlink()


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """Decode a JPEG file to uint8 [h, w, 3], RGB."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB"))
