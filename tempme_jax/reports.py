"""Tables on the screen."""

import rich.box
import rich.console
import rich.markup
import rich.table

from tempme_jax.benchmark import EncodeSpeed
from tempme_jax.paper import WITHOUT_TABLE_8, Counted

# Room for every table. A narrower terminal wraps the lines, which loses less than narrow columns;
# what is no terminal has no width of its own.
WIDE = 160


def print_costs(rows: list[Counted]) -> None:
    """Ours beside the paper's, table by table, and below why some differ."""
    table = new_table("Costs of the video tower for one video, ours beside the paper's")
    for name in ("Table", "Row", "Backbone", "Frames"):
        table.add_column(name)
    for name in ("Trains (M)", "paper", "GMAC", "GFLOPs", "paper", "Tokens", "paper", ""):
        table.add_column(name, justify="right")
    notes = list(dict.fromkeys(row.row.note for row in rows if row.row.note))
    last = None
    for counted in rows:
        row, cost = counted.row, counted.cost
        if last not in (None, row.table):
            table.add_section()
        mark = {True: "=", False: "differs", None: ""}[counted.agrees]
        if row.note:
            mark += f" [{notes.index(row.note) + 1}]"
        table.add_row(
            "" if row.table == last else str(row.table),
            row.name,
            row.backbone,
            str(row.frames),
            f"{cost.trainable / 1e6:.3f}",
            shown(row.trainable, ".2f"),
            f"{cost.mac:.2f}",
            f"{cost.paper:.2f}",
            shown(row.gflops, ".1f"),
            str(cost.tokens),
            shown(row.tokens, "d"),
            rich.markup.escape(mark),
        )
        last = row.table
    out = console()
    out.print(table)
    out.print("GMAC: 1e9 multiply-accumulates computed here. GFLOPs: counted as the paper does.")
    if len({counted.row.table for counted in rows}) > 1:
        out.print(WITHOUT_TABLE_8)
    for number, note in enumerate(notes, start=1):
        out.print(f"[{number}] {note}", markup=False)


def print_encode_speeds(speeds: list[EncodeSpeed], title: str, product: float) -> None:
    """Videos a second of methods, and how near they come to a plain matrix product."""
    table = new_table(f"Encoding videos: {title}")
    table.add_column("Method")
    for name in ("Videos/s", "Ratio", "by GMAC", "GMAC/s", "First call (s)"):
        table.add_column(name, justify="right")
    for speed in speeds:
        table.add_row(
            speed.method,
            f"{speed.videos_per_second:.2f}",
            f"{speed.ratio:.2f}",
            f"{speed.expected_ratio:.2f}",
            f"{speed.gmacs_per_second:.0f}",
            f"{speed.first_seconds:.1f}",
        )
    out = console()
    out.print(table)
    out.print(f"A plain float32 matrix product runs at {product:.0f} GMAC/s here.")


def new_table(title: str) -> rich.table.Table:
    """An empty table in the style of all."""
    return rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)


def console() -> rich.console.Console:
    """Standard output, wide enough for every table."""
    return rich.console.Console(width=WIDE, highlight=False)


def shown(value: float | None, spec: str) -> str:
    """A number, or a dash where the paper prints none."""
    return "-" if value is None else format(value, spec)
