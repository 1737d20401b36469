"""Write what a search found as a list that another program opens: a table, a player, an editor."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tempme_jax.search.query.results import Moment, Results
from tempme_jax.words import format_clock, printable_name

# Frames per second of times in lists for editors. Those know the files' own rates, and go by the
# seconds that these times stand for.
RATE = 25
# What CMX 3600 allows.
MOST_EVENTS = 999
COLUMNS = (
    "file", "start", "end", "at", "verdict", "score", "percentile", "fit", "found_in", "text",
    "window", "copies", "best",
)  # fmt: skip


def list_hits(results: Results, *, everything: bool = False) -> tuple[Moment, ...]:
    """Return the moments that a search shows: those that are seen, then those that are said.

    `everything` is that of `print_results`, whose table shows the same.
    """
    return *(results.moments if everything else results.shown), *results.said


def format_csv(results: Results, *, everything: bool = False) -> str:
    """Return a table of comma-separated values: paths, times in seconds, scores."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\r\n")  # as RFC 4180 has it
    table.writerow(COLUMNS)
    for moment in list_hits(results, everything=everything):
        values = {name: getattr(moment, name) for name in COLUMNS}
        values["copies"] = len(moment.copies)
        for name in ("start", "end", "at", "score", "percentile", "fit", "best"):
            value = values[name]
            is_known = value is not None and not math.isnan(value)
            values[name] = f"{value:.6g}" if is_known else ""
        table.writerow(values.values())
    return file.getvalue()


def format_m3u(results: Results, *, everything: bool = False) -> str:
    """Return a play list, from and to the times of the moments in VLC."""
    lines = ["#EXTM3U"]
    for moment in list_hits(results, everything=everything):
        times = f"{format_clock(moment.start)}-{format_clock(moment.end)}"
        name = _print(moment.file.name)
        lines.append(f"#EXTINF:{round(moment.end - moment.start)},{name} {times}")
        lines.append(f"#EXTVLCOPT:start-time={moment.start:g}")
        lines.append(f"#EXTVLCOPT:stop-time={moment.end:g}")
        is_plain = _print(moment.file) == str(moment.file)
        lines.append(str(moment.file) if is_plain else make_address(moment.file))
    return "\n".join(lines) + "\n"


def format_edl(results: Results, *, everything: bool = False) -> str:
    """Return an edit decision list, CMX 3600, of the moments one after another.

    Raises:
        ValueError: there are more moments than it can hold.
    """
    hits = list_hits(results, everything=everything)
    if len(hits) > MOST_EVENTS:
        raise ValueError(
            f"an EDL holds {MOST_EVENTS} moments at most, not {len(hits)}; "
            "ask for fewer with -k, or for --format otio"
        )
    lines = [f"TITLE: {_print(results.query)}", "FCM: NON-DROP FRAME"]
    done = 0
    for number, moment in enumerate(hits, 1):
        first, count = _count_frames(moment)
        spans = (first, first + count, done, done + count)
        times = " ".join(map(_format_timecode, spans))
        done += count
        lines += [
            f"{number:03d}  AX       AA/V  C        {times}",
            f"* FROM CLIP NAME: {_print(moment.file.name)}",
            f"* SOURCE FILE: {_print(moment.file)}",
        ]
    return "\n".join(lines) + "\n"


def format_otio(results: Results, *, everything: bool = False) -> str:
    """Return a timeline of OpenTimelineIO, as JSON, of the moments one after another."""
    clips = []
    for moment in list_hits(results, everything=everything):
        first, count = _count_frames(moment)
        media = _make_otio(
            "ExternalReference.1", target_url=make_address(moment.file), available_range=None
        )
        found = {name: getattr(moment, name) for name in ("verdict", "found_in", "window")}
        if not math.isnan(moment.score):
            found["score"] = moment.score
        clips.append(
            _make_otio(
                "Clip.2",
                name=f"{_print(moment.file.name)} {format_clock(moment.start)}",
                source_range={
                    "OTIO_SCHEMA": "TimeRange.1",
                    "start_time": _make_time(first),
                    "duration": _make_time(count),
                },
                media_references={"DEFAULT_MEDIA": media},
                active_media_reference_key="DEFAULT_MEDIA",
                metadata={"tempme": found},
            )
        )
    tracks = [
        _make_otio("Track.1", name=kind, kind=kind, children=clips) for kind in ("Video", "Audio")
    ]
    stack = _make_otio("Stack.1", name="tracks", children=tracks)
    timeline = _make_otio("Timeline.1", name=_print(results.query), tracks=stack)
    return json.dumps(timeline, indent=1) + "\n"


# The formats by their names, with the arguments of `list_hits`, for `tempme search --format`.
FORMATS: dict[str, Callable[..., str]] = {
    "csv": format_csv,
    "m3u": format_m3u,
    "edl": format_edl,
    "otio": format_otio,
}


def make_address(file: Path) -> str:
    """Return the address of a file, which is ASCII whatever its name is.

    >>> make_address(Path("/videos/ä b.mp4"))
    'file:///videos/%C3%A4%20b.mp4'
    """
    return "file://" + quote(os.fsencode(file))


def _make_otio(schema: str, **fields: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"OTIO_SCHEMA": schema, "metadata": {}, "name": ""}
    return common | fields


def _make_time(frames: int) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "rate": float(RATE), "value": float(frames)}


def _count_frames(moment: Moment) -> tuple[int, int]:
    """Return the first frame of a moment, and how many it has: one at least."""
    first = round(moment.start * RATE)
    return first, max(1, round(moment.end * RATE) - first)


def _format_timecode(frames: int) -> str:
    seconds, frame = divmod(frames, RATE)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}:{frame:02d}"


def _print(name: str | Path | Iterable[str]) -> str:
    return printable_name(os.fsencode(str(name)))
