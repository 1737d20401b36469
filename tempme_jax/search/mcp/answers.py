"""What the tools answer, from which the protocol's description of them is made."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.stats import IndexStats
from tempme_jax.words import format_clock, printable_name

# Most folders that are listed.
MOST_FOLDERS = 100


class FoundMoment(BaseModel):
    """A part of a video."""

    file: str = Field(description="Path of the video, to tell the user.")
    start: float = Field(description="Seconds from the start of the video.")
    end: float
    clock: str = Field(description="The same as on a player's clock.")
    best: float | None = Field(
        default=None, description="The second that fits best; null if the index does not know."
    )
    verdict: str = Field(description='"same", "strong", "possible" or "weak".')
    percentile: float | None = Field(
        description="How many of 100 unrelated queries match less well; null if it is not known."
    )
    text: str = Field(default="", description="What is said there, if it was found by that.")
    subtitles: str = Field(default="", description="Which subtitles say so.")
    file_id: str = Field(description="Id of the video, for `moment`.")
    window: str = Field(description="Id of the best part of it, for `similar`.")


class FoundMoments(BaseModel):
    """What a search found."""

    moments: list[FoundMoment] = Field(description="Found by what is seen, the best first.")
    said: list[FoundMoment] = Field(description="Found by what is said, the best first.")
    named: list[str] = Field(description="Files and folders whose names hold the words.")
    message: str = Field(description="Why no moment is a sure match, and notes; may be empty.")


class IndexNumbers(BaseModel):
    """Numbers about the index."""

    address: str
    folders: list[str]
    videos: int
    hours: float
    failed: int = Field(description="Files that could not be indexed.")
    windows: int
    model: str
    last_run: str | None


def convert_results(results: Results, notes: Sequence[str]) -> FoundMoments:
    """Convert results; those that are shown to a person, with notes added to their message."""
    parts = [part.rstrip(".") for part in (results.message, results.notice, *notes) if part]
    return FoundMoments(
        moments=[convert_moment(moment) for moment in results.shown],
        said=[convert_moment(moment) for moment in results.said],
        named=[format_path(match.path) for match in results.names],
        message=". ".join(parts).encode(errors="replace").decode(),
    )


def convert_moment(moment: Moment) -> FoundMoment:
    """Convert a moment."""
    start, end = (format_clock(time, tenths=True) for time in (moment.start, moment.end))
    return FoundMoment(
        file=format_path(moment.file),
        start=round(moment.start, 3),
        end=round(moment.end, 3),
        clock=f"{start} to {end}",
        best=None if moment.best is None else round(moment.best, 3),
        verdict=moment.verdict,
        percentile=None if math.isnan(moment.percentile) else round(moment.percentile, 1),
        text=moment.text,
        subtitles=moment.subtitles,
        file_id=moment.file_id,
        window=moment.window,
    )


def convert_stats(stats: IndexStats, within: Path | None) -> IndexNumbers:
    """Convert the numbers of an index, or of a folder in it."""
    folders = [within] if within else stats.folders[:MOST_FOLDERS]
    return IndexNumbers(
        address=format_path(Path(stats.address)),
        folders=[format_path(Path(folder)) for folder in folders],
        videos=stats.videos,
        hours=round(stats.hours, 3),
        failed=stats.failed,
        windows=stats.windows,
        model=stats.model,
        last_run=stats.last_run,
    )


def format_path(path: Path) -> str:
    """Return a path that JSON can hold."""
    return printable_name(os.fsencode(path))
