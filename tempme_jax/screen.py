"""Tables on the screen, in one style."""

from collections.abc import Iterable
from typing import Any

import rich.box
import rich.console
import rich.table
import tqdm

# Width in characters, enough for every table. A narrower terminal wraps the lines, which loses less
# than narrow columns; a file or a pipe has no width of its own.
WIDE = 160


def make_table(
    title: str, columns: Iterable[str] = (), *, left: Iterable[str] = ()
) -> rich.table.Table:
    """Return a table without rows in the common style.

    Args:
        title: the text above it; rich's markup counts.
        columns: the heads of the columns, which are aligned to the right.
        left: the heads of those that are aligned to the left instead.
    """
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def make_console() -> rich.console.Console:
    """Return a console on standard output, wide enough for every table."""
    return rich.console.Console(width=WIDE, highlight=False)


def format_number(value: float | None, spec: str) -> str:
    """Return a number in the given format, or a dash for None."""
    return "-" if value is None else format(value, spec)


def make_progress_bar(
    items: Iterable[Any] | None = None,
    label: str = "",
    *,
    total: float | None = None,
    unit: str = "steps",
    quiet: bool = False,
    **options: Any,
) -> tqdm.tqdm:
    """Return a progress bar on standard error, hidden if `quiet` or if that is not a terminal.

    Args:
        items: what the bar yields when it is iterated over; None to call its `update`.
        label: the text before the bar.
        total: the number of units; None for the length of `items`.
        unit: the noun of what is counted, in the plural.
        quiet: whether the bar is hidden on a terminal, too.
        **options: other options of `tqdm.tqdm`.
    """
    hidden = True if quiet else None  # None: not on a terminal
    defaults = {"dynamic_ncols": True, "disable": hidden}
    return tqdm.tqdm(items, label, total, unit=f" {unit}", **(defaults | options))
