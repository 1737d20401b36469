"""Results on the screen and as JSON."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from rich.text import Text

from tempme_jax.screen import console, new_table
from tempme_jax.search.query.searcher import Moment, Results
from tempme_jax.words import format_clock, printable_name

EXPLAINED = (
    "Percentile: of 100 queries that have nothing to do with these videos, about so many find "
    "nothing in this index that is as much alike."
)


def print_results(results: Results) -> None:
    """A table of moments, and what is to be said of them."""
    out = console()
    if results.moments:
        table = new_table("")
        table.add_column("", justify="right")
        table.add_column("Video", overflow="fold")  # a path that is cut is none
        for name in ("From", "To", "Percentile", "Cosine"):
            table.add_column(name, justify="right")
        for place, moment in enumerate(results.moments, start=1):
            table.add_row(
                str(place),
                Text(named(moment)),  # no markup, no emoji
                format_clock(moment.start, tenths=True),
                format_clock(moment.end, tenths=True),
                "-" if math.isnan(moment.percentile) else f"{moment.percentile:.1f}",
                f"{moment.score:.3f}",
            )
        out.print(table)
        out.print(EXPLAINED, style="dim")
    if results.message:
        sentence = results.message[0].upper() + results.message[1:]
        out.print(f"{sentence}.", style="bold", markup=False, highlight=False)


def named(moment: Moment) -> str:
    """The path, from the current folder if the video is in it, and how many copies there are."""
    path = moment.file
    here = Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    copies = f" (and {len(moment.copies)} more of the same)" if moment.copies else ""
    return printable_name(os.fsencode(path)) + copies


def as_object(results: Results) -> dict[str, Any]:
    """Of JSON's types. A name that is not Unicode stands there as os.fsdecode gives it."""
    found = dataclasses.asdict(results)
    for moment in found["moments"]:
        moment["file"] = str(moment["file"])
        moment["copies"] = [str(copy) for copy in moment["copies"]]
        if math.isnan(moment["percentile"]):  # which JSON has no word for
            moment["percentile"] = None
    return found
