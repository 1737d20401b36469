"""The table of a comparison: on the screen, as Markdown, CSV and JSON, and as a plot."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tempme_jax.files import write_text
from tempme_jax.training.printing import protocols

COLUMNS = (
    *("Method", "Runs", "Trains (M)", "GFLOPs", "Tokens"),
    *("R@1", "R-Sum", "MnR", "Videos/s", "Seconds", "Memory (GiB)"),
)
# What the paper prints of a row, under which head, and how.
PRINTED = {
    "trainable": ("Trains (M)", ".2f"),
    "gflops": ("GFLOPs", ".1f"),
    "tokens": ("Tokens", "d"),
    "R@1": ("R@1", ".1f"),
    "R-Sum": ("R-Sum", ".1f"),
}
TITLE = "Text to video: mean ± standard deviation over seeds"
APART = (
    "Columns of the paper are what it prints for its own backbone and data set, as far as known: "
    "hold the order of rows against them, not single numbers, unless both are of the same."
)


def report(
    rows: list[dict[str, Any]],
    results: list[dict[str, Any]],
    failed: list[dict[str, Any]],
    workdir: str | os.PathLike,
) -> None:
    """Prints the table and what failed, and saves all of it."""
    from tempme_jax.compare import plot
    from tempme_jax.screen import console, new_table

    folder, out = pathlib.Path(workdir), console()
    lines = protocols(results)
    lines += [APART] if any(row["printed"] for row in rows) else []
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "protocols": lines, "failed": failed, "results": results}
    write_text(folder / "compare.json", json.dumps(found, indent=1) + "\n")
    if rows:
        write_text(folder / "compare.csv", as_csv(rows))
        write_text(folder / "compare.md", as_markdown(rows, lines))
        plot.accuracy_and_cost(rows, folder / "compare.png")
        table = new_table(TITLE)
        for name in columns(rows):
            table.add_column(name, justify="left" if name == "Method" else "right")
        for row in rows:
            table.add_row(*cells(row, rows))
        out.print(table)
    for line in [*lines, f"Saved: {folder}/compare.{{{'csv,json,md,png' if rows else 'json'}}}"]:
        out.print(line, markup=False)
    for one in failed:
        told = "\n  ".join([f"{one['run']} FAILED: {one['problem']}", *one["last_lines"]])
        out.print(f"\n{told}\nTo run it alone: {one['command']}", markup=False)


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The heads of the columns: ours, and behind them those of the paper, if it has any."""
    return [*COLUMNS, *(f"paper: {PRINTED[name][0]}" for name in printed_columns(rows))]


def printed_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Which columns of the paper are known for a row at least."""
    return [name for name in PRINTED if any(known(row, name) for row in rows)]


def known(row: dict[str, Any], name: str) -> bool:
    """Whether it is known what the paper prints of a row."""
    return row["printed"].get(name) is not None


def cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """A row under its `columns`."""
    memory, speed, measured = (
        row["peak_memory_bytes"], row["videos_per_second"], row["text_to_video"],
    )  # fmt: skip
    ours = [
        row["name"],
        str(len(row["seeds"])),
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['paper']:.4g}",
        str(row["tokens"]),
        *(shown_spread(measured[name], ".1f") for name in ("R@1", "R-Sum", "MnR")),
        "-" if speed is None else f"{speed:.3g}",
        shown_spread(row["seconds"], ".0f"),
        "-" if memory is None else f"{memory / 2**30:.2f}",
    ]
    theirs = [
        format(row["printed"][name], PRINTED[name][1]) if known(row, name) else "-"
        for name in printed_columns(rows)
    ]
    return ours + theirs


def shown_spread(value: dict[str, float | None], spec: str) -> str:
    """A mean, with its deviation if there is one."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:{spec}}"
    return f"{value['mean']:{spec}}{shown}"


def as_markdown(rows: list[dict[str, Any]], lines: list[str]) -> str:
    """The table on the screen, for a README."""
    heads = columns(rows)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *(cells(row, rows) for row in rows)]
    text = [f"| {' | '.join(one)} |" for one in table]
    return "\n".join([f"{TITLE}.", "", *text, "", *lines, ""])


def as_csv(rows: list[dict[str, Any]]) -> str:
    """All numbers, one column each: means and deviations of both directions, too."""
    flat = [dict(flattened(row)) for row in rows]
    stream = io.StringIO()
    names = dict.fromkeys(name for row in flat for name in row)
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def flattened(row: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a row, named by the path to them."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{before}{name} ")
        else:
            yield before + name, " ".join(map(str, value)) if name == "seeds" else value
