"""The table of a comparison: on the screen, in Markdown, CSV and JSON files, and as a plot."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tempme_jax.files import write_text
from tempme_jax.screen import format_number, make_console, make_table
from tempme_jax.training.result_tables import describe_protocols

COLUMNS = (
    *("Method", "Runs", "Trains (M)", "GFLOPs", "Tokens"),
    *("R@1", "R-Sum", "MnR", "Videos/s", "Seconds", "Memory (GiB)"),
)
# The paper's figures of a row: the column that each is compared with, and its format.
PRINTED = {
    "trainable": ("Trains (M)", ".2f"),
    "gflops": ("GFLOPs", ".1f"),
    "tokens": ("Tokens", "d"),
    "R@1": ("R@1", ".1f"),
    "R-Sum": ("R-Sum", ".1f"),
}
TITLE = "Text to video: mean ± standard deviation over seeds"
APART = (
    'Columns headed "paper" hold what the paper prints for its own backbone and data set, as far '
    "as known here. With another backbone or data set compare the order of rows, not the numbers."
)


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
    lines += [APART] if any(row["printed"] for row in rows) else []
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "protocols": lines, "failed": failed, "results": results}
    write_text(folder / "compare.json", json.dumps(found, indent=1) + "\n")
    if rows:
        write_text(folder / "compare.csv", format_csv(rows))
        write_text(folder / "compare.md", format_markdown(rows, lines))
        plot.plot_accuracy_over_cost(rows, folder / "compare.png")
        table = make_table(TITLE, list_columns(rows), left=["Method"])
        for row in rows:
            table.add_row(*format_row(row, rows))
        out.print(table)
    for line in [*lines, f"Saved: {folder}/compare.{{{'csv,json,md,png' if rows else 'json'}}}"]:
        out.print(line, markup=False)
    for one in failed:
        text = "\n  ".join([f"{one['run']} FAILED: {one['problem']}", *one["last_lines"]])
        out.print(f"\n{text}\nTo run it alone: {one['command']}", markup=False)


def list_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Return the heads of the columns: ours, then those of the paper that have a figure."""
    return [*COLUMNS, *(f"paper: {PRINTED[name][0]}" for name in list_paper_columns(rows))]


def list_paper_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the paper's figures that are known for at least one row."""
    return [name for name in PRINTED if any(row["printed"].get(name) is not None for row in rows)]


def format_row(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return the cells of a row, in the order of `list_columns`."""
    memory, measured = row["peak_memory_bytes"], row["text_to_video"]
    ours = [
        row["name"],
        str(len(row["seeds"])),
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['paper']:.4g}",
        str(row["tokens"]),
        *(format_spread(measured[name], ".1f") for name in ("R@1", "R-Sum", "MnR")),
        format_number(row["videos_per_second"], ".3g"),
        format_spread(row["seconds"], ".0f"),
        format_number(memory and memory / 2**30, ".2f"),
    ]
    theirs = [
        format_number(row["printed"].get(name), PRINTED[name][1])
        for name in list_paper_columns(rows)
    ]
    return ours + theirs


def format_spread(value: dict[str, float | None], spec: str) -> str:
    """Return a mean, with its deviation if there is one."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:{spec}}"
    return f"{value['mean']:{spec}}{shown}"


def format_markdown(rows: list[dict[str, Any]], lines: list[str]) -> str:
    """Return the table and the lines below it as Markdown."""
    heads = list_columns(rows)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *(format_row(row, rows) for row in rows)]
    text = [f"| {' | '.join(one)} |" for one in table]
    return "\n".join([f"{TITLE}.", "", *text, "", *lines, ""])


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
