"""What a search finds, and the same as JSON."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from tempme_jax.search.query.verdicts import CONFIDENT, WEAK, choose_verdict

# What a moment was found by: its pictures, or the words of its subtitles.
SEEN, SAID = "seen", "said"
# What may be NaN.
NUMBERS = ("score", "percentile")
# Most moments of one video that a search shows unless all of them are asked for.
PER_VIDEO = 2
# Most weak moments to show if no match is sure.
SHOWN_WEAK = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A part of a video that matches a query.

    Attributes:
        file: path of the video. Of several files with equal bytes it is the first by path that
            passes the filters.
        start, end: seconds from the video's start.
        at: a good place to start playing, in seconds: `best`, else the start of the best window.
        score: cosine of the query and the best window; higher is more similar. With late
            interaction (`Results.tau`) that of its frames, which is at least as high.
        percentile: rank of the score among those that unrelated queries get in the same index, 0
            to 100, see `UnrelatedScores`; NaN if there are too few of them.
        window: id of the best window.
        file_id: id of `file`.
        copies: paths of other files with equal bytes.
        fit: probability, 0 to 1, that the text fits the best window, by a model that looks at both
            together; None if it was not asked.
        verdict: how well it fits the query: "same" (it is what was asked with), "strong",
            "possible" or "weak", see `choose_verdict`, which also chooses it where none is given.
        found_in: "seen", or "said": found by the words of subtitles. Then there is no score and no
            percentile (NaN), and the verdict is "strong" if the words stand there one after the
            other, else "possible".
        text: what is said there; "" unless that was looked for.
        subtitles: the file or the track that says so.
        best: the second at which a frame of the best window fits best; None if the index keeps no
            vectors of frames.
        curve: the second of each frame of the best window, and how well it fits; empty likewise.
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
    verdict: str = ""
    found_in: str = SEEN
    text: str = ""
    subtitles: str = ""
    best: float | None = None
    curve: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        """Choose the verdict, unless it is given."""
        if not self.verdict:
            verdict = choose_verdict(self.score, self.percentile)
            object.__setattr__(self, "verdict", verdict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: with strings, numbers and lists; NaN becomes None."""
        return json.loads(json.dumps(_convert_moment(dataclasses.asdict(self))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameMatch:
    """A file, or a folder, whose name holds the words of a query.

    Attributes:
        path: its path.
        is_folder: whether it is a folder.
        count: number of videos: those below a folder; 1 for a file.
        file_id: id of the video; of a folder, its first one.
        window: id of the first window of that video.
        seconds: length of that video.
    """

    path: Path
    is_folder: bool
    count: int
    file_id: str
    window: str
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreLine:
    """How well a video fits the query over its time.

    Attributes:
        file_id: id of the video.
        seconds: the time that the line covers, from the video's start.
        scores: the best cosine in each of n equal parts of that time; None where no window is.
    """

    file_id: str
    seconds: float
    scores: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """The moments that match a query.

    Attributes:
        query: the query in words.
        moments: the best first; equal ones by path, then by start.
        confident: True if the best moment is "same" or "strong".
        searched: number of windows that were compared.
        message: the reason why there is no moment or no confident one; "" if there is one.
        notice: the damage of the index, which may hide moments; "" if it is whole.
        kind: the kind of query: "text", "picture", "clip", "similar" or "mixed".
        names: files and folders whose name holds the words of a text, at most 10.
        more_names: number of further ones; there may be still more of words in very many names.
        said: moments whose subtitles hold the words of a text, the best first: of their own kind,
            since they have no score.
        lines: for each video with a moment, its scores over time; empty unless asked for.
        levels: cosines that tell how to draw lines: what 95 of 100 unrelated queries reach, and
            where "possible" and "strong" begin; None if they are not known.
        tau: temperature of late interaction; None if the moments are those of the best cosines.
    """

    query: str
    moments: tuple[Moment, ...]
    confident: bool
    searched: int
    message: str
    notice: str = ""
    kind: str = "text"
    names: tuple[NameMatch, ...] = ()
    more_names: int = 0
    said: tuple[Moment, ...] = ()
    lines: tuple[ScoreLine, ...] = ()
    levels: tuple[float, float, float] | None = None
    tau: float | None = None

    @property
    def verdict(self) -> str:
        """The verdict of the best moment; "" without one."""
        return self.moments[0].verdict if self.moments else ""

    @property
    def shown(self) -> tuple[Moment, ...]:
        """The moments to show: all, but only three weak ones if no match is sure."""
        if self.verdict in CONFIDENT:
            return self.moments
        weak = [moment.window for moment in self.moments if moment.verdict == WEAK]
        hidden = set(weak[SHOWN_WEAK:])
        return tuple(moment for moment in self.moments if moment.window not in hidden)

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON has them: with dicts, lists, strings and numbers.

        Bytes of a path that are not Unicode are kept as surrogates, as `os.fsdecode` makes them.
        """
        return json.loads(json.dumps(convert_to_json(self)))


def convert_to_json(results: Results) -> dict[str, Any]:
    """Return the results as dicts, lists, strings and numbers.

    Bytes of a path that are not Unicode are kept as surrogates, as `os.fsdecode` makes them. A
    score or percentile of NaN becomes None, since JSON has no NaN.
    """
    converted = dataclasses.asdict(results)
    for moment in (*converted["moments"], *converted["said"]):
        _convert_moment(moment)
    for match in converted["names"]:
        match["path"] = str(match["path"])
    return converted


def _convert_moment(moment: dict[str, Any]) -> dict[str, Any]:
    """Convert the fields of a moment in place, and return them."""
    moment["file"] = str(moment["file"])
    moment["copies"] = [str(copy) for copy in moment["copies"]]
    for name in NUMBERS:
        if math.isnan(moment[name]):
            moment[name] = None
    return moment


def convert_from_json(converted: dict[str, Any]) -> Results:
    """Return the results that `convert_to_json` converted, also of a version with fewer fields."""
    names = [{**one, "path": Path(one["path"])} for one in converted.get("names", ())]
    lines = [{**one, "scores": tuple(one["scores"])} for one in converted.get("lines", ())]
    levels = converted.get("levels")
    given: dict[str, Any] = {
        **converted,
        "moments": tuple(map(_read_moment, converted["moments"])),
        "said": tuple(map(_read_moment, converted.get("said", ()))),
        "names": tuple(NameMatch(**one) for one in names),
        "lines": tuple(ScoreLine(**one) for one in lines),
        "levels": None if levels is None else tuple(levels),
    }
    return Results(**given)


def _read_moment(fields: dict[str, Any]) -> Moment:
    numbers = {name: math.nan if fields[name] is None else fields[name] for name in NUMBERS}
    copies = tuple(map(Path, fields["copies"]))
    curve = tuple((second, score) for second, score in fields.get("curve", ()))
    changed = {**numbers, "file": Path(fields["file"]), "copies": copies, "curve": curve}
    return Moment(**{**fields, **changed})
