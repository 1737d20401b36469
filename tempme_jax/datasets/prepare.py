"""Decode the videos of a data set once, and store their frames for TFDS.

An interrupted preparation is resumed: complete shards are kept.
"""

import collections
import contextlib
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.splits import SplitDict

from tempme_jax import screen
from tempme_jax.checks import require_one_of
from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.datasets.prepared import (
    INFO,
    LOCK,
    REPORT,
    PreparationError,
    RecordShard,
    compute_signature,
    lock_folder,
    make_shards,
    remove_leftovers,
)
from tempme_jax.files import write_text, write_whole
from tempme_jax.video import workers as decoding

# Few enough to lose little when a preparation is killed. A shard takes tens of megabytes.
VIDEOS_PER_SHARD = 128

Report = dict[str, dict[str, Any]]


def prepare(
    builder: VideoSet,
    *,
    workers: int | None = None,
    missing: str = "error",
    max_bad: float = 0.01,
    seconds_per_video: float = 60.0,
    memory_per_worker: int = 4 * 2**30,
    videos_per_shard: int = VIDEOS_PER_SHARD,
    quiet: bool = False,
    report: Callable[[int, int, int], None] | None = None,
    decode: Callable[[decoding.Request], decoding.Decoded] = decoding.decode_file,
) -> Report:
    """Store frames of the videos of all splits, and return the content of report.json.

    Videos that are stored already are not decoded again. A set that cannot be prepared is a
    PreparationError or an AnnotationError.

    Args:
        builder: the data set; files are written to `builder.data_dir`.
        workers: number of child processes that decode; None for one per CPU.
        missing: "error", or "skip" to continue without the videos that were not found.
        max_bad: largest share of a split's listed videos that may be undecodable.
        seconds_per_video, memory_per_worker: time and bytes above which a video is bad.
        videos_per_shard: number of videos in one file.
        quiet: whether the progress bar is hidden.
        report: called after each video with the numbers of videos done, bad, and in total.
        decode: function that a child process calls for each request.
    """
    require_one_of(missing, ("error", "skip"), "value of missing")
    if builder.is_prepared() and not builder.root.exists():  # only prepared files were copied here
        return _read_report(builder)
    splits = _list_splits(builder)
    if builder.is_prepared():
        return _check_unchanged(builder, splits)
    _check_found(builder, splits, missing)
    shards = make_shards(builder, splits, videos_per_shard)
    limits = {"seconds": seconds_per_video, "memory": memory_per_worker}
    decode_all = functools.partial(decoding.decode_all, workers=workers, decode=decode, **limits)
    show_progress = functools.partial(_show_progress, builder.name, quiet=quiet, report=report)
    with lock_folder(Path(builder.data_dir)):
        if not builder.is_prepared():  # by a process that held the lock until now
            _write_shards(builder, shards, limits, decode_all, show_progress)
            return _finish(builder, splits, shards, max_bad)
    return _check_unchanged(builder, splits)


def _write_shards(
    builder: VideoSet,
    shards: list[RecordShard],
    limits: dict[str, float],
    decode_all: Callable[..., Generator[tuple[Any, Any], None, None]],
    show_progress: Callable[..., contextlib.AbstractContextManager[Callable[[bool], None]]],
) -> None:
    """Decode the videos of the shards that are not done, and write these shards."""
    remove_leftovers(Path(builder.data_dir))
    pending = [shard for shard in shards if not shard.is_done(limits)]
    requests = [builder.make_request(video) for shard in pending for video in shard.found]
    # One queue for all shards, so no process is idle at the end of a shard.
    pairs = decode_all(requests)
    with show_progress(shards, pending) as advance, contextlib.closing(pairs):
        for shard in pending:
            shard.write(builder, pairs, limits, advance)


def _read_report(builder: VideoSet) -> Report:
    return json.loads((Path(builder.data_dir) / REPORT).read_text())


def _list_splits(builder: VideoSet) -> dict[str, list[Video]]:
    """List the videos of each split, each of which must have some, and none twice."""
    splits = {split: builder.list_videos(split) for split in builder.SPLITS}
    for split, videos in splits.items():
        if not videos:
            raise PreparationError(
                f"the annotations list no video for the split {split!r}; "
                "look whether these are the right files, and whole"
            )
        video_id, times = collections.Counter(video.id for video in videos).most_common(1)[0]
        if times > 1:
            raise PreparationError(
                f"the annotations list the video {video_id!r} {times} times for the split "
                f"{split!r}; join its captions, or give each its own id"
            )
    return splits


def _check_found(builder: VideoSet, splits: dict[str, list[Video]], missing: str) -> None:
    listed = [video for videos in splits.values() for video in videos]
    lost = [video for video in listed if video.file is None]
    if lost and missing == "error":
        names = ", ".join(f"{video.id} ({video.looked_for})" for video in lost[:3])
        raise PreparationError(
            f"{len(lost)} of {len(listed)} videos of {builder.name} are not under "
            f"{builder.root}: {names}{', ...' if len(lost) > 3 else ''}. Run `tempme data "
            f'doctor {builder.name}` to see all, or pass missing="skip" to continue without them'
        )


def _check_unchanged(builder: VideoSet, splits: dict[str, list[Video]]) -> Report:
    """Return the report of a prepared set, if the annotations have not changed since."""
    report = _read_report(builder)
    for split, videos in splits.items():
        before = {video["id"] for video in report[split]["missing"]}
        come = sum(video.id in before and video.file is not None for video in videos)
        change = f"{come} videos that were missing are there now" if come else ""
        if report[split]["signature"] != compute_signature(videos):
            change = "the annotations list other videos, captions or times"
        if change:
            raise PreparationError(
                f"{builder.data_dir} was prepared before the split {split!r} changed "
                f"({change}). Delete that folder to prepare the set anew, or choose another one "
                "for prepared data, or undo the change"
            )
    return report


def _finish(
    builder: VideoSet, splits: dict[str, list[Video]], shards: list[RecordShard], max_bad: float
) -> Report:
    """Describe the complete shards, write dataset_info.json last, and return the report."""
    folder = Path(builder.data_dir)
    report, infos = {}, []
    for split, videos in splits.items():
        own = [shard for shard in shards if shard.split == split]
        sides = [shard.read_side() for shard in own]
        records = [record for side in sides for record in side["records"]]
        write_text(folder / f"{split}.jsonl", "".join(f"{json.dumps(r)}\n" for r in records))
        report[split] = _describe_split(builder, split, videos, sides)
        lengths = [len(side["records"]) for side in sides]
        size = sum(shard.path.stat().st_size for shard in own)
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=size, filename_template=None
            )
        )
    write_text(folder / REPORT, json.dumps(report, indent=2))
    _check_bad(folder, report, max_bad)
    builder.info.set_splits(SplitDict(infos))
    _publish_info(builder, {shard.path for shard in shards})
    return report


def _describe_split(
    builder: VideoSet, split: str, videos: list[Video], sides: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what report.json says of a split.

    These are the numbers of videos "expected" (published, or else listed), "listed" and
    "prepared", the lists of "missing" and "bad" videos, and the "signature" of the annotations.
    """
    variant = builder.storage.variant
    return {
        "expected": builder.EXPECTED.get((variant, split), len(videos)),
        "listed": len(videos),
        "prepared": sum(len(side["records"]) for side in sides),
        "missing": [{"id": v.id, "looked_for": v.looked_for} for v in videos if not v.file],
        "bad": [bad for side in sides for bad in side["bad"]],
        "signature": compute_signature(videos),
    }


def _publish_info(builder: VideoSet, shards: set[Path]) -> None:
    """Write the files by which TFDS finds the records, and remove those of an incomplete set."""
    folder = Path(builder.data_dir)
    with tempfile.TemporaryDirectory() as scratch:
        builder.info.write_to_directory(scratch)
        # The info marks the set as complete, so it is the last.
        for file in sorted(Path(scratch).iterdir(), key=lambda file: file.name == INFO):
            with write_whole(folder / file.name) as unfinished:
                shutil.copyfile(file, unfinished)
    for file in folder.glob("*.array_record-*"):
        if file not in shards:  # side files, and shards of earlier annotations
            file.unlink()
    (folder / LOCK).unlink(missing_ok=True)


def _check_bad(folder: Path, report: Report, max_bad: float) -> None:
    for split, found in report.items():
        bad = found["bad"]
        if len(bad) > max_bad * found["listed"] or not found["prepared"]:
            reasons = "; ".join(f"{Path(v['file']).name}: {v['reason']}" for v in bad[:3])
            raise PreparationError(
                f"{len(bad)} of {found['listed']} videos of the split {split!r} are bad, "
                f"{len(found['missing'])} missing, and {found['prepared']} prepared ({reasons}). "
                f"{folder / REPORT} lists all. Replace them and prepare again, which keeps what "
                f"is done, or allow more than max_bad={max_bad:g}"
            )


@contextlib.contextmanager
def _show_progress(
    name: str,
    shards: list[RecordShard],
    pending: list[RecordShard],
    *,
    quiet: bool,
    report: Callable[[int, int, int], None] | None,
) -> Iterator[Callable[[bool], None]]:
    """Show a progress bar; yield the function to call after each video, with whether it is bad."""
    total = sum(len(shard.found) for shard in shards)
    left = sum(len(shard.found) for shard in pending)
    bad = sum(len(shard.read_side()["bad"]) for shard in shards if shard not in pending)
    label = f"Preparing {name}"
    if not quiet and not sys.stderr.isatty():  # where no bar is shown
        print(label, file=sys.stderr)
    with screen.make_progress_bar(label=label, total=left, unit="videos", quiet=quiet) as bar:

        def advance(is_bad: bool) -> None:
            nonlocal bad, left
            bad, left = bad + is_bad, left - 1
            bar.set_postfix_str(f"{bad} bad", refresh=False)
            bar.update()
            if report:
                report(total - left, bad, total)

        yield advance


class VideoText(VideoSet, skip_registration=True):
    """The base class of every data set; see `VideoSet`."""

    def download_and_prepare(self, **options: Any) -> None:
        """Decode the videos and store their frames; the options are those of `prepare`."""
        prepare(self, **options)
