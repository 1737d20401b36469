"""The table of a comparison: on the screen, in Markdown, CSV and JSON files, and as a plot."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tempme_jax.compare.beside import Grid, describe, format_spread, list_tables
from tempme_jax.compare.figures import ACCURACY
from tempme_jax.files import write_text
from tempme_jax.screen import format_number, make_console, make_table
from tempme_jax.training.result_tables import describe_protocols

# The columns to the left and to the right of what was measured.
LEFT = ("Method", "Runs", "Trains (M)", "GFLOPs", "Tokens")
RIGHT = ("Videos/s", "Seconds", "Memory (GiB)")


def report_comparison(
    rows: list[dict[str, Any]],
    results: list[dict[str, Any]],
    failed: list[dict[str, Any]],
    workdir: str | os.PathLike,
) -> None:
    """Print the table and the failures, and save both.

    Args:
        rows: one for each contender.
        results: one for each finished run.
        failed: one for each failed run.
        workdir: folder for compare.json and, if a run has finished, .csv, .md and .png.
    """
    from tempme_jax.compare import plot  # matplotlib takes long to import

    folder, out = pathlib.Path(workdir), make_console()
    lines = describe_protocols(results)
    tables, notes = list_tables(rows), describe(rows)
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "protocols": lines + notes, "failed": failed, "results": results}
    write_text(folder / "compare.json", json.dumps(found, indent=1) + "\n")
    if rows:
        write_text(folder / "compare.csv", format_csv(rows))
        grids = [make_main_table(rows), *tables]
        write_text(folder / "compare.md", format_markdown(grids, lines + notes))
        plot.plot_accuracy_over_cost(rows, folder / "compare.png")
        for grid in grids:
            table = make_table(grid.title, grid.heads, left=["Method"])
            for cells in grid.rows:
                table.add_row(*cells)
            out.print(table)
    for line in [
        *lines,
        *notes,
        f"Saved: {folder}/compare.{{{'csv,json,md,png' if rows else 'json'}}}",
    ]:
        out.print(line, markup=False)
    for one in failed:
        text = "\n  ".join([f"{one['run']} FAILED: {one['problem']}", *one["last_lines"]])
        out.print(f"\n{text}\nTo run it alone: {one['command']}", markup=False)


def make_main_table(rows: list[dict[str, Any]]) -> Grid:
    """Return the table of costs and accuracies of the rows, which are of one task."""
    what = "Answers" if ACCURACY in rows[0] else "Text to video"
    names = list(dict.fromkeys(name for row in rows for name in list_measured(row)))
    title = f"{what}: mean ± standard deviation over seeds"
    if any("negatives" in row for row in rows):
        title += "; last, how often it is above its hard negative of a kind (a guess: 50)"
    return Grid(title, [*LEFT, *names, *RIGHT], [format_row(row, names) for row in rows])


def list_measured(row: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the main measures of a row by their heads."""
    if ACCURACY in row:
        return {"Accuracy": row[ACCURACY]}
    measured = {name: row["text_to_video"][name] for name in ("R@1", "R-Sum", "MnR")}
    return measured | {kind.capitalize(): one for kind, one in row.get("negatives", {}).items()}


def format_row(row: dict[str, Any], names: list[str]) -> list[str]:
    """Return the cells of a row of the main table, whose measures have the given names."""
    memory, measured = row["peak_memory_bytes"], list_measured(row)
    return [
        row["name"],
        str(len(row["seeds"])),
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['paper']:.4g}",
        str(row["tokens"]),
        *(format_spread(measured[name], ".1f") if name in measured else "-" for name in names),
        format_number(row["videos_per_second"], ".3g"),
        format_spread(row["seconds"], ".0f"),
        format_number(memory and memory / 2**30, ".2f"),
    ]


def format_markdown(grids: list[Grid], lines: list[str]) -> str:
    """Return tables and the lines below them as Markdown."""
    text = []
    for grid in grids:
        rules = ["---", *["---:"] * (len(grid.heads) - 1)]
        cells = [grid.heads, rules, *grid.rows]
        text += [f"{grid.title}.", "", *(f"| {' | '.join(one)} |" for one in cells), ""]
    return "\n".join([*text, *lines, ""])


def format_csv(rows: list[dict[str, Any]]) -> str:
    """Return every number of every row as CSV, a column for each."""
    flat = [dict(flatten_row(row)) for row in rows]
    stream = io.StringIO()
    names = dict.fromkeys(name for row in flat for name in row)
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def flatten_row(row: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a row, each named by the keys that lead to it."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from flatten_row(value, f"{before}{name} ")
        else:
            yield before + name, " ".join(map(str, value)) if name == "seeds" else value
