"""Pictures of results, drawn without a screen."""

import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Where a name may stand, in points right of and above what it names, the first places first.
PLACES = [
    (across * far, up * far)
    for far in (10, 20, 32)
    for across, up in ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))
]
# From here on a line leads from the point to its name.
DISTANT = 15
# Half a point with some air, in pixels.
RADIUS = 9


def accuracy_and_cost(rows: list[dict[str, Any]], file: str | os.PathLike) -> None:
    """Draws text-to-video R@1 over GFLOPs of one video: a point for each method.

    Args:
        rows: of `results.summaries`; the bars are the standard deviation over seeds.
        file: the PNG to write, 1280 x 880 pixels.
    """
    figure = Figure(figsize=(8, 5.5), dpi=160, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="GFLOPs of one video", ylabel="Text-to-video R@1 (%)")
    axes.set_title("Accuracy against cost", loc="left")
    axes.set_title(of_seeds([len(row["seeds"]) for row in rows]), loc="right", fontsize=9)
    bars = []
    for number, row in enumerate(rows):
        recall = row["text_to_video"]["R@1"]
        x, y, deviation = row["paper"], recall["mean"], recall["deviation"]
        color = f"C{number % 10}"
        axes.errorbar(x, y, yerr=deviation, fmt="o", color=color, capsize=4, markersize=7)
        bars.append((x, y, deviation or 0.0))
    axes.margins(x=0.2, y=0.15)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    # Only what is drawn has its final size.
    canvas.draw()
    place_names(axes, [row["name"] for row in rows], bars)
    figure.savefig(file)


def of_seeds(counts: list[int]) -> str:
    """What the points are, of how many seeds each."""
    if max(counts) == 1:
        return "one seed"
    number = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return f"mean ± standard deviation, {number} seeds"


def place_names(axes: Axes, names: list[str], bars: list[tuple[float, float, float]]) -> None:
    """Writes names beside their points: where they hide no point, no bar and no other name."""
    taken = [
        Bbox(axes.transData.transform([(x, y - half), (x, y + half)])).padded(RADIUS)
        for x, y, half in bars
    ]
    inside = axes.get_window_extent()
    for number, (name, (x, y, _)) in enumerate(zip(names, bars, strict=True)):
        candidates = [named(axes, name, (x, y), place, f"C{number % 10}") for place in PLACES]
        # A line that leads to a name belongs to its extent.
        extents = [one.get_window_extent() for one in candidates]
        faults = [
            sum(extent.overlaps(other) for other in taken)
            + (extent.x0 < inside.x0 or extent.x1 > inside.x1)
            for extent in extents
        ]
        best = faults.index(min(faults))
        taken.append(extents[best])
        for one in candidates[:best] + candidates[best + 1 :]:
            one.remove()


def named(
    axes: Axes, name: str, point: tuple[float, float], place: tuple[float, float], color: str
) -> Annotation:
    """A name at one of the `PLACES` of a point."""
    across, up = place
    leads = {"arrowstyle": "-", "color": color, "alpha": 0.5}
    return axes.annotate(
        name,
        point,
        place,
        textcoords="offset points",
        ha="left" if across > 0 else "right",
        va="center" if up == 0 else "bottom" if up > 0 else "top",
        color=color,
        arrowprops=leads if max(abs(across), abs(up)) > DISTANT else None,
    )
