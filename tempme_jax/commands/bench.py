"""`tempme bench`: costs and speeds."""

import contextlib
import dataclasses
import functools
import json

import click

from tempme_jax.commands.bench_dial import bench_dial
from tempme_jax.commands.bench_machine import (
    bench_all,
    bench_device,
    bench_growth,
    bench_runtime,
    bench_start,
    bench_train,
)
from tempme_jax.commands.bench_shared import (
    AS_JSON,
    BATCH,
    ROUNDS,
    end_report,
    print_figures,
    report_progress,
)
from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, PLUGIN, Group


@click.group(cls=Group, context_settings={"show_default": True})
def bench():
    """Count costs and measure speeds."""


@bench.command("costs")
@click.option(
    "--table",
    "tables",
    type=int,
    multiple=True,
    help="Number of a table of the paper; may be given several times. Default: all.",
)
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    help="Count methods on this backbone, such as ViT-L/14, in place of the paper's tables; may be "
    "given several times.",
)
@click.option("--methods", default="clip,tempme", help="With --backbone, separated by commas.")
@click.option(
    "--frames", type=click.IntRange(1), default=12, help="With --backbone, frames of a video."
)
@AS_JSON
def bench_costs(tables, backbones, methods, frames, as_json):
    """Count the costs of methods, beside the paper's.

    Prints the number of trained parameters, the multiply-accumulates of one video, and the tokens
    at the output; then what else the paper prints, such as its accuracies. With --backbone, prints
    those of any backbone, its size in memory, and the settings that a method has there.
    """
    from tempme_jax.bench import printing
    from tempme_jax.compare import paper
    from tempme_jax.screen import make_progress_bar

    if backbones:
        if tables:
            raise click.UsageError("give --backbone or --table, not both")
        report_progress("Counting")
        from tempme_jax.bench.backbone_costs import count_backbones, print_backbone_costs

        names = [method.strip() for method in methods.split(",")]
        counts = count_backbones(backbones, names, frames)
        print_figures(counts, as_json, lambda: print_backbone_costs(counts))
        return
    rows = paper.select_rows(tables)
    with make_progress_bar(rows, "Counting", unit="rows") as bar:
        counted = [paper.count_row(row) for row in bar]
    figures = [row.to_json() for row in counted]
    print_figures(figures, as_json, lambda: printing.print_costs(counted))


@bench.command("data", context_settings=PASSED_ON)
@CONFIG
@click.option("--steps", type=click.IntRange(1), default=20, help="Batches to read.")
@AS_JSON
@OVERRIDES
def bench_data(config, steps, as_json, settings):
    """Measure how fast training batches are read.

    Reads batches without training, then while training. CONFIG and SETTINGS are those of a
    training, such as configs/moving_shapes.py:tempme --config.data.workers=2.
    """
    report_progress("Starting")
    from tempme_jax.bench import data, printing
    from tempme_jax.training.flags import parse_flags

    speed = data.measure_reading(parse_flags([f"--config={config}", *settings]), steps)
    print_figures(speed, as_json, lambda: printing.print_data_speed(speed))


@bench.command("runs")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
@BATCH
@ROUNDS
@click.option(
    "--out", type=click.Path(dir_okay=False), help="Also write the rows to this JSON file."
)
@PLUGIN
def bench_runs(workdirs, batch, rounds, out):
    """Measure how many videos per second trained models encode.

    The models take turns, and are compared with the first of WORKDIRS.
    """
    report_progress("Starting")
    from tempme_jax.bench import encode, printing
    from tempme_jax.encoding import choose_video_batch
    from tempme_jax.files import write_text
    from tempme_jax.loading import load

    batch = batch or choose_video_batch()
    speeds = encode.measure_models(
        {workdir: functools.partial(load, workdir) for workdir in workdirs},
        batch=batch,
        rounds=rounds,
        report=report_progress,
    )
    end_report()
    printing.print_encode_speeds(speeds, f"{batch} videos a call", encode.measure_matrix_product())
    if out:
        rows = [dataclasses.asdict(speed) for speed in speeds]
        write_text(out, json.dumps(rows, indent=1) + "\n")


@bench.command("encode")
@click.option("--methods", default="clip,tempme", help="Separated by commas.")
@click.option("--backbone", default="ViT-B/32", help="ViT-B/32, ViT-L/14, UMT-B/16, ...")
@click.option("--frames", type=click.IntRange(1), default=12, help="Frames of a video.")
@BATCH
@ROUNDS
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    help="dtype of the activations.",
)
@AS_JSON
def bench_encode(methods, backbone, frames, batch, rounds, dtype, as_json):
    """Measure how many videos per second methods encode.

    The methods have random weights, take turns, and are compared with the first of them.
    """
    report_progress("Starting")
    from tempme_jax.bench import encode, printing
    from tempme_jax.encoding import choose_video_batch

    batch = batch or choose_video_batch()
    speeds = encode.measure_encoding(
        [method.strip() for method in methods.split(",")],
        backbone=backbone,
        num_frames=frames,
        batch=batch,
        rounds=rounds,
        dtype=dtype,
        report=report_progress,
    )
    title = f"{backbone}, {frames} frames, {batch} videos a call, {dtype}"

    def print_table():
        report_progress("measuring a plain matrix product")
        product = encode.measure_matrix_product()
        end_report()
        printing.print_encode_speeds(speeds, title, product)

    print_figures(speeds, as_json, print_table)


@bench.command("search")
@click.option(
    "--windows", type=click.IntRange(1), default=100_000, help="Number of windows to search in."
)
@click.option("--queries", type=click.IntRange(1), default=1000, help="Number of queries.")
@click.option("--width", type=click.IntRange(1), default=512, help="Numbers in a vector.")
@click.option(
    "--fetch",
    type=click.IntRange(10),
    default=200,
    help="Windows that a query asks for; ten moments take 200.",
)
@click.option(
    "--against",
    type=click.Choice(["faiss"]),
    help="Library to measure, too: its Flat, IVF and HNSW indexes. It has to be installed.",
)
@AS_JSON
def bench_search(windows, queries, width, fetch, against, as_json):
    """Measure how fast an index is searched.

    Searches random vectors in three ways: compared with all in memory, as in an index of up to
    50,000 windows; with all rounded to bytes, and the best again exactly, as in a larger one; and
    by LanceDB's index, as in a large one in an object store. A process of its own measures each.
    """
    report_progress("Starting")
    from tempme_jax.bench import printing, search

    try:
        speeds = search.measure_search(
            windows, queries, width, fetch, against=against, report=report_progress
        )
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    print_figures(speeds, as_json, lambda: printing.print_search_speeds(speeds))


@bench.command("index")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of videos; nothing is written to it. Default: videos made for this.",
)
@click.option(
    "--videos",
    type=click.IntRange(1),
    default=24,
    help="Number of videos to make, without --folder.",
)
@click.option(
    "--model",
    default="ViT-B/32",
    help="Backbone with random weights, or weights as for tempme_jax.load.",
)
@click.option("--method", help="Method of the model. Default: that of the weights, else tempme.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode. Default: cores - 1."
)
@AS_JSON
def bench_index(folder, videos, model, method, workers, as_json):
    """Measure how fast videos are indexed.

    Also measures decoding and embedding by themselves. The videos that are made are H.264, 10
    seconds long, with 30 frames per second of 320 x 240 pixels.
    """
    import pathlib
    import tempfile

    report_progress("Starting")
    from tempme_jax.bench import index, printing
    from tempme_jax.screen import make_progress_bar

    with contextlib.ExitStack() as stack:
        if not folder:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tempme-bench-"))
            made = index.make_videos(pathlib.Path(folder), videos)
            end_report()
            for _ in make_progress_bar(made, "Making videos", total=videos, unit="videos"):
                pass
        report_progress("opening the model")
        speed = index.measure_indexing(
            folder,
            index.open_model(model, method),
            workers=workers,
            report=report_progress,
        )
    print_figures(speed, as_json, lambda: printing.print_index_speed(speed))


for command in (
    bench_device, bench_dial, bench_growth, bench_all, bench_start, bench_runtime, bench_train,
):  # fmt: skip
    bench.add_command(command)
