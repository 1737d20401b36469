"""What a search finds, and the same as JSON."""

import dataclasses
import math
from pathlib import Path
from typing import Any

# Least percentile of a confident match.
CONFIDENT = 95.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A part of a video that matches a query.

    Attributes:
        file: path of the video. Of several files with equal bytes it is the first by path that
            passes the filters.
        start, end: seconds from the video's start.
        at: start of the best window, in seconds: a good place to start playing.
        score: cosine of the query and the best window; higher is more similar.
        percentile: rank of the score among those that unrelated queries get in the same index, 0
            to 100, see `UnrelatedScores`; NaN if there are too few of them.
        window: id of the best window.
        file_id: id of `file`.
        copies: paths of other files with equal bytes.
        fit: probability, 0 to 1, that the text fits the best window, by a model that looks at both
            together; None if it was not asked.
    """

    file: Path
    start: float
    end: float
    at: float
    score: float
    percentile: float
    window: str
    file_id: str
    copies: tuple[Path, ...]
    fit: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """The moments that match a query.

    Attributes:
        query: the query in words.
        moments: the best first; equal ones by path, then by start.
        confident: True if the percentile of the best moment is at least `CONFIDENT`.
        searched: number of windows that were compared.
        message: the reason why there is no moment or no confident one; "" if there is one.
        notice: the damage of the index, which may hide moments; "" if it is whole.
    """

    query: str
    moments: tuple[Moment, ...]
    confident: bool
    searched: int
    message: str
    notice: str = ""


def convert_to_json(results: Results) -> dict[str, Any]:
    """Return the results as dicts, lists, strings and numbers.

    Bytes of a path that are not Unicode are kept as surrogates, as `os.fsdecode` makes them. A
    percentile of NaN becomes None, since JSON has no NaN.
    """
    converted = dataclasses.asdict(results)
    for moment in converted["moments"]:
        moment["file"] = str(moment["file"])
        moment["copies"] = [str(copy) for copy in moment["copies"]]
        if math.isnan(moment["percentile"]):
            moment["percentile"] = None
    return converted


def convert_from_json(converted: dict[str, Any]) -> Results:
    """Return the results that `convert_to_json` converted."""
    moments = []
    for fields in converted["moments"]:
        given = fields["percentile"]
        replaced = {
            "file": Path(fields["file"]),
            "copies": tuple(map(Path, fields["copies"])),
            "percentile": math.nan if given is None else given,
        }
        moments.append(Moment(**{**fields, **replaced}))
    given: dict[str, Any] = {**converted, "moments": tuple(moments)}
    return Results(**given)
