"""`tempme data doctor`: find missing and damaged videos of a data set, and say what to do."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable

import rich.markup

from tempme_jax import screen
from tempme_jax.checks import require_one_of
from tempme_jax.datasets import find_data_set
from tempme_jax.datasets.base import AnnotationError, Storage, Video
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.video.frames import VideoError
from tempme_jax.video.workers import Request, decode_all
from tempme_jax.words import pluralize

# Most faults of each kind that are printed for a split.
PRINTED = 10


@dataclasses.dataclass(frozen=True)
class Fault:
    """A video that cannot be used.

    Attributes:
        id: id of the video.
        file: path of its file, or the file name that was looked for.
        reason: why it cannot be used, in a few words.
    """

    id: str
    file: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """The state of a split.

    Attributes:
        name: name of the split.
        expected: published number of videos; None if none is published.
        listed: number of videos in the annotation files.
        captions: number of captions of these videos.
        found: number of videos with a file.
        missing: videos without a file.
        corrupt: videos with a file that cannot be decoded.
        renamed: for each video whose file has another suffix than listed, both names.
        problem: why the annotation files cannot be used; empty if they can.
    """

    name: str
    expected: int | None
    listed: int = 0
    captions: int = 0
    found: int = 0
    missing: tuple[Fault, ...] = ()
    corrupt: tuple[Fault, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class SetReport:
    """The state of a data set.

    Attributes:
        name: name of the data set.
        variant: variant of the data set.
        root: folder with the user's files.
        splits: state of each split, in the order of the builder.
        advice: what to do, one line for each problem; empty if there is none.
    """

    name: str
    variant: str
    root: str
    splits: tuple[SplitReport, ...]
    advice: tuple[str, ...]


def check_data_set(
    name: str,
    root: str | os.PathLike,
    variant: str = "",
    *,
    deep: bool = True,
    workers: int | None = None,
    progress: bool = False,
) -> SetReport:
    """Read the annotation files, look for the videos, and decode one frame of each.

    Args:
        name: a key of `DATASETS`.
        root: folder with the user's files.
        variant: variant of the data set; empty for its first one.
        deep: whether a frame of each video is decoded, in child processes.
        workers: number of processes; None for one per CPU.
        progress: whether to show a progress bar.

    Raises:
        ValueError: there is no such data set or variant; the message lists those there are.
    """
    builder_class = find_data_set(name)
    variant = require_one_of(
        variant or builder_class.VARIANTS[0], builder_class.VARIANTS, "variant"
    )
    # The builder wants a folder to prepare into; nothing is written there.
    prepared = pathlib.Path(root, "prepared")
    builder = builder_class(data_dir=prepared, root=root, config=Storage(variant=variant))
    splits, found = [], {}
    for split in builder.SPLITS:
        report, videos = list_split(builder, split)
        splits.append(report)
        found[split] = {
            video.id: make_probe_request(builder, video) for video in videos if video.file
        }
    if deep:
        reasons = find_undecodable(
            itertools.chain(*map(dict.values, found.values())), workers, progress
        )
        splits = [
            dataclasses.replace(split, corrupt=list_corrupt(found[split.name], reasons))
            for split in splits
        ]
    return SetReport(name, variant, os.fspath(root), tuple(splits), advise(builder, splits))


def list_split(builder: VideoText, split: str) -> tuple[SplitReport, list[Video]]:
    """List the videos of a split, and count those whose file is there."""
    expected = builder.EXPECTED.get((builder.storage.variant, split))
    try:
        videos = builder.list_videos(split)
    except AnnotationError as error:
        return SplitReport(split, expected, problem=str(error)), []
    missing = tuple(
        Fault(video.id, video.looked_for, "not found") for video in videos if video.file is None
    )
    captions = sum(len(video.captions) for video in videos)
    report = SplitReport(
        name=split,
        expected=expected,
        listed=len(videos),
        captions=captions,
        found=len(videos) - len(missing),
        missing=missing,
        renamed=tuple((v.listed, v.file.name) for v in videos if v.file and v.listed),
    )
    return report, videos


def make_probe_request(builder: VideoText, video: Video) -> Request:
    """Return the request for one small frame, from the middle of the part that is used."""
    return dataclasses.replace(builder.make_request(video), size=32, fps=None, least=1, most=1)


def find_undecodable(
    requests: Iterable[Request], workers: int | None, progress: bool
) -> dict[Request, str]:
    """Return the reason for each request that cannot be decoded. Equal ones are decoded once."""
    requests = list(dict.fromkeys(requests))
    pairs = screen.make_progress_bar(
        decode_all(requests, workers=workers),
        "Decoding a frame of each video",
        total=len(requests),
        unit="videos",
        quiet=not progress,
    )
    return {request: result.reason for request, result in pairs if isinstance(result, VideoError)}


def list_corrupt(requests: dict[str, Request], reasons: dict[Request, str]) -> tuple[Fault, ...]:
    """Return a fault for each video, by its id, whose request cannot be decoded."""
    return tuple(
        Fault(name, request.file, reasons[request])
        for name, request in requests.items()
        if request in reasons
    )


def advise(builder: VideoText, splits: Iterable[SplitReport]) -> tuple[str, ...]:
    """Return one line of advice for each kind of problem in each split."""
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


def print_report(report: SetReport) -> None:
    """Print a table of the splits, their first faults, and the advice."""
    title = f"{report.name}, variant {report.variant}, in {report.root}"
    table = screen.make_table(rich.markup.escape(title))
    table.add_column("Split")
    for name in ("Expected", "Listed", "Captions", "Found", "Missing", "Corrupt"):
        table.add_column(name, justify="right")
    for split in report.splits:
        counts = (split.listed, split.captions, split.found, len(split.missing), len(split.corrupt))
        row = ("?",) * len(counts) if split.problem else map(str, counts)
        table.add_row(split.name, screen.format_number(split.expected, "d"), *row)
    out = screen.make_console()
    out.print(table)
    for split in report.splits:
        for kind, faults in (("missing", split.missing), ("corrupt", split.corrupt)):
            for fault in faults[:PRINTED]:
                line = f"{split.name}, {kind}: {fault.id} ({fault.file}: {fault.reason})"
                out.print(line, markup=False)
            if len(faults) > PRINTED:
                out.print(f"{split.name}, {kind}: and {len(faults) - PRINTED} more", markup=False)
        if split.renamed:
            listed, name = split.renamed[0]
            files = pluralize(len(split.renamed), "file")
            line = f"{split.name}: {files} with another suffix than listed ({listed} is {name})"
            out.print(line, markup=False)
    for line in report.advice or ("All is there.",):
        out.print(line, markup=False)
