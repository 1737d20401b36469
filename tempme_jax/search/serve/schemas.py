"""The answers of the search service in JSON, from which FastAPI makes the API's description."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from tempme_jax.video.suffixes import MEDIA_TYPES
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # these modules import the database
    from tempme_jax.search.query.results import Moment, Results

# Names of the unrelated queries: the 256 sentences, or windows of the index itself.
Compared = Literal["unrelated texts", "random moments"]


class ErrorAnswer(BaseModel):
    """An error."""

    error: str = Field(description="A sentence that says what is wrong and what to do.")


class MomentAnswer(BaseModel):
    """A part of a video that matches the query."""

    window: str = Field(
        description="Id of the best window, for /thumbnail, /api/similar and /merged."
    )
    file_id: str = Field(description="Id of the video, for /media.")
    path: str = Field(
        description="Path of the video, with U+FFFD for undecodable bytes and control characters."
    )
    name: str
    folder: str
    media_type: str
    start: float = Field(description="Seconds from the video's start.")
    end: float
    at: float = Field(description="Start of the best window, a good place to start playing.")
    score: float = Field(description="Cosine of query and best window; higher is more similar.")
    percentile: float | None = Field(
        description="Rank of the score, 0 to 100, among those that unrelated queries (see "
        "`compared`) get in the same index; null if there are too few of them."
    )
    copies: list[str] = Field(description="Paths of other files with equal bytes.")


class SearchAnswer(BaseModel):
    """The moments that match a query, the best first."""

    query: str
    moments: list[MomentAnswer]
    confident: bool = Field(description="True if the best percentile is 95 or more.")
    compared: Compared = Field(description="The unrelated queries that percentiles compare with.")
    searched: int = Field(description="Number of windows that were compared.")
    message: str = Field(description="A note, such as why there is no match; may be empty.")


class IndexedFolder(BaseModel):
    """A folder that a search can be limited to."""

    path: str


class StatsAnswer(BaseModel):
    """Numbers about the index."""

    videos: int
    failed: int
    windows: int
    hours: float
    model: str
    method: str


def make_search_answer(results: "Results", compared: Compared, *notes: str) -> SearchAnswer:
    """Convert results, and add notes to their message."""
    return SearchAnswer(
        query=replace_unencodable(results.query),
        moments=[make_moment_answer(moment) for moment in results.moments],
        confident=results.confident,
        compared=compared,
        searched=results.searched,
        message=replace_unencodable(
            ". ".join(
                part.rstrip(".") for part in (results.message, results.notice, *notes) if part
            )
        ),
    )


def make_moment_answer(moment: "Moment") -> MomentAnswer:
    """Convert a moment."""
    percentile = float(moment.percentile)
    return MomentAnswer(
        window=moment.window,
        file_id=moment.file_id,
        path=format_path(moment.file),
        name=format_path(moment.file.name),
        folder=format_path(moment.file.parent),
        media_type=MEDIA_TYPES.get(moment.file.suffix.lower(), ""),
        start=float(moment.start),
        end=float(moment.end),
        at=float(moment.at),
        score=float(moment.score),
        percentile=percentile if math.isfinite(percentile) else None,
        copies=[format_path(path) for path in moment.copies],
    )


def format_path(path: str | Path) -> str:
    """Return a path that a person can read and JSON can hold, without control characters."""
    return printable_name(os.fsencode(path))


def replace_unencodable(text: str) -> str:
    """Return a text with U+003F (?) for what UTF-8 cannot encode, as bytes of a path."""
    return text.encode(errors="replace").decode()
