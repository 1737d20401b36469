"""The tables of `tempme bench`."""

from typing import TYPE_CHECKING

import rich.markup

from tempme_jax.screen import format_number, make_console, make_table

if TYPE_CHECKING:  # these import JAX and the database, which printing a table does not need
    from tempme_jax.bench.data import DataSpeed
    from tempme_jax.bench.encode import EncodeSpeed
    from tempme_jax.bench.index import IndexSpeed
    from tempme_jax.bench.search import SearchSpeed
    from tempme_jax.compare.paper import CountedRow


def print_costs(rows: list["CountedRow"]) -> None:
    """Print our costs beside the paper's, and below the table why some differ."""
    left = ("Table", "Row", "Backbone", "Frames")
    table = make_table(
        "Costs of the video tower for one video, ours beside the paper's",
        (*left, "Trains (M)", "paper", "GMAC", "GFLOPs", "paper", "Tokens", "paper", ""),
        left=left,
    )
    notes = list(dict.fromkeys(row.row.note for row in rows if row.row.note))
    last = None
    for counted in rows:
        row, cost = counted.row, counted.cost
        if last not in (None, row.table):
            table.add_section()
        mark = {True: "=", False: "differs", None: ""}[counted.agrees]
        if row.note:
            mark += f" [{notes.index(row.note) + 1}]"
        table.add_row(
            "" if row.table == last else str(row.table),
            row.name,
            row.backbone,
            str(row.frames),
            f"{cost.trainable / 1e6:.3f}",
            format_number(row.trainable, ".2f"),
            f"{cost.mac:.2f}",
            f"{cost.paper:.2f}",
            format_number(row.gflops, ".1f"),
            str(cost.tokens),
            format_number(row.tokens, "d"),
            rich.markup.escape(mark),
        )
        last = row.table
    out = make_console()
    out.print(table)
    out.print("GMAC: 1e9 multiply-accumulates computed here. GFLOPs: counted as the paper does.")
    for number, note in enumerate(notes, start=1):
        out.print(f"[{number}] {note}", markup=False)


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
