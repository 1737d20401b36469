"""The figures that the paper prints: what each is, and the lines of its tables as printed.

They lie in `printed/`, a file for each table, with the figures' names at the head of the columns.
"""

import csv
import dataclasses
import functools
from importlib import resources

from tempme_jax.training.metrics import MEASURES
from tempme_jax.training.results import DIRECTIONS

# A figure as printed; text where the paper prints a bound, such as ">210".
Printed = int | float | str
# The columns of a file that say which line it is; not every file has all.
KEYS = ("row", "backbone", "data")


@dataclasses.dataclass(frozen=True)
class Figure:
    """What a figure is called in a table, and its format."""

    head: str
    spec: str


COSTS = {
    "trainable": Figure("Trains (M)", ".2f"),
    "gflops": Figure("GFLOPs", ".1f"),
    "tokens": Figure("Tokens", "d"),
    "videos_per_second": Figure("Videos/s (A100)", ".1f"),
    "training_speed": Figure("Training speed", ".2f"),
    "training_hours": Figure("Training (h)", ".1f"),
    "training_memory": Figure("Training (GB)", ".1f"),
    "inference_memory": Figure("Inference (GB)", ".2f"),
    # Per cent of the first row with that backbone and data set.
    "gflops_share": Figure("GFLOPs (%)", ".0f"),
    "tokens_share": Figure("Tokens (%)", ".0f"),
}
ACCURACY = "accuracy"
# The measures of retrieval that the paper prints, by direction.
RETRIEVAL = {
    direction: [name for name in MEASURES if name in ("R@1", "R@5", "R@10", "R-Sum", "MnR")]
    for direction in DIRECTIONS
}


@functools.cache
def read_lines(table: int | None) -> dict[tuple[str, ...], dict[str, Printed]]:
    """Return the lines of a table; nothing if there are none.

    Returns:
        The figures of each line by their names, without those that it lacks, by its `KEYS`.
    """
    file = resources.files("tempme_jax.compare") / "printed" / f"table{table}.csv"
    if not file.is_file():
        return {}
    lines = {}
    for line in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        key = tuple(line.pop(name, "") for name in KEYS)
        lines[key] = {name: parse_figure(name, text) for name, text in line.items() if text}
    return lines


def parse_figure(name: str, text: str) -> Printed:
    """Return a figure as a number; as it is, if it is a bound."""
    if text.startswith(">"):
        return text
    return int(text) if name == "tokens" else float(text)


def format_figure(value: Printed | None, spec: str) -> str:
    """Return a figure in the given format; a dash if there is none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else format(value, spec)
