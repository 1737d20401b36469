"""What is there of a data set, what is missing or damaged, and what to do about it."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable

import rich.console
import rich.markup
import rich.progress

from tempme_jax import screen
from tempme_jax.checks import require_one_of
from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.base import AnnotationError, Storage, Video
from tempme_jax.datasets.builder import VideoText
from tempme_jax.video import workers as decoding
from tempme_jax.video.frames import VideoError

# Faults of each kind that are printed for a split.
PRINTED = 10


@dataclasses.dataclass(frozen=True)
class Fault:
    """A video that cannot be used.

    Attributes:
        id: of the video.
        file: its file, or what was looked for.
        reason: in a few words.
    """

    id: str
    file: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """What is there of a split.

    Attributes:
        name: of the split.
        expected: the published number of videos; None if there is none.
        listed: videos in the annotation files.
        captions: of these.
        found: videos whose file is there.
        missing: those whose file is not.
        corrupt: those whose file is there, and cannot be decoded.
        problem: why the annotation files cannot be used; empty if they can.
    """

    name: str
    expected: int | None
    listed: int = 0
    captions: int = 0
    found: int = 0
    missing: tuple[Fault, ...] = ()
    corrupt: tuple[Fault, ...] = ()
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What is there of a data set.

    Attributes:
        name: of the data set.
        variant: of it.
        root: the folder that was looked at.
        splits: in the order of the builder.
        advice: what to do, a line for each thing; empty if all is well.
    """

    name: str
    variant: str
    root: str
    splits: tuple[SplitReport, ...]
    advice: tuple[str, ...]


def examine(
    name: str,
    root: str | os.PathLike,
    variant: str = "",
    *,
    deep: bool = True,
    workers: int | None = None,
    progress: bool = False,
) -> Report:
    """Reads the annotation files, looks for the videos, and decodes a frame of each.

    Args:
        name: a name of `DATASETS`.
        root: the folder with the user's files.
        variant: of the data set; empty for its first.
        deep: whether a frame of each video is decoded, in child processes.
        workers: how many processes; None for one per CPU.
        progress: whether a progress bar goes to standard error.

    Raises:
        ValueError: if there is no such data set or variant; it says which there are.
    """
    builder_class = DATASETS[require_one_of(name, DATASETS, "data set")]
    variant = require_one_of(
        variant or builder_class.VARIANTS[0], builder_class.VARIANTS, "variant"
    )
    # Nothing is written there.
    prepared = pathlib.Path(root, "prepared")
    builder = builder_class(data_dir=prepared, root=root, config=Storage(variant=variant))
    splits, found = [], {}
    for split in builder.SPLITS:
        report, videos = list_split(builder, split)
        splits.append(report)
        found[split] = {video.id: probe(builder, video) for video in videos if video.file}
    if deep:
        reasons = undecodable(itertools.chain(*map(dict.values, found.values())), workers, progress)
        splits = [
            dataclasses.replace(split, corrupt=corrupt(found[split.name], reasons))
            for split in splits
        ]
    return Report(name, variant, os.fspath(root), tuple(splits), advise(builder, splits))


def list_split(builder: VideoText, split: str) -> tuple[SplitReport, list[Video]]:
    """What the annotation files list for a split, and which of the files are there."""
    expected = builder.EXPECTED.get((builder.builder_config.variant, split))
    try:
        videos = builder.videos(split)
    except AnnotationError as error:
        return SplitReport(split, expected, problem=str(error)), []
    missing = tuple(
        Fault(video.id, video.looked_for, "not found") for video in videos if video.file is None
    )
    captions = sum(len(video.captions) for video in videos)
    found = len(videos) - len(missing)
    return SplitReport(split, expected, len(videos), captions, found, missing), videos


def probe(builder: VideoText, video: Video) -> decoding.Request:
    """The request for one small frame of a video, from the middle of what belongs to it."""
    return dataclasses.replace(builder.request(video), size=32, fps=None, least=1, most=1)


def undecodable(
    requests: Iterable[decoding.Request], workers: int | None, progress: bool
) -> dict[decoding.Request, str]:
    """Which of the requests cannot be met, and why; what several want is decoded once."""
    requests = list(dict.fromkeys(requests))
    results = rich.progress.track(
        decoding.decode_all(requests, workers=workers),
        "Decoding a frame of each video",
        total=len(requests),
        console=rich.console.Console(stderr=True),
        disable=not progress,
    )
    pairs = zip(requests, results, strict=True)
    return {request: result.reason for request, result in pairs if isinstance(result, VideoError)}


def corrupt(
    requests: dict[str, decoding.Request], reasons: dict[decoding.Request, str]
) -> tuple[Fault, ...]:
    """The videos, of those with these requests, that cannot be decoded."""
    return tuple(
        Fault(name, request.file, reasons[request])
        for name, request in requests.items()
        if request in reasons
    )


def advise(builder: VideoText, splits: Iterable[SplitReport]) -> tuple[str, ...]:
    """What to do about what was found."""
    advice, sources = [], ", ".join(builder.PUBLIC_URLS.values()) or builder.HOMEPAGE
    for split in splits:
        if split.problem:
            advice.append(f"{split.name}: {split.problem}.")
        elif split.expected not in (None, split.listed):
            advice.append(
                f"{split.name}: the annotation files list {split.listed} videos, {split.expected} "
                "are published. Compare them with data/README.md."
            )
        if split.missing:
            origin = f" They come from {sources}." if sources else ""
            advice.append(
                f"{split.name}: of {split.listed} videos {len(split.missing)} are not there."
                f"{origin} Put them below {builder.root}, or prepare without them "
                "(data.missing=skip): scores are then those of a subset, and say so."
            )
        if split.corrupt:
            advice.append(
                f"{split.name}: of {split.found} files {len(split.corrupt)} cannot be decoded. Get "
                "them again; or leave them, as long as they are no more than data.max_bad (1 %)."
            )
    return tuple(dict.fromkeys(advice))


def print_report(report: Report) -> None:
    """Prints a report as a table, with the first faults of every split and what to do."""
    title = f"{report.name}, variant {report.variant}, in {report.root}"
    table = screen.new_table(rich.markup.escape(title))
    table.add_column("Split")
    for name in ("Expected", "Listed", "Captions", "Found", "Missing", "Corrupt"):
        table.add_column(name, justify="right")
    for split in report.splits:
        counts = (split.listed, split.captions, split.found, len(split.missing), len(split.corrupt))
        row = ("?",) * len(counts) if split.problem else map(str, counts)
        table.add_row(split.name, screen.format_number(split.expected, "d"), *row)
    out = screen.console()
    out.print(table)
    for split in report.splits:
        for kind, faults in (("missing", split.missing), ("corrupt", split.corrupt)):
            for fault in faults[:PRINTED]:
                line = f"{split.name}, {kind}: {fault.id} ({fault.file}: {fault.reason})"
                out.print(line, markup=False)
            if len(faults) > PRINTED:
                out.print(f"{split.name}, {kind}: and {len(faults) - PRINTED} more", markup=False)
    for line in report.advice or ("All is there.",):
        out.print(line, markup=False)
