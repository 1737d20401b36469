"""Decoding the videos of a data set once, and storing their frames so that TFDS can read them.

What was done before a preparation was ended, in whatever way, is not done again.
"""

import collections
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import tensorflow_datasets as tfds

from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.datasets.prepared import (
    INFO,
    LOCK,
    REPORT,
    PreparationError,
    Shard,
    locked,
    publish,
    shards_of,
    signature,
    unfinished,
    write_text,
)
from tempme_jax.video import workers as decoding

# Few enough to lose little when a preparation is killed; tens of megabytes at 224 pixels.
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
    """Decode and store all videos of all splits, or what is left to do of them.

    Args:
        builder: of the set; everything is written to `builder.data_dir`.
        workers: child processes that decode; None for one per CPU.
        missing: "error", or "skip" to go on without the videos that were not found.
        max_bad: the largest share of a split's listed videos that may turn out undecodable.
        seconds_per_video: a video that takes longer is bad.
        memory_per_worker: a video that takes more bytes is bad.
        videos_per_shard: how many videos go to one file.
        quiet: no progress bar on standard error.
        report: called with how many videos are done, how many of these are bad, and of how many.
        decode: what a child process does with a file.

    Returns:
        What report.json holds: for each split the number of videos "expected" (published, or else
        listed), "listed" and "prepared", and lists of the "missing" and the "bad" ones.

    Raises:
        PreparationError: a split lists no video, or one twice; videos are missing; too many are
            bad; another process prepares the set; it was prepared from other annotations.
        AnnotationError: as `builder.videos`.
    """
    if missing not in ("error", "skip"):
        raise ValueError(f'missing={missing!r} must be "error" or "skip"')
    folder = Path(builder.data_dir)
    if builder.is_prepared() and not builder.root.exists():  # only what was prepared came here
        return json.loads((folder / REPORT).read_text())
    splits = {split: builder.videos(split) for split in builder.SPLITS}
    _check_listed(splits)
    if builder.is_prepared():
        return _check_unchanged(folder, splits)
    if missing == "error":
        _check_found(builder, splits)
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"seconds": seconds_per_video, "memory": memory_per_worker}
    with locked(folder):
        if builder.is_prepared():  # by the process that held the lock until now
            return _check_unchanged(folder, splits)
        shards = [
            shard
            for split, videos in splits.items()
            for shard in shards_of(builder, split, videos, videos_per_shard)
        ]
        pending = [shard for shard in shards if not shard.is_done(limits)]
        requests = [builder.request(video) for shard in pending for video in shard.found]
        # All in one go, so that no process waits for the others at the end of a shard.
        results = decoding.decode_all(requests, workers=workers, **limits, decode=decode)
        progress = _progress(builder.name, shards, pending, quiet, report)
        with progress as advance, contextlib.closing(results):
            for shard in pending:
                shard.write(builder, results, limits, advance)
        return _finish(builder, splits, shards, max_bad)


def _check_listed(splits: dict[str, list[Video]]) -> None:
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


def _check_found(builder: VideoSet, splits: dict[str, list[Video]]) -> None:
    listed = [video for videos in splits.values() for video in videos]
    missing = [video for video in listed if video.file is None]
    if missing:
        names = ", ".join(f"{video.id} ({video.looked_for})" for video in missing[:3])
        raise PreparationError(
            f"{len(missing)} of {len(listed)} videos of {builder.name} are not under "
            f"{builder.root}: {names}{', ...' if len(missing) > 3 else ''}. Run `tempme data "
            f'doctor {builder.name}` to see all, or pass missing="skip" to go on without them'
        )


def _check_unchanged(folder: Path, splits: dict[str, list[Video]]) -> Report:
    """The report of a complete preparation, if it is one of these videos."""
    report = json.loads((folder / REPORT).read_text())
    for split, videos in splits.items():
        before = {video["id"] for video in report[split]["missing"]}
        come = sum(video.id in before and video.file is not None for video in videos)
        change = f"{come} videos that were missing are there now" if come else ""
        if report[split]["signature"] != signature(videos):
            change = "the annotations list other videos, captions or times"
        if change:
            raise PreparationError(
                f"{folder} was prepared before the split {split!r} changed ({change}). Delete "
                "that folder to prepare the set anew, or choose another one for prepared data, "
                "or undo the change"
            )
    return report


def _finish(
    builder: VideoSet, splits: dict[str, list[Video]], shards: list[Shard], max_bad: float
) -> Report:
    """Writes what describes the shards; dataset_info.json, which says that all is done, last."""
    folder = Path(builder.data_dir)
    report, infos = {}, []
    for split, videos in splits.items():
        own = [shard for shard in shards if shard.split == split]
        sides = [shard.described() for shard in own]
        records = [record for side in sides for record in side["records"]]
        write_text(folder / f"{split}.jsonl", "".join(f"{json.dumps(r)}\n" for r in records))
        variant = builder.builder_config.variant
        report[split] = {
            "expected": builder.EXPECTED.get((variant, split), len(videos)),
            "listed": len(videos),
            "prepared": len(records),
            "missing": [{"id": v.id, "looked_for": v.looked_for} for v in videos if not v.file],
            "bad": [bad for side in sides for bad in side["bad"]],
            "signature": signature(videos),
        }
        lengths = [len(side["records"]) for side in sides]
        size = sum(shard.path.stat().st_size for shard in own)
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=size, filename_template=None
            )
        )
    write_text(folder / REPORT, json.dumps(report, indent=2))
    _check_bad(folder, report, max_bad)
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    _publish_info(builder, {shard.path for shard in shards})
    return report


def _publish_info(builder: VideoSet, shards: set[Path]) -> None:
    """Writes what TFDS goes by, and removes all that only an incomplete set needs."""
    folder = Path(builder.data_dir)
    written = unfinished(folder / "info")
    written.mkdir(exist_ok=True)
    builder.info.write_to_directory(written)
    for file in sorted(written.iterdir(), key=lambda file: file.name == INFO):
        publish(file, folder / file.name)
    written.rmdir()
    for file in {*folder.glob("*.array_record-*"), *folder.glob(unfinished(folder / "*").name)}:
        if file not in shards:  # side files, and shards of annotations that have changed since
            file.unlink()
    (folder / LOCK).unlink()


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
def _progress(
    name: str,
    shards: list[Shard],
    pending: list[Shard],
    quiet: bool,
    report: Callable[[int, int, int], None] | None,
) -> Iterator[Callable[[bool], None]]:
    """A bar on standard error; gives what is to be called after each video."""
    total = sum(len(shard.found) for shard in shards)
    left = sum(len(shard.found) for shard in pending)
    bad = sum(len(shard.described()["bad"]) for shard in shards if shard not in pending)
    began = time.perf_counter()
    with click.progressbar(
        length=left,
        label=f"Preparing {name}",
        show_pos=True,
        item_show_func=lambda shown: shown,
        file=sys.stderr,
        hidden=quiet,
    ) as bar:

        def advance(is_bad: bool) -> None:
            nonlocal bad, left
            bad, left = bad + is_bad, left - 1
            rate = (bar.pos + 1) / (time.perf_counter() - began)
            bar.update(1, f"{bad} bad, {rate:.1f} videos/s")
            if report:
                report(total - left, bad, total)

        yield advance
