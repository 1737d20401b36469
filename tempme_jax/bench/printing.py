"""The tables of `tempme bench`."""

import itertools
from typing import TYPE_CHECKING

import rich.markup

from tempme_jax.compare.figures import ACCURACY, COSTS, RETRIEVAL, format_figure
from tempme_jax.screen import make_console, make_table

if TYPE_CHECKING:  # these import JAX and the database, which printing a table does not need
    from tempme_jax.bench.data import DataSpeed
    from tempme_jax.bench.encode import EncodeSpeed
    from tempme_jax.bench.index import IndexSpeed
    from tempme_jax.bench.search import SearchSpeed
    from tempme_jax.compare.paper import CountedRow

# The figures that are counted here, and the paper's short names of the directions.
COUNTED = ("trainable", "gflops", "tokens")
SHORT = {"text_to_video": "T2V", "video_to_text": "V2T"}


def print_costs(rows: list["CountedRow"]) -> None:
    """Print our costs beside the paper's, below that why some differ, and its other figures."""
    left = ("Table", "Row", "Data", "Backbone", "Frames")
    table = make_table(
        "Costs of the video tower for one video, ours beside the paper's",
        (*left, "Trains (M)", "paper", "GMAC", "GFLOPs", "paper", "Tokens", "paper", ""),
        left=left,
    )
    notes = list(dict.fromkeys(row.row.note for row in rows if row.row.note))
    out, last = make_console(), None
    for counted in rows:
        row, cost = counted.row, counted.cost
        trains, gflops, tokens = (
            format_figure(row.printed.get(name), COSTS[name].spec) for name in COUNTED
        )
        if last not in (None, row.table):
            table.add_section()
        mark = {True: "=", False: "differs", None: ""}[counted.agrees]
        if row.note:
            mark += f" [{notes.index(row.note) + 1}]"
        table.add_row(
            "" if row.table == last else ", ".join(map(str, counted.tables)),
            *(row.name, row.data, row.backbone, str(row.frames)),
            *(f"{cost.trainable / 1e6:.3f}", trains, f"{cost.mac:.2f}"),
            *(f"{cost.paper:.2f}", gflops, str(cost.tokens), tokens),
            rich.markup.escape(mark),
        )
        last = row.table
    out.print(table)
    out.print("GMAC: 1e9 multiply-accumulates computed here. GFLOPs: counted as the paper does.")
    for number, note in enumerate(notes, start=1):
        out.print(f"[{number}] {note}", markup=False)
    out.print("T2V: text to video. V2T: video to text.")
    for _, group in itertools.groupby(rows, lambda counted: counted.row.table):
        print_other_figures(list(group))


def print_other_figures(rows: list["CountedRow"]) -> None:
    """Print what else the paper prints for the rows of a table: accuracies and measured costs."""
    heads = {
        f"{direction} {name}": f"{SHORT[direction]} {name}"
        for direction, names in RETRIEVAL.items()
        for name in names
    }
    heads |= {ACCURACY: "Accuracy"} | {name: cost.head for name, cost in COSTS.items()}
    printed = [row.row.printed for row in rows]
    names = [name for name in heads if name not in COUNTED and any(name in one for one in printed)]
    if not names:
        return
    tables = ", ".join(map(str, rows[0].tables))
    table = make_table(
        f"\nTable {tables}: the paper's other figures",
        ("Row", "Data", *(heads[name] for name in names)),
        left=("Row", "Data"),
    )
    specs = {name: COSTS[name].spec if name in COSTS else ".1f" for name in names}
    for row, one in zip((row.row for row in rows), printed, strict=True):
        if any(name in one for name in names):
            cells = (format_figure(one.get(name), specs[name]) for name in names)
            table.add_row(row.name, row.data, *cells)
    make_console().print(table)


def print_encode_speeds(speeds: list["EncodeSpeed"], title: str, product: float) -> None:
    """Print the speeds of methods, and below that of a plain matrix product."""
    columns = ("Method", "Videos/s", "Ratio", "by GMAC", "GMAC/s", "First call (s)")
    table = make_table(f"Encoding videos: {title}", columns, left=("Method",))
    for speed in speeds:
        table.add_row(
            speed.method,
            f"{speed.videos_per_second:.2f}",
            f"{speed.ratio:.2f}",
            f"{speed.expected_ratio:.2f}",
            f"{speed.gmacs_per_second:.0f}",
            f"{speed.first_seconds:.1f}",
        )
    out = make_console()
    out.print(table)
    out.print(f"A plain float32 matrix product runs at {product:.0f} GMAC/s here.")


def print_data_speed(speed: "DataSpeed") -> None:
    """Print how fast batches are read."""
    table = make_table(
        f"Reading batches of {speed.batch_size} videos, {speed.workers} workers",
        ("First batch (s)", "Videos/s alone", "Videos/s training", "Waited for data"),
    )
    table.add_row(
        f"{speed.first_seconds:.1f}",
        f"{speed.read_videos_per_second:.1f}",
        f"{speed.train_videos_per_second:.1f}",
        f"{speed.waited:.0%}",
    )
    make_console().print(table)


def print_search_speed(speed: "SearchSpeed") -> None:
    """Print how fast windows are found in memory, and by the database's index."""
    table = make_table(
        f"The best {speed.fetched:,} of {speed.windows:,} windows of {speed.width} numbers, "
        f"for {speed.queries:,} queries",
        (
            "Search",
            "p50 (ms)",
            "p99 (ms)",
            "In a batch (ms)",
            "Recall@10",
            "Size (MB)",
            "Made in (s)",
        ),
        left=("Search",),
    )
    exact = (speed.exact_p50_ms, speed.exact_p99_ms, speed.batch_ms)
    index = (speed.index_p50_ms, speed.index_p99_ms)
    table.add_row("in memory", *(f"{ms:.1f}" for ms in exact), "1", f"{speed.memory_mb:.0f}", "-")
    table.add_row(
        "index of the database", *(f"{ms:.1f}" for ms in index), "-", f"{speed.recall:.4f}",
        f"{speed.disk_mb:.0f}", f"{speed.write_seconds:.1f} + {speed.build_seconds:.1f}",
    )  # fmt: skip
    out = make_console()
    out.print(table)
    out.print("Of the database: size on disk with its vectors; seconds to write and to index it.")


def print_index_speed(speed: "IndexSpeed") -> None:
    """Print how fast videos are indexed, and which part takes how long."""
    table = make_table(
        f"Indexing {speed.videos} videos ({speed.minutes:.1f} min, {speed.windows} windows), "
        f"workers: {speed.workers}",
        (
            "Videos/s", "Minutes/min", "Windows/s", "All (s)", "Decoding (CPU s)",
            "First window (s)", "Waited then (s)", "Embedding (s)",
        ),
    )  # fmt: skip
    table.add_row(
        f"{speed.videos_per_second:.2f}",
        f"{speed.minutes_per_minute:.1f}",
        f"{speed.windows_per_second:.2f}",
        f"{speed.seconds:.1f}",
        f"{speed.decode_cpu_seconds:.1f}",
        f"{speed.first_seconds:.1f}",
        f"{speed.waited_seconds:.1f} ({speed.waited:.0%})",
        f"{speed.embed_seconds:.1f}",
    )
    out = make_console()
    out.print(table)
    out.print(
        f"By itself, decoding does {speed.read_windows_per_second:.2f} windows/s and embedding "
        f"{speed.embed_windows_per_second:.2f}: decoding is {speed.ratio:.2f} times as fast."
    )
    if speed.failed:
        out.print(f"Files that could not be indexed: {speed.failed}; `tempme index` says why.")
