"""The tables of `tempme bench`."""

import itertools
from typing import TYPE_CHECKING

import rich.markup

from tempme_jax.compare.figures import ACCURACY, COSTS, RETRIEVAL, format_figure
from tempme_jax.screen import make_console, make_table

if TYPE_CHECKING:  # these import JAX and the database, which printing a table does not need
    from tempme_jax.bench.data import DataSpeed
    from tempme_jax.bench.device_cases import DeviceReport
    from tempme_jax.bench.encode import EncodeSpeed
    from tempme_jax.bench.growth import Growth
    from tempme_jax.bench.history import Record
    from tempme_jax.bench.index import IndexSpeed
    from tempme_jax.bench.search import SearchSpeeds
    from tempme_jax.bench.start import StartTimes
    from tempme_jax.bench.train import TrainSpeed
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


def print_search_speeds(speeds: "SearchSpeeds") -> None:
    """Print how fast windows are found in each way."""
    table = make_table(
        f"The best {speeds.fetched:,} of {speeds.windows:,} windows of {speeds.width} numbers, "
        f"for {speeds.queries:,} queries",
        (
            "Search", "p50 (ms)", "p99 (ms)", "Recall@10", "Made in (s)", "Disk (MB)",
            "Memory (MB)", "not cached (MB)",
        ),
        left=("Search",),
    )  # fmt: skip
    for speed in speeds.ways:
        memory = f"{speed.resident_mb:,.0f}", f"{speed.anonymous_mb:,.0f}"
        table.add_row(
            speed.way, f"{speed.p50_ms:.1f}", f"{speed.p99_ms:.1f}", f"{speed.recall:.4f}",
            f"{speed.made_seconds:.1f}", f"{speed.disk_mb:,.0f}", *memory,
        )  # fmt: skip
    out = make_console()
    out.print(table)
    out.print(
        f"The database itself was written in {speeds.write_seconds:.1f} s, and takes "
        f"{speeds.database_mb:,.0f} MB without thumbnails.\nMemory is that of a process that only "
        "searches; not cached: without files that the system may drop from memory."
    )


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


def print_device(report: "DeviceReport", notes: list[str]) -> None:
    """Print what a device does, and below that what was not measured."""
    rates = ", ".join(f"{rate:,.0f} GMAC/s in {dtype}" for dtype, rate in report.matrix.items())
    table = make_table(
        f"{report.device}: a plain matrix product runs at {rates}",
        (
            "What", "Backbone", "Method", "dtype", "Batch", "Videos/s", "ms a call", "GMAC/s",
            "of a product", "Needs (MiB)", "Compiled in (s)",
        ),
        left=("What", "Backbone", "Method", "dtype"),
    )  # fmt: skip
    for speed in report.speeds:
        case = speed.case
        cells = [case.what, case.backbone, case.method, case.dtype, str(case.batch)]
        if speed.problem:
            table.add_row(*cells, speed.problem)
            continue
        counted = speed.gmacs_per_second > 0
        table.add_row(
            *cells,
            f"{speed.videos_per_second:,.2f}",
            f"{1000 * speed.seconds:,.1f}",
            f"{speed.gmacs_per_second:,.0f}" if counted else "-",
            f"{speed.share:.0%}" if counted else "-",
            f"{speed.program_mib:,.0f}",
            f"{speed.compile_seconds:.1f}",
        )
    out = make_console()
    out.print(table)
    for one in report.parity:
        out.print(
            f"{one.backbone} {one.method} in {one.dtype} against the CPU in float32: largest "
            f"difference {one.largest:.1e}, smallest cosine {one.cosine:.6f}"
        )
    for note in notes:
        out.print(note)
    out.print(f"All of it took {report.seconds:.0f} s.")


def print_growth(growth: "Growth") -> None:
    """Print seconds beside multiply-accumulates, and the straight line through them."""
    table = make_table(
        f"Encoding with {growth.method} on {growth.backbone}, and the straight line through it",
        ("Frames", "Batch", "GMAC", "Seconds", "by the line", "off the line"),
    )
    for point in growth.points:
        table.add_row(
            str(point.frames), str(point.batch), f"{point.gmacs:.1f}", f"{point.seconds:.3f}",
            f"{point.line:.3f}", f"{point.deviation:+.1%}",
        )  # fmt: skip
    out = make_console()
    out.print(table)
    out.print(
        f"The line: {growth.fixed_seconds:.3f} s and 1 s for every {growth.gmacs_per_second:.0f} "
        f"GMAC. The largest deviation is {growth.largest:.1%}."
    )


def print_record(record: "Record") -> None:
    """Print which benchmarks ran, and why others did not."""
    machine = record["machine"]
    table = make_table(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; version "
        f"{record['version']}; {record['date']}",
        ("Benchmark", "Seconds", "Command, or why it was skipped"),
        left=("Benchmark", "Command, or why it was skipped"),
    )
    for name, result in record["benchmarks"].items():
        why = f"skipped: {result['skipped']}" if "skipped" in result else result["command"]
        seconds = f"{result['seconds']:.0f}" if "seconds" in result else "-"
        table.add_row(name, seconds, rich.markup.escape(why))
    make_console().print(table)


def print_start_times(times: "StartTimes") -> None:
    """Print how long commands take, and what a search imports."""
    table = make_table("", ["Command", "Seconds"], left=["Command"])
    for what, seconds in times.seconds.items():
        table.add_row(what, f"{seconds:.2f}")
    out = make_console()
    out.print(f"{times.model}: each command in a fresh process, median of {times.rounds}")
    out.print(table)
    large = ", ".join(times.large) or "none of jax, flax, lancedb, pyarrow and av"
    out.print(f"A search imports {times.modules} modules before it opens the model: {large}.")


def print_train_speeds(speeds: list["TrainSpeed"]) -> None:
    """Print the speed and memory of training steps of one version or two."""
    table = make_table(
        "Training steps",
        ("Version", "Seconds", "CPU seconds", "Steps/s", "Memory (MiB)", "First step (s)"),
        left=("Version",),
    )
    for speed in speeds:
        table.add_row(
            speed.checkout,
            f"{speed.seconds:.3f}",
            f"{speed.cpu_seconds:.3f}",
            f"{speed.steps_per_second:.2f}",
            f"{speed.peak_memory_bytes / 2**20:.0f}",
            f"{speed.first_seconds:.1f}",
        )
    out = make_console()
    out.print(table)
    if len(speeds) > 1:
        first = speeds[0]
        out.print(
            f"The first is {first.speed_ratio:.2f} times as fast as the second "
            f"({first.cpu_ratio:.2f} by CPU seconds), in {first.memory_ratio:.2f} times its "
            "memory; losses differ by at most "
            f"{first.loss_difference:.1e}."
        )
