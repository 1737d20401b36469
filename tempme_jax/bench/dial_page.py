"""The table and the plot of `tempme bench dial`."""

import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tempme_jax.bench.dial import BY
from tempme_jax.dial import describe_options
from tempme_jax.screen import make_console, make_table
from tempme_jax.search.speeds import DialCurve
from tempme_jax.words import pluralize

RECALLS = ("R@1", "R@5", "R@10")
WIDTH, HEIGHT = 7.0, 4.5


def print_curve(curve: DialCurve) -> None:
    """Print the settings of a model as a table, and below it what was measured."""
    columns = (
        "Setting", "", "Tokens", "GMAC", "Videos/s", "x trained", "by GMAC", "x plain", *RECALLS,
        "V2T R@1", "Cosine", "least",
    )  # fmt: skip
    table = make_table(f"{curve.model}, {curve.method}: its dial", columns, left=("Setting", ""))
    for point in curve.points:
        table.add_row(
            describe_options(point.options) or "as loaded",
            " ".join([*["trained"] * point.is_trained, *["*"] * point.on_front]),
            str(point.tokens),
            f"{point.gmacs:.3g}",
            f"{point.videos_per_second:.1f}",
            f"{point.speed:.2f}",
            f"{point.counted:.2f}",
            f"{point.over_plain:.2f}",
            *(f"{point.text_to_video[name]:.1f}" for name in RECALLS),
            f"{point.video_to_text['R@1']:.1f}",
            f"{point.cosine_mean:.4f}",
            f"{point.cosine_least:.4f}",
        )
    out = make_console()
    out.print(table)
    out.print(
        f"{curve.dataset}, {curve.split}: {pluralize(curve.texts, 'text')}, "
        f"{pluralize(curve.videos, 'video')}, ids {curve.id_hash}; {curve.device}, "
        f"{pluralize(curve.batch, 'video')} a call, the fastest tenth of "
        f"{pluralize(curve.rounds, 'call')} in turns."
    )
    out.print(
        "x plain: as a multiple of the backbone alone, which keeps every token. Cosine: with the "
        f"trained setting's vectors. *: no setting is both as fast and better by {BY}."
    )


def plot_curves(curves: list[DialCurve], file: str | os.PathLike) -> None:
    """Draw the recall over the seconds of a video, a line for each model.

    Large points are those that no other setting of the model beats, a star the trained setting.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = f"C{number}"
        values = [(1000 / p.videos_per_second, p.text_to_video[BY]) for p in curve.points]
        axes.plot(*zip(*values, strict=True), "-", color=colour, label=curve.model, alpha=0.7)
        for place, point in zip(values, curve.points, strict=True):
            size, marker = (60 if point.on_front else 14), "o"
            if point.is_trained:
                size, marker = 180, "*"
            axes.scatter(*place, s=size, marker=marker, color=colour)
            if point.on_front:
                axes.annotate(
                    f"{point.speed:.2f}x", place, (-8, 4) if number else (8, -9), fontsize=7,
                    textcoords="offset points", ha="right" if number else "left", color=colour,
                )  # fmt: skip
    first = curves[0]
    axes.set_title(
        f"{first.dataset}, {first.split}, {first.texts} texts ({first.device})", loc="left",
        fontsize=10,
    )  # fmt: skip
    axes.set_xlabel("milliseconds a video")
    axes.set_ylabel(f"text to video {BY}")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    title = "star: as trained; large: nothing is faster and as good"
    axes.legend(fontsize=8, loc="lower right", title=title, title_fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)
