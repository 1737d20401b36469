"""The plot of a comparison, drawn without a screen."""

import os
from typing import Any

import adjustText
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from tempme_jax.compare.figures import ACCURACY

# Half the size of a point with some space around it, and how far right of it its name is tried
# first, in pixels.
RADIUS, START = 9, 20
# A number of iterations, unlike adjustText's default time limit, gives the same plot everywhere.
ITERATIONS = 1000


def plot_accuracy_over_cost(rows: list[dict[str, Any]], file: str | os.PathLike) -> None:
    """Draw R@1 from text to video, or the accuracy of answers, over the GFLOPs of one video.

    Each method is a point.

    Args:
        rows: rows of `training.results.summarize`; bars show the standard deviation over seeds.
        file: the PNG file to write, 1280 x 880 pixels.
    """
    figure = Figure(figsize=(8, 5.5), dpi=160, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    answers = ACCURACY in rows[0]
    label = "Right answers (%)" if answers else "Text-to-video R@1 (%)"
    axes = figure.add_subplot(xlabel="GFLOPs of one video", ylabel=label)
    axes.set_title("Accuracy against cost", loc="left")
    axes.set_title(describe_seeds([len(row["seeds"]) for row in rows]), loc="right", fontsize=9)
    bars = []
    for number, row in enumerate(rows):
        measured = row[ACCURACY] if answers else row["text_to_video"]["R@1"]
        x, y, deviation = row["paper"], measured["mean"], measured["deviation"]
        color = f"C{number % 10}"
        axes.errorbar(x, y, yerr=deviation, fmt="o", color=color, capsize=4, markersize=7)
        bars.append((x, y, deviation or 0.0))
    axes.margins(x=0.2, y=0.15)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    # The axes have their final size only after the layout was drawn once.
    canvas.draw()
    place_names(axes, [row["name"] for row in rows], bars)
    figure.savefig(file)


def describe_seeds(counts: list[int]) -> str:
    """Say of how many seeds the points are, given the number of seeds of each."""
    if max(counts) == 1:
        return "one seed"
    number = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return f"mean ± standard deviation, {number} seeds"


def place_names(axes: Axes, names: list[str], bars: list[tuple[float, float, float]]) -> None:
    """Write names beside their points, clear of points, bars and other names.

    Args:
        axes: the plot, already drawn once.
        names: one for each point.
        bars: x, y and half the height of the bar of each point.
    """
    to_pixels, to_data = axes.transData, axes.transData.inverted()
    texts, points = [], []
    for number, (name, (x, y, half)) in enumerate(zip(names, bars, strict=True)):
        left, up = to_data.transform(to_pixels.transform((x, y)) + (START, 0))
        texts.append(axes.text(left, up, name, color=f"C{number % 10}", va="center"))
        around = Bbox(to_pixels.transform([(x, y - half), (x, y + half)])).padded(RADIUS)
        # adjustText takes boxes in the units of the data.
        points.append(Bbox(to_data.transform(around.get_points())))
    x, y, _ = zip(*bars, strict=True)
    adjustText.adjust_text(
        texts,
        ax=axes,
        objects=points,
        target_x=x,
        target_y=y,
        avoid_self=False,
        iter_lim=ITERATIONS,
        force_explode=(0, 0),
        force_pull=(0, 0),
        min_arrow_len=2 * START,
        arrowprops={"arrowstyle": "-", "color": "gray", "alpha": 0.5},
    )
