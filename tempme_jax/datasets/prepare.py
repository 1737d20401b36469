"""Decode the videos of a data set once, and store their frames for TFDS.

An interrupted preparation is resumed: complete shards are kept.
"""

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
from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.datasets.prepared import (
    LOCK,
    RecordShard,
    compute_signature,
    lock_folder,
    make_shards,
    remove_leftovers,
)
from tempme_jax.datasets.records import (
    INFO,
    REPORT,
    PreparationError,
    Report,
    SplitFigures,
    read_report,
    write_lines,
    write_source,
)
from tempme_jax.datasets.unchanged import Tolerance, check_bad, check_unchanged, list_splits
from tempme_jax.files import write_text, write_whole
from tempme_jax.video.workers import Decoded, Request, decode_all, decode_file

# Few enough to lose little when a preparation is killed. A shard takes tens of megabytes.
VIDEOS_PER_SHARD = 128


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
    decode: Callable[[Request], Decoded] = decode_file,
) -> Report:
    """Store frames of the videos of all splits, and return the content of report.json.

    Videos that are stored are checked, not decoded. Errors: PreparationError, AnnotationError.

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
    tolerance = Tolerance(missing, max_bad)
    require_root(builder)
    if builder.is_prepared() and not builder.root.is_dir():  # it would render the same again
        return read_report(Path(builder.data_dir))
    splits = list_splits(builder)
    if builder.is_prepared():
        return check_unchanged(builder, splits, tolerance, quiet)
    _check_found(builder, splits, missing)
    shards = make_shards(builder, splits, videos_per_shard)
    limits = {"seconds": seconds_per_video, "memory": memory_per_worker}
    decode_some = functools.partial(decode_all, workers=workers, decode=decode, **limits)
    show_progress = functools.partial(_show_progress, builder.name, quiet=quiet, report=report)
    with lock_folder(Path(builder.data_dir)):
        if not builder.is_prepared():  # by a process that held the lock until now
            _write_shards(builder, shards, limits, decode_some, show_progress)
            return _finish(builder, splits, shards, max_bad)
    return check_unchanged(builder, splits, tolerance, quiet)


def _write_shards(
    builder: VideoSet,
    shards: list[RecordShard],
    limits: dict[str, float],
    decode_some: Callable[..., Generator[tuple[Any, Any], None, None]],
    show_progress: Callable[..., contextlib.AbstractContextManager[Callable[[bool], None]]],
) -> None:
    """Decode the videos of the shards that are not done, and write these shards."""
    remove_leftovers(Path(builder.data_dir))
    pending = [shard for shard in shards if not shard.is_done(limits)]
    requests = [builder.make_request(video) for shard in pending for video in shard.found]
    # One queue for all shards, so no process is idle at the end of a shard.
    pairs = decode_some(requests)
    with show_progress(shards, pending) as advance, contextlib.closing(pairs):
        for shard in pending:
            shard.write(builder, pairs, limits, advance)


def require_root(builder: VideoSet) -> None:
    """Raise a PreparationError if the root is not there and the set does not make itself."""
    if builder.root.is_dir() or builder.MAKES_ITSELF:
        return
    what = "is not a folder" if builder.root.exists() else "no such folder"
    advice = "data.root names it; data/README.md says how the files must lie"
    if builder.is_prepared():
        advice += (
            f". {builder.data_dir} holds prepared frames, but only the annotations tell whether "
            "they are these: copy them to the root, too (without their videos)"
        )
    raise PreparationError(
        f"{builder.root}: {what}, where the annotations and videos of {builder.name} should be; "
        f"{advice}"
    )


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


def _finish(
    builder: VideoSet, splits: dict[str, list[Video]], shards: list[RecordShard], max_bad: float
) -> Report:
    """Describe the complete shards, write dataset_info.json last, and return the report."""
    folder = Path(builder.data_dir)
    report: Report = {}
    infos = []
    for split, videos in splits.items():
        own = [shard for shard in shards if shard.split == split]
        sides = [shard.read_side() for shard in own]
        records = [record for side in sides for record in side["records"]]
        report[split] = _describe_split(builder, split, videos, sides)
        report[split]["lines"] = write_lines(folder, split, records)
        lengths = [len(side["records"]) for side in sides]
        size = sum(shard.path.stat().st_size for shard in own)
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=size, filename_template=None
            )
        )
    write_text(folder / REPORT, json.dumps(report, indent=2))
    write_source(folder, builder.root)
    check_bad(folder, report, max_bad)
    builder.info.set_splits(SplitDict(infos))
    _publish_info(builder, {shard.path for shard in shards})
    return report


def _describe_split(
    builder: VideoSet, split: str, videos: list[Video], sides: list[dict[str, Any]]
) -> SplitFigures:
    """Return what report.json says of a split, but for the hash of its lines."""
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


class VideoText(VideoSet):
    """The base class of every data set; see `VideoSet`."""

    def download_and_prepare(self, **options: Any) -> None:
        """Decode the videos and store their frames; the options are those of `prepare`."""
        prepare(self, **options)
