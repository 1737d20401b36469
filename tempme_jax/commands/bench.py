"""`tempme bench`: costs and speeds."""

import dataclasses
import functools
import json
import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, Group


@click.group(cls=Group)
def bench():
    """Costs and speeds, measured here or counted."""


@bench.command("costs")
@click.option(
    "--table",
    "tables",
    type=int,
    multiple=True,
    help="Only this table of the paper; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows as JSON.")
def bench_costs(tables, as_json):
    """Count costs, beside those of the paper's tables.

    Parameters that train, multiply-accumulates of one video, and tokens that are left.
    """
    from tempme_jax.bench import printing
    from tempme_jax.compare import paper

    rows = paper.rows_of(tables)
    with click.progressbar(rows, label="Counting", file=sys.stderr) as bar:
        counted = [paper.count_row(row) for row in bar]
    if as_json:
        click.echo(json.dumps([row.as_json() for row in counted], indent=1))
    else:
        printing.print_costs(counted)


@bench.command("data", context_settings=PASSED_ON)
@CONFIG
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="To measure.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@OVERRIDES
def bench_data(config, steps, as_json, settings):
    """Measure how fast training batches are read.

    Alone, and with the device at work. CONFIG and SETTINGS are those of a training, such as
    configs/moving_shapes.py:tempme --config.data.workers=2.
    """
    from tempme_jax.bench import data, printing
    from tempme_jax.training.flags import from_flags

    speed = data.measure(from_flags([f"--config={config}", *settings]), steps)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(speed), indent=1))
    else:
        printing.print_data_speed(speed)


@bench.command("runs")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
@click.option("--batch", type=click.IntRange(1), help="Videos a call. Default: as embedding does.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Calls each.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the rows as JSON here.")
def bench_runs(workdirs, batch, rounds, out):
    """Measure how many videos a second trained models encode.

    In turns, in one run; compared with the first of WORKDIRS.
    """
    import pathlib

    from tempme_jax.bench import encode, printing
    from tempme_jax.loading import load
    from tempme_jax.model import video_batch

    batch = batch or video_batch()
    speeds = encode.encode_models(
        {workdir: functools.partial(load, workdir) for workdir in workdirs},
        batch=batch,
        rounds=rounds,
        report=functools.partial(click.echo, err=True),
    )
    printing.print_encode_speeds(speeds, f"{batch} videos a call", encode.product_speed())
    if out:
        rows = [dataclasses.asdict(speed) for speed in speeds]
        pathlib.Path(out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


@bench.command("encode")
@click.option("--methods", default="clip,tempme", show_default=True, help="Separated by commas.")
@click.option(
    "--backbone", default="ViT-B/32", show_default=True, help="ViT-B/32, ViT-B/16 or ViT-L/14."
)
@click.option("--frames", type=click.IntRange(1), default=12, show_default=True, help="Of a video.")
@click.option(
    "--batch", type=click.IntRange(1), help="Videos a call. Default: as many as embedding takes."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=7, show_default=True, help="Calls of a method."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the activations.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows as JSON.")
def bench_encode(methods, backbone, frames, batch, rounds, dtype, as_json):
    """Measure how many videos a second methods encode.

    In turns, in one run, with random weights; compared with the first of them.
    """
    from tempme_jax.bench import encode, printing
    from tempme_jax.model import video_batch

    batch = batch or video_batch()
    speeds = encode.encode(
        [method.strip() for method in methods.split(",")],
        backbone=backbone,
        num_frames=frames,
        batch=batch,
        rounds=rounds,
        dtype=dtype,
        report=functools.partial(click.echo, err=True),
    )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(speed) for speed in speeds], indent=1))
    else:
        title = f"{backbone}, {frames} frames, {batch} videos a call, {dtype}"
        printing.print_encode_speeds(speeds, title, encode.product_speed())


@bench.command("search")
@click.option(
    "--windows", type=click.IntRange(1), default=100_000, show_default=True, help="To search in."
)
@click.option(
    "--queries", type=click.IntRange(1), default=1000, show_default=True, help="To search for."
)
@click.option(
    "--width", type=click.IntRange(1), default=512, show_default=True, help="Of a vector."
)
@click.option(
    "--fetch",
    type=click.IntRange(10),
    default=200,
    show_default=True,
    help="Windows for a query; 200 are what ten moments take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench_search(windows, queries, width, fetch, as_json):
    """Measure how fast an index is searched.

    In memory, as up to 200,000 windows are, and by the database's own index, as more are. The
    vectors are random, in clusters.
    """
    from tempme_jax.bench import printing, search

    speed = search.measure(
        windows, queries, width, fetch, report=functools.partial(click.echo, err=True)
    )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(speed), indent=1))
    else:
        printing.print_search_speed(speed)


@bench.command("index")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False),
    help="Of videos: all of them are indexed, elsewhere. Default: videos that are made.",
)
@click.option(
    "--videos",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="To make, without --folder.",
)
@click.option(
    "--model",
    default="ViT-B/32",
    show_default=True,
    help="A backbone, with random weights; or weights, as for tempme_jax.load.",
)
@click.option("--method", help="Of the model. Default: what the weights say, else tempme.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode. Default: cores - 1."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench_index(folder, videos, model, method, workers, as_json):
    """Measure how fast videos are indexed.

    And whether decoding or embedding takes the time. The videos that are made last 10 seconds, 30
    frames of 320 x 240 pixels each, as H.264.
    """
    import contextlib
    import pathlib
    import tempfile

    from tempme_jax.bench import index, printing

    with contextlib.ExitStack() as stack:
        if not folder:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tempme-bench-"))
            made = index.made_videos(pathlib.Path(folder), videos)
            with click.progressbar(made, videos, "Making videos", file=sys.stderr) as bar:
                for _ in bar:
                    pass
        speed = index.measure(
            folder,
            index.model_of(model, method),
            workers=workers,
            report=functools.partial(click.echo, err=True),
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(speed), indent=1))
    else:
        printing.print_index_speed(speed)
