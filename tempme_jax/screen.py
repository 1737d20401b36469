"""Tables on the screen."""

import rich.box
import rich.console
import rich.table

# Room for every table. A narrower terminal wraps the lines, which loses less than narrow columns;
# what is no terminal has no width of its own.
WIDE = 160


def new_table(title: str) -> rich.table.Table:
    """An empty table in the style of all."""
    return rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)


def console() -> rich.console.Console:
    """Standard output, wide enough for every table."""
    return rich.console.Console(width=WIDE, highlight=False)


def format_number(value: float | None, spec: str) -> str:
    """A number, or a dash where the paper prints none."""
    return "-" if value is None else format(value, spec)
