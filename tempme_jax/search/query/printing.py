"""Print results as a table or as JSON."""

import math
import os
from pathlib import Path

from tempme_jax.search.query.results import CONFIDENT, Moment, Results
from tempme_jax.words import format_clock, printable_name

# What the percentile means, for each kind of query.
EXPLANATIONS = {
    kind: f"The percentile ranks the score (cosine) against {unrelated}; below {CONFIDENT:.0f} the "
    "search says: no confident match."
    for kind, unrelated in {
        "text": "256 unrelated sentences searched in the same index",
        "video": "windows of the same index searched in its other videos",
    }.items()
}
FIT = "Fits: how likely the text fits, by the model looking at the text and the moment together."


def print_results(results: Results, kind: str = "text") -> None:
    """Print a table of moments, what its percentiles mean, and the message.

    `kind` is the kind of the query, "text" or "video".
    """
    from rich.text import Text  # JSON needs neither

    from tempme_jax.screen import make_console, make_table

    out = make_console()
    if results.moments:
        table = make_table("")
        table.add_column("", justify="right")
        table.add_column("Video", overflow="fold")  # a truncated path cannot be used
        judged = any(moment.fit is not None for moment in results.moments)
        for name in ("From", "To", "Percentile", "Cosine", *(["Fits"] if judged else [])):
            table.add_column(name, justify="right")
        for place, moment in enumerate(results.moments, start=1):
            table.add_row(
                str(place),
                Text(describe_video(moment)),  # no markup, no emoji
                format_clock(moment.start, tenths=True),
                format_clock(moment.end, tenths=True),
                "-" if math.isnan(moment.percentile) else f"{moment.percentile:.1f}",
                f"{moment.score:.3f}",
                *([describe_fit(moment)] if judged else []),
            )
        out.print(table)
        out.print(EXPLANATIONS[kind], style="dim")
        if judged:
            out.print(FIT, style="dim")
    if results.message:
        sentence = results.message[0].upper() + results.message[1:]
        out.print(f"{sentence}.", style="bold", markup=False, highlight=False)
    if results.notice:
        out.print(f"Warning: {results.notice}.", markup=False, highlight=False)


def describe_fit(moment: Moment) -> str:
    """Return the probability that the text fits, in percent; "-" if it was not judged."""
    return "-" if moment.fit is None else f"{100 * moment.fit:.2f} %"


def describe_video(moment: Moment) -> str:
    """Return the path, relative if it is below the current folder, and the number of copies."""
    path = moment.file
    here = Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    copies = f" (and {len(moment.copies)} more of the same)" if moment.copies else ""
    return printable_name(os.fsencode(path)) + copies
