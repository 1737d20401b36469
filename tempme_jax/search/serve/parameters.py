"""What may be asked in the address of a request, checked before anything else sees it."""

import datetime
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

LONGEST_QUERY, LONGEST_FOLDER, MOST_SECONDS = 20_000, 10_000, 1e9
LONGEST_NAME, LONGEST_LEFT_OUT = 200, 1_000
DEFAULT_COUNT, MOST_MOMENTS = 24, 200
# Most moments of one video, and most that are judged by the matching head, which decodes them.
DEFAULT_PER_VIDEO, MOST_JUDGED = 2, 50
WINDOW, FILE, POSTED = r"^[0-9a-f]{1,64}-[0-9]{1,10}$", r"^[0-9a-f]{1,64}$", r"^[0-9a-f]{32}$"

Window = Annotated[str, Path(pattern=WINDOW, description="Id of a window, as search gives it.")]
FileId = Annotated[str, Path(pattern=FILE, description="Id of a video, as search gives it.")]
Posted = Annotated[str, Path(pattern=POSTED, description="Id of a file that was posted.")]
Second = Annotated[float, Query(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]


class FilterParameters(BaseModel):
    """How many moments to return, of which videos, and in which order."""

    # A parameter with a typo is an error, or it would change nothing without a word.
    model_config = ConfigDict(extra="forbid")

    k: int = Field(DEFAULT_COUNT, ge=1, le=MOST_MOMENTS, description="Most moments to return.")
    per_video: int = Field(
        DEFAULT_PER_VIDEO, ge=0, le=MOST_MOMENTS,
        description="Most moments of one video; 0 for any number.",
    )  # fmt: skip
    file: str | None = Field(None, pattern=FILE, description="Only this video, by its id.")
    folder: str | None = Field(
        None, max_length=LONGEST_FOLDER,
        description="Only videos in this folder, one of /api/folders.",
    )  # fmt: skip
    name: str | None = Field(
        None, max_length=LONGEST_NAME,
        description="Only videos whose path below the indexed folder holds this; or, with * or ?, "
        "whose path or file name is such.",
    )  # fmt: skip
    min_seconds: float | None = Field(
        None, ge=0, le=MOST_SECONDS, allow_inf_nan=False, description="Length of the whole video."
    )
    max_seconds: float | None = Field(
        None, ge=0, le=MOST_SECONDS, allow_inf_nan=False, description="Length of the whole video."
    )
    after: datetime.date | None = Field(
        None, description="Only files that were changed on this day or later, such as 2026-01-31."
    )
    before: datetime.date | None = Field(None, description="Likewise, on this day or earlier.")
    verdict: Literal["same", "strong", "possible", "weak"] = Field(
        "weak", description="Only moments that are at least this."
    )
    sort: Literal["match", "date", "time"] = Field(
        "match",
        description="Order of the best moments: by match, the newest file first, or by video and "
        "time.",
    )

    def check(self) -> None:
        """Raise a 422 error if no video can pass."""
        for least, most in (("min_seconds", "max_seconds"), ("after", "before")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise HTTPException(422, f"{least}={low} is more than {most}={high}")


class SearchParameters(FilterParameters):
    """A search."""

    q: str = Field("", description="A sentence that describes what is to be seen.")
    query: str | None = Field(
        None, pattern=POSTED, description="Id of a picture or a clip, of POST /api/queries."
    )
    like: str | None = Field(
        None, pattern=WINDOW, description="Id of a window that moments should look like."
    )
    weight: float = Field(
        0.5, ge=0, le=1, allow_inf_nan=False,
        description="Share of the picture or the window, if there is a text, too.",
    )  # fmt: skip
    without: str = Field(
        "", max_length=LONGEST_LEFT_OUT, description="What is not to be seen, between commas."
    )
    rerank: int = Field(
        0, ge=0, le=MOST_JUDGED,
        description="Judge so many of the best moments by the model's matching head.",
    )  # fmt: skip
    tau: float | None = Field(
        None, gt=0, description="Temperature of late interaction, of an index with frames' vectors."
    )

    def check(self) -> None:
        """Raise a 422 error if there is nothing to search for, or too much."""
        super().check()
        if not self.q.strip() and self.query is None and self.like is None:
            raise HTTPException(422, "there is nothing to search for: describe what is to be seen")
        if len(self.q) > LONGEST_QUERY:
            raise HTTPException(
                422, f"the text has {len(self.q)} characters; at most {LONGEST_QUERY} are read"
            )
        if self.query is not None and self.like is not None:
            raise HTTPException(422, "give a posted file (query) or a window (like), not both")
        is_mixed = self.query or self.like or self.without.strip()
        if self.rerank and is_mixed:
            raise HTTPException(422, "rerank judges how well a text fits: give q only")
        if self.tau is not None and is_mixed:
            raise HTTPException(422, "tau weighs how well frames fit a text: give q only")
