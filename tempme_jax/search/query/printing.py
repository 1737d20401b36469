"""Print results as a table."""

import collections
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.search.query.results import Moment, NameMatch, Results
from tempme_jax.search.query.verdicts import LEAST_POSSIBLE, LEAST_STRONG
from tempme_jax.search.query.wording import format_percentile, name_compared
from tempme_jax.words import format_clock, pluralize, printable_name

if TYPE_CHECKING:
    from rich.table import Table

LATE = (
    "Score: made of those of the frames; the smaller tau is, the more the frames count that fit "
    "best (here {tau:.3g}; with inf, all alike)."
)
FIT = "Fits: how likely the text fits, by the model looking at the text and the moment together."


def print_results(
    results: Results, *, everything: bool = False, per_video: int | None = None
) -> None:
    """Print a table of moments, what its columns mean, what is said, and names with the words.

    Args:
        results: what a search found.
        everything: whether all weak moments are printed, too.
        per_video: how many moments of one video were asked for.
    """
    from tempme_jax.screen import make_console

    out = make_console()
    moments = results.moments if everything else results.shown
    judged = any(moment.fit is not None for moment in moments)
    if moments:
        out.print(make_moment_table(moments, judged=judged, late=results.tau is not None))
    for line in explain_table(results, len(moments), judged=judged, per_video=per_video):
        out.print(line, style="dim", highlight=False)
    if results.message:
        sentence = results.message[0].upper() + results.message[1:]
        out.print(f"{sentence}.", style="bold", markup=False, highlight=False)
    if results.said:
        out.print("Said there, by subtitles:", style="bold")
        out.print(make_said_table(results.said))
    if results.names:
        out.print("Names with these words:", style="bold")
        for line in list_names(results):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if results.notice:
        out.print(f"Warning: {results.notice}.", markup=False, highlight=False)


def make_moment_table(moments: Sequence[Moment], *, judged: bool, late: bool = False) -> "Table":
    """Make the table of moments that were found by what is seen; `late`: by late interaction."""
    from rich.text import Text

    from tempme_jax.screen import make_table

    table = make_table("")
    table.add_column("", justify="right")
    table.add_column("Video", overflow="fold")  # a truncated path cannot be used
    located = any(moment.best is not None for moment in moments)
    names = ["From", "To", *["Best at"] * located, "Match", "Higher than"]
    names += ["Score" if late else "Cosine", *["Fits"] * judged]
    for name in names:
        table.add_column(name, justify="left" if name == "Match" else "right")
    for place, moment in enumerate(moments, start=1):
        table.add_row(
            str(place),
            Text(describe_video(moment)),  # no markup, no emoji
            format_clock(moment.start, tenths=True),
            format_clock(moment.end, tenths=True),
            *([format_second(moment.best)] if located else []),
            moment.verdict,
            format_percentile(moment.percentile),
            f"{moment.score:.3f}",
            *([describe_fit(moment)] if judged else []),
        )
    return table


def make_said_table(said: Sequence[Moment]) -> "Table":
    """Make the table of moments that were found by what is said."""
    from rich.text import Text

    from tempme_jax.screen import make_table

    table = make_table("")
    table.add_column("", justify="right")
    table.add_column("Video", overflow="fold")
    for name in ("From", "To"):
        table.add_column(name, justify="right")
    for name in ("Words", "Subtitles"):
        table.add_column(name)
    for place, moment in enumerate(said, start=1):
        times = (format_clock(time, tenths=True) for time in (moment.start, moment.end))
        words, source = Text(moment.text), Text(moment.subtitles)
        table.add_row(str(place), Text(describe_video(moment)), *times, words, source)
    return table


def explain_table(
    results: Results, shown: int, *, judged: bool, per_video: int | None
) -> Iterator[str]:
    """Say what the columns mean, and what is left out of `shown` moments."""
    if not shown:
        return
    compared = {"text": "256 unrelated sentences"}.get(results.kind, name_compared(results.kind))
    yield (
        f"Higher than: the share of {compared} that score lower in this index. From "
        f"{LEAST_STRONG:.0f} % on a match is strong, from {LEAST_POSSIBLE:.0f} % possible, else "
        "weak."
    )
    if results.tau is not None:
        yield LATE.format(tau=results.tau)
    if judged:
        yield FIT
    if shown < len(results.moments):
        weak = pluralize(len(results.moments) - shown, "more weak match")
        yield f"{weak} left out; -k {len(results.moments)} shows all."
    counts = collections.Counter(moment.file_id for moment in results.moments)
    if max(counts.values()) == per_video:
        yield f"At most {per_video} of each video; --in VIDEO shows all of one."


def list_names(results: Results) -> Iterator[str]:
    """Describe the files and folders whose names hold the words, one a line."""
    for match in results.names:
        yield f"  {describe_name(match)}"
    if results.more_names:
        yield f"  and {results.more_names} more"


def describe_name(match: NameMatch) -> str:
    """Return the path of a name, of a folder with the number of its videos."""
    path = format_path(match.path)
    return f"{path}{os.sep} ({pluralize(match.count, 'video')})" if match.is_folder else path


def format_second(second: float | None) -> str:
    """Return the second that fits best as a clock; "-" if it is not known."""
    return "-" if second is None else format_clock(second, tenths=True)


def describe_fit(moment: Moment) -> str:
    """Return the probability that the text fits, in percent; "-" if it was not judged."""
    return "-" if moment.fit is None else f"{100 * moment.fit:.2f} %"


def describe_video(moment: Moment) -> str:
    """Return the path, relative if it is below the current folder, and the number of copies."""
    copies = f" (and {len(moment.copies)} more of the same)" if moment.copies else ""
    return format_path(moment.file) + copies


def format_path(path: Path) -> str:
    """Return a path to print, relative if it is below the current folder."""
    here = Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return printable_name(os.fsencode(path))
