"""The plot of a history of measurements, drawn without a screen."""

import io
import math
import os
from collections.abc import Iterator
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tempme_jax.bench.history import Record

# Benchmarks without a row here show their first figures.
HEADLINES = {
    "encode": ("videos_per_second", "videos/s"),
    "index": ("windows_per_second", "windows/s"),
    "search": ("p50_ms", "ms a query (median)"),
    "growth": ("largest", "largest deviation from a line"),
    "data": ("train_videos_per_second", "videos/s"),
    "device": ("videos_per_second", "videos/s"),
    "start": ("seconds", "s"),
    "runtime": ("seconds", "s a call"),
    "train": ("seconds", "s a step"),
}
# Costs are counted, so they do not change from run to run.
NOT_DRAWN = ("costs",)
# Lines in one picture.
MOST_LINES = 8
COLUMNS, WIDTH, HEIGHT = 2, 5.5, 3.2
COLOURS = 64


def plot_history(records: list[Record], file: str | os.PathLike) -> int:
    """Draw the figures of all records of the newest record's machine, one picture per benchmark.

    Args:
        records: the history, oldest first, at least one record.
        file: the PNG file to write.

    Returns:
        The number of records that were drawn; those of other machines are left out.
    """
    machine = records[-1]["machine"]
    records = [record for record in records if record["machine"] == machine]
    names = [
        name
        for name in dict.fromkeys(name for record in records for name in record["benchmarks"])
        if name not in NOT_DRAWN and any(collect_lines(records, name))
    ]
    rows = max(1, math.ceil(len(names) / COLUMNS))
    figure = Figure(figsize=(COLUMNS * WIDTH, rows * HEIGHT + 0.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{machine.get('processor', 'unknown')}, {machine.get('cores', '?')} cores", fontsize=10
    )
    labels = [f"{record['date'][:10]}\n{record['version']}" for record in records]
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        axes.set_title(f"bench {name}", loc="left", fontsize=10)
        axes.set_ylabel(HEADLINES.get(name, ("", ""))[1])
        for label, values in list(collect_lines(records, name))[:MOST_LINES]:
            axes.plot(range(len(records)), values, "o-", label=label, markersize=4)
        axes.set_xticks(range(len(records)), labels, fontsize=7)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    # Few colours make a small file, of which a history of a repository holds many.
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(file, "PNG", optimize=True)
    return len(records)


def collect_lines(records: list[Record], name: str) -> Iterator[tuple[str, list[float]]]:
    """Yield each line of a benchmark: its label, and a value per record, NaN where it has none."""
    wanted = HEADLINES.get(name, ("", ""))[0]
    found = []
    for record in records:
        result = record["benchmarks"].get(name, {})
        figures = list_figures(result.get("figures"))
        found.append(
            {label: value for label, value in figures if not wanted or wanted in label.split()}
        )
    for label in dict.fromkeys(label for values in found for label in values):
        values = [values.get(label, math.nan) for values in found]
        short = " ".join(word for word in label.split() if word != wanted)
        yield short or wanted, values


def list_figures(value: Any, label: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in a benchmark's figures with the names of where they lie.

    >>> list(list_figures([{"method": "clip", "ratio": 1.5, "stages": [1, 2]}]))
    [('clip ratio', 1.5)]
    """
    if isinstance(value, dict):
        texts = (text for text in value.values() if isinstance(text, str) and text)
        texts = (text for text in texts if not os.path.isabs(text))  # paths say little elsewhere
        case = value.get("case")
        inner = case.values() if isinstance(case, dict) else ()
        own = " ".join([label, *texts, *map(str, inner)]).strip()
        for key, one in value.items():
            if key == "case":
                continue
            if isinstance(one, bool):
                continue
            if isinstance(one, int | float):
                yield f"{own} {key}".strip(), float(one)
            elif isinstance(one, dict):
                yield from list_figures(one, f"{label} {key}".strip())
            elif isinstance(one, list):
                yield from list_figures(one, label)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                yield from list_figures(one, label)
