"""Our figures beside the paper's: a table for the costs, and one for each kind of accuracy."""

import dataclasses
from typing import Any

from tempme_jax.compare.figures import ACCURACY, COSTS, RETRIEVAL, format_figure
from tempme_jax.screen import format_number

APART = (
    'Columns headed "paper" hold what the paper prints for its own backbone and data set. With '
    "another backbone or data set compare the order of rows, not the numbers."
)


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table to print.

    Attributes:
        title: what its figures are.
        heads: heads of the columns; the first is that of the names of rows.
        rows: the cells of each row.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]


def list_tables(rows: list[dict[str, Any]]) -> list[Grid]:
    """Return the tables of the figures that the paper prints for at least one row."""
    groups = {"Costs": {name: figure.head for name, figure in COSTS.items()}}
    for direction, names in RETRIEVAL.items():
        title = direction.replace("_", " ").capitalize()
        groups[title] = {f"{direction} {name}": name for name in names}
    groups["Answers"] = {ACCURACY: "Accuracy"}
    tables = []
    for title, heads in groups.items():
        names = [name for name in heads if any(name in row["printed"] for row in rows)]
        if names:
            pairs = [head for name in names for head in (heads[name], "paper")]
            cells = [
                [row["name"], *(cell for name in names for cell in format_pair(name, row, rows))]
                for row in rows
            ]
            tables.append(Grid(f"{title}, beside the paper", ["Method", *pairs], cells))
    return tables


def format_pair(name: str, row: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Return a figure of a row, and that of the paper; a dash for none."""
    printed = row["printed"].get(name)
    if name in COSTS:
        return format_cost(name, row, rows[0]), format_figure(printed, COSTS[name].spec)
    direction, _, measure = name.partition(" ")
    measured = row.get(direction)
    ours = format_spread(measured[measure] if measure else measured, ".1f") if measured else "-"
    return ours, format_figure(printed, ".1f")


def format_cost(name: str, row: dict[str, Any], first: dict[str, Any]) -> str:
    """Return one of our costs; a dash if it was not measured."""
    seconds, memory = row["seconds"]["mean"], row["peak_memory_bytes"]
    if name == "training_speed":  # relative to the first row, as in the paper
        return format_number(first["seconds"]["mean"] / seconds if seconds else None, ".2f")
    costs = {
        "trainable": (row["trainable"] / 1e6, ".3f"),
        "gflops": (row["paper"], ".4g"),
        "tokens": (row["tokens"], "d"),
        "videos_per_second": (row["videos_per_second"], ".3g"),
        "training_hours": (seconds / 3600, ".2f"),
        "training_memory": (memory and memory / 1e9, ".1f"),
    }
    return format_number(*costs.get(name, (None, "")))


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """Return what to know of the paper's figures, a line each."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row["note"]:
            notes.setdefault(row["note"], []).append(row["name"])
    lines = [APART] if any(row["printed"] for row in rows) else []
    return lines + [f"{', '.join(names)}: {note}" for note, names in notes.items()]


def format_spread(value: dict[str, float | None], spec: str) -> str:
    """Return a mean, with its deviation if there is one."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:{spec}}"
    return f"{value['mean']:{spec}}{shown}"
