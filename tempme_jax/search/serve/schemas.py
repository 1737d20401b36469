"""The answers of the search service in JSON, from which FastAPI makes the API's description."""

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from tempme_jax.video.suffixes import MEDIA_TYPES
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # these modules import the database
    from tempme_jax.search.query.results import Moment, NameMatch, Results

# Names of the unrelated queries: the 256 sentences, or windows of the index itself.
Compared = Literal["unrelated sentences", "windows in other videos"]
Kind = Literal["text", "picture", "clip", "similar", "mixed"]
Verdict = Literal["same", "strong", "possible", "weak"]
# Media types that some browser plays, if it knows the codec.
PLAYED = ("video/mp4", "video/webm", "video/ogg", "video/x-matroska")


class ErrorAnswer(BaseModel):
    """An error."""

    error: str = Field(description="A sentence that says what is wrong and what to do.")


class FileAnswer(BaseModel):
    """A video."""

    file_id: str = Field(description="Id of the video, for /media, /preview and /clip.")
    path: str = Field(
        description="Path of the video, with U+FFFD for undecodable bytes and control characters."
    )
    name: str
    folder: str
    media_type: str
    seconds: float | None = Field(description="Length of the video.")
    modified: str | None = Field(description="Last change of the file, when it was indexed.")
    gone: bool = Field(description="True if the file is not there any more.")
    needs_preview: bool = Field(
        description="True if no browser plays such a file: ask for /preview in place of /media."
    )


class MomentAnswer(FileAnswer):
    """A part of a video that matches the query."""

    window: str = Field(
        description="Id of the best window, for /thumbnail, /api/similar and /merged."
    )
    start: float = Field(description="Seconds from the video's start.")
    end: float
    at: float = Field(
        description="A good place to start playing: `best`, else the start of the best window."
    )
    best: float | None = Field(
        default=None,
        description="The second at which a frame fits best; null in an index without vectors of "
        "frames.",
    )
    curve: list[tuple[float, float]] = Field(
        default=[], description="The second of each frame of the best window, and how well it fits."
    )
    verdict: Verdict
    score: float | None = Field(
        description="Cosine of query and best window; higher is more similar. With `tau` that of "
        "its frames. null if it was found by what is said."
    )
    percentile: float | None = Field(
        description="Rank of the score, 0 to 100, among those that unrelated queries (see "
        "`compared`) get in the same index; null if there are too few of them."
    )
    fit: float | None = Field(
        description="Probability that the text fits, if the moment was judged (`rerank`)."
    )
    copies: list[str] = Field(description="Paths of other files with equal bytes.")
    found_in: str = Field(description='"seen", or "said" if it was found by its subtitles.')
    text: str = Field(description="What is said there, if it was found by that.")
    subtitles: str = Field(description="Where that is from.")


class NameAnswer(FileAnswer):
    """A file or a folder whose name holds the words of the query."""

    is_folder: bool
    count: int = Field(description="Number of videos in it; 1 of a file.")
    window: str = Field(description="Id of its first window.")
    marks: list[tuple[int, int]] = Field(
        description="Where the words are in `name`: first character, and the one after the last."
    )


class LineAnswer(BaseModel):
    """The scores of a query over the time of a video."""

    file_id: str
    seconds: float = Field(description="Length of the line.")
    scores: list[float | None] = Field(
        description="Best scores in equal parts of that time; null where no window is."
    )


class SearchAnswer(BaseModel):
    """The moments that match a query, the best first."""

    query: str
    kind: Kind
    moments: list[MomentAnswer]
    confident: bool = Field(description="True if the best moment is the same or a strong match.")
    verdict: Verdict | None = Field(description="That of the best moment.")
    shown: int = Field(description="How many moments to show at first; three if all are weak.")
    compared: Compared = Field(description="The unrelated queries that percentiles compare with.")
    searched: int = Field(description="Number of windows that were compared.")
    message: str = Field(description="A note, such as why there is no match; may be empty.")
    said: list[MomentAnswer] = Field(default=[], description="Moments where the words are said.")
    names: list[NameAnswer] = Field(default=[], description="Files that are named so.")
    more_names: int = Field(default=0, description="Number of further ones.")
    lines: list[LineAnswer] = Field(
        default=[], description="Scores over the time of each video that has a moment here."
    )
    levels: tuple[float, float, float] | None = Field(
        default=None,
        description="Scores that are usual for unrelated queries, possible, and strong.",
    )
    tau: float | None = Field(
        default=None,
        description="Temperature of late interaction, by which texts are compared with frames; "
        "null if moments are compared by cosines.",
    )


class IndexedFolder(BaseModel):
    """A folder that a search can be limited to."""

    path: str


class StatsAnswer(BaseModel):
    """Numbers about the index, and limits of the service."""

    videos: int
    failed: int
    windows: int
    hours: float
    model: str
    method: str
    address: str = Field(default="", description="Path or address of the index.")
    folders: list[str] = Field(default=[], description="The indexed folders.")
    outdated: int = Field(default=0, description="Files that an older version read.")
    last_run: str | None = Field(default=None, description="When something was stored last.")
    size: int | None = Field(default=None, description="Bytes on disk; null if it is elsewhere.")
    can_rerank: bool = Field(default=False, description="Whether `rerank` may be given.")
    preview_seconds: float = Field(default=0, description="Longest preview.")
    clip_seconds: float = Field(default=0, description="Longest moment that can be saved.")
    most_upload_bytes: int = Field(default=0, description="Largest file to search with.")


class FailureAnswer(BaseModel):
    """A file that could not be indexed."""

    path: str
    name: str
    stage: str
    reason: str


class FailuresAnswer(BaseModel):
    """Files that could not be indexed; the first ones by their paths."""

    total: int
    failures: list[FailureAnswer]


class QueryAnswer(BaseModel):
    """A picture or a clip that was posted, to search with."""

    query: str = Field(description="Its id, for /api/search.")
    kind: Literal["picture", "clip"]
    name: str


class KnownFile(NamedTuple):
    """What the index knows of a file, and whether it is there.

    Attributes:
        seconds: length of the video.
        modified: its last change, such as "2026-01-31T12:00:00+00:00".
        is_gone: whether the file is not there any more.
    """

    seconds: float
    modified: str
    is_gone: bool


def make_file_fields(path: Path, file_id: str, known: KnownFile | None) -> dict[str, Any]:
    """Return the fields of a `FileAnswer`; a file that the index no longer knows is gone."""
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "")
    return {
        "file_id": file_id,
        "path": format_path(path),
        "name": format_path(path.name),
        "folder": format_path(path.parent),
        "media_type": media_type,
        "needs_preview": media_type not in PLAYED,
        "seconds": known.seconds if known else None,
        "modified": known.modified if known else None,
        "gone": known is None or known.is_gone,
    }


def make_moment_answer(moment: "Moment", known: KnownFile | None) -> MomentAnswer:
    """Convert a moment."""
    return MomentAnswer(
        **make_file_fields(moment.file, moment.file_id, known),
        window=moment.window,
        start=float(moment.start),
        end=float(moment.end),
        at=float(moment.at),
        best=moment.best,
        curve=list(moment.curve),
        verdict=moment.verdict,  # pyright: ignore[reportArgumentType]  # one of these words
        score=drop_nan(moment.score),
        percentile=drop_nan(moment.percentile),
        fit=None if moment.fit is None else drop_nan(moment.fit),
        copies=[format_path(path) for path in moment.copies],
        found_in=moment.found_in,
        text=replace_unencodable(moment.text),
        subtitles=replace_unencodable(moment.subtitles),
    )


def make_name_answer(match: "NameMatch", known: KnownFile | None, query: str) -> NameAnswer:
    """Convert a match of a name."""
    fields = make_file_fields(match.path, match.file_id, known)
    return NameAnswer(
        **fields,
        is_folder=match.is_folder,
        count=match.count,
        window=match.window,
        marks=find_marks(fields["name"], query),
    )


def find_marks(name: str, query: str) -> list[tuple[int, int]]:
    """Return where the words of a query are in a name.

    >>> find_marks("A_cat and cats.mp4", "a CAT")
    [(0, 1), (2, 5), (10, 13)]
    """
    words = sorted(set(re.findall(r"[^\W_]+", query)), key=lambda word: (-len(word), word))[:50]
    # The beginnings of words are marked, too, but not every "a".
    ends = {True: "", False: r"(?![^\W_])"}
    forms = [rf"(?<![^\W_]){re.escape(word)}{ends[len(word) > 2]}" for word in words]
    marks = re.finditer("|".join(forms), name, re.IGNORECASE) if forms else ()
    return [found.span() for found in marks]


def make_message(results: "Results", *notes: str) -> str:
    """Return what is to be said of results, and notes."""
    parts = (results.message, results.notice, *notes)
    return replace_unencodable(". ".join(part.rstrip(".") for part in parts if part))


def drop_nan(number: float) -> float | None:
    """Return a number; None if it is none, as JSON has no such."""
    return float(number) if math.isfinite(number) else None


def format_path(path: str | Path) -> str:
    """Return a path that a person can read and JSON can hold, without control characters."""
    return printable_name(os.fsencode(path))


def replace_unencodable(text: str) -> str:
    """Return a text with U+003F (?) for what UTF-8 cannot encode, as bytes of a path."""
    return text.encode(errors="replace").decode()
