"""Check that a prepared data set is that of the annotations and videos that are there now."""

import collections
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

from tempme_jax.checks import require_one_of
from tempme_jax.datasets.base import Video, VideoSet
from tempme_jax.datasets.prepared import compute_signature
from tempme_jax.datasets.records import (
    REPORT,
    PreparationError,
    RecordLine,
    Report,
    SplitFigures,
    describe_file,
    has_changed,
    read_lines,
    read_report,
    read_source,
    write_lines,
    write_source,
)
from tempme_jax.files import write_text
from tempme_jax.words import pluralize


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The faults of a data set that its user accepts.

    Attributes:
        missing: "error", or "skip" to continue without the videos that were not found.
        max_bad: largest share of a split's listed videos that may be undecodable.
    """

    missing: str
    max_bad: float

    def __post_init__(self):
        require_one_of(self.missing, ("error", "skip"), "value of missing")


def list_splits(builder: VideoSet) -> dict[str, list[Video]]:
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


def is_made_from(builder: VideoSet) -> bool:
    """Return whether a set is prepared, from annotations that say the same as those of the root."""
    if not builder.is_prepared():
        return False
    report = read_report(Path(builder.data_dir))
    return all(
        split in report and report[split]["signature"] == compute_signature(videos)
        for split, videos in list_splits(builder).items()
    )


def check_unchanged(
    builder: VideoSet, splits: dict[str, list[Video]], tolerance: Tolerance, quiet: bool
) -> Report:
    """Return the report of a prepared set, if the annotations and videos have not changed since.

    Raises:
        PreparationError: they have, or the set lacks more videos than is tolerated.
    """
    folder = Path(builder.data_dir)
    report = read_report(folder)
    lines = {split: read_lines(folder, split, report) for split in report}
    for split, videos in splits.items():
        if change := _find_change(report.get(split), lines.get(split, []), videos):
            source = read_source(folder)
            origin = (
                f" from {source}" if source not in (None, os.path.realpath(builder.root)) else ""
            )
            raise PreparationError(
                f"{folder} was prepared{origin} before the split {split!r} changed ({change}). "
                "Delete that folder to prepare the set anew, or choose another one for prepared "
                "data (data.prepared), or undo the change"
            )
    _check_tolerated(folder, report, tolerance)
    check_bad(folder, report, tolerance.max_bad)
    if read_source(folder) is None:
        with contextlib.suppress(OSError):  # somebody else's folder, which must not be written
            _adopt(builder, splits, report, lines, quiet)
    return report


def _find_change(figures: SplitFigures | None, lines: list[RecordLine], videos: list[Video]) -> str:
    """Return how the videos of a split differ from the prepared ones; empty if they do not."""
    if figures is None:
        return "it was not prepared"
    if figures["signature"] != compute_signature(videos):
        return "the annotations list other videos, captions or times"
    lost = {video["id"] for video in figures["missing"]}
    if come := sum(video.id in lost and video.file is not None for video in videos):
        return f"{come} videos that were missing are there now"
    noted = {line["id"]: line for line in lines}
    changed = [
        video.id for video in videos if video.id in noted and has_changed(video, noted[video.id])
    ]
    if not changed:
        return ""
    return f"{pluralize(len(changed), 'video')} with another file, such as {changed[0]}"


def _check_tolerated(folder: Path, report: Report, tolerance: Tolerance) -> None:
    lost = [video["id"] for figures in report.values() for video in figures["missing"]]
    if lost and tolerance.missing == "error":
        raise PreparationError(
            f"{folder} was prepared without {len(lost)} videos that were missing, such as "
            f'{lost[0]}. To use this subset, say missing="skip" (data.missing=skip); to use all, '
            "get the videos, delete that folder and prepare again"
        )


def _adopt(
    builder: VideoSet,
    splits: dict[str, list[Video]],
    report: Report,
    lines: dict[str, list[RecordLine]],
    quiet: bool,
) -> None:
    """Note for a set of an earlier version from where it is, and which files its videos are."""
    folder = Path(builder.data_dir)
    for split, videos in splits.items():
        files = {video.id: describe_file(video) for video in videos}
        noted: list[RecordLine] = [{**line, **files[line["id"]]} for line in lines[split]]
        # First without the hash, so that no kill leaves lines with the hash of others.
        report[split].pop("lines", None)
        write_text(folder / REPORT, json.dumps(report, indent=2))
        report[split]["lines"] = write_lines(folder, split, noted)
        write_text(folder / REPORT, json.dumps(report, indent=2))
    write_source(folder, builder.root)
    if not quiet:
        print(
            f"{folder} was prepared by an earlier version, which did not note the files of the "
            "videos: that these are the same could not be checked; from now on it is. Delete it to "
            "have the videos decoded as this version does",
            file=sys.stderr,
        )


def check_bad(folder: Path, report: Report, max_bad: float) -> None:
    """Raise a PreparationError if too many videos of a split are bad, or none is good."""
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
