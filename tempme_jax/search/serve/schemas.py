"""What the search service answers, as its API describes it."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from tempme_jax.search.serve.media import TYPES
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # these modules import the database
    from tempme_jax.search.query.searcher import Moment, Results


class Error(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="A sentence: what is wrong, and what to do.")


class FoundMoment(BaseModel):
    """A part of a video."""

    window: str = Field(description="Id of its best window, for thumbnail, similar and merged.")
    file_id: str = Field(description="Id of the video, for media.")
    path: str = Field(description="Of the video. What is not Unicode, or no letter, became U+FFFD.")
    name: str
    folder: str
    media_type: str
    start: float = Field(description="Seconds from the first frame.")
    end: float
    at: float = Field(description="Where its best window starts: from here it is worth playing.")
    score: float = Field(description="Cosine of the angle between the two vectors; no percentage.")
    percentile: float | None = Field(
        description="Per cent of what is compared with (see `compared`) that match this index "
        "worse; null where there is nothing to compare with."
    )
    copies: list[str] = Field(description="Other paths of a file with the same content.")


class Found(BaseModel):
    """Moments, the best first."""

    query: str
    moments: list[FoundMoment]
    confident: bool = Field(description="Whether the best is better than chance.")
    compared: Literal["unrelated texts", "random moments"] = Field(
        description="What percentiles compare with."
    )
    searched: int = Field(description="Windows that were searched.")
    message: str = Field(description="What should be known of the answer; may be empty.")


class Folder(BaseModel):
    """A folder to filter by."""

    path: str


class Stats(BaseModel):
    """What is indexed."""

    videos: int
    failed: int
    windows: int
    hours: float
    model: str
    method: str


def found(results: "Results", compared: str, *notes: str) -> Found:
    """Results as the service answers them."""
    return Found(
        query=encodable(results.query),
        moments=[found_moment(moment) for moment in results.moments],
        confident=results.confident,
        compared=compared,
        searched=results.searched,
        message=encodable(
            ". ".join(part.rstrip(".") for part in (results.message, *notes) if part)
        ),
    )


def found_moment(moment: "Moment") -> FoundMoment:
    """A moment as the service answers it."""
    percentile = float(moment.percentile)
    return FoundMoment(
        window=moment.window,
        file_id=moment.file_id,
        path=readable(moment.file),
        name=readable(moment.file.name),
        folder=readable(moment.file.parent),
        media_type=TYPES.get(moment.file.suffix.lower(), ""),
        start=float(moment.start),
        end=float(moment.end),
        at=float(moment.at),
        score=float(moment.score),
        percentile=percentile if math.isfinite(percentile) else None,
        copies=[readable(path) for path in moment.copies],
    )


def readable(path: str | Path) -> str:
    """A path as JSON can hold it and a person can read it."""
    return printable_name(os.fsencode(path))


def encodable(text: str) -> str:
    """A text that may hold parts of a path, as JSON can hold it."""
    return text.encode(errors="replace").decode()
