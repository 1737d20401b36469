"""The commands of `tempme bench` that measure a machine: start, training, devices, all of them."""

import json

import click

from tempme_jax.commands.bench_shared import (
    AS_JSON,
    print_figures,
    report_progress,
)
from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON


@click.command("device")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=4.0,
    help="About how long it may take; cases for which no time is left are named.",
)
@AS_JSON
def bench_device(minutes, as_json):
    """Measure this machine's first device: GPU, TPU or CPU.

    Prints the speed of encoding and of a training step, their share of the speed of a plain matrix
    product, memory, seconds to compile, and how well vectors agree with the CPU's. On a CPU a
    reduced set is measured.
    """
    report_progress("Starting")
    from tempme_jax.bench import device, device_cases, printing

    found = device.measure_device(limit=60 * minutes * device.SHARE, report=report_progress)
    notes = list(device_cases.list_problems(found))
    print_figures(found, as_json, lambda: printing.print_device(found, notes))


@click.command("growth")
@click.option("--frames", default="12,24,48,96,128", help="Frames of a video, with a batch of 1.")
@click.option("--batches", default="1,2,4,8,16", help="Videos in a call, with the fewest frames.")
@click.option("--backbone", default="ViT-B/32", help="ViT-B/32, ViT-L/14, UMT-B/16, ...")
@click.option("--method", default="tempme", help="Method of the model.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Calls of each.")
@AS_JSON
def bench_growth(frames, batches, backbone, method, rounds, as_json):
    """Measure whether the time of encoding grows as its arithmetic.

    Prints seconds beside multiply-accumulates, and by how much they lie off a straight line.
    """
    counts, sizes = parse_counts("--frames", frames), parse_counts("--batches", batches)
    report_progress("Starting")
    from tempme_jax.bench import growth, printing

    found = growth.measure_growth(
        counts, sizes, backbone=backbone, method=method, rounds=rounds, report=report_progress
    )
    print_figures(found, as_json, lambda: printing.print_growth(found))


def parse_counts(option, text):
    """Convert numbers that are separated by commas."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise click.UsageError(f"{option} {text!r} must be whole numbers of 1 or more, as in 1,2,4")
    return counts


@click.command("all")
@click.option(
    "--only", help="Names of benchmarks, separated by commas. Default: all that there are."
)
@click.option(
    "--history",
    type=click.Path(dir_okay=False),
    default="benchmarks/history.jsonl",
    help="File to add the record to; a plot of it is drawn beside it.",
)
@click.option(
    "--page",
    type=click.Path(dir_okay=False, exists=True),
    help="Page in Markdown whose figures to replace, such as docs/benchmarks.md; the plot is drawn "
    "beside it, too.",
)
@AS_JSON
@click.pass_context
def bench_all(context, only, history, page, as_json):
    """Run all benchmarks, each small and in a process of its own.

    The record holds commands, figures, the machine, the date and all versions. It is added to a
    history, a line of JSON for each run, of which a plot is drawn. What cannot run is skipped, and
    the record says why.
    """
    import pathlib

    from tempme_jax.bench import history as records
    from tempme_jax.checks import require_one_of

    names = [name.strip() for name in only.split(",")] if only else list(records.BENCHMARKS)
    for name in names:
        require_one_of(name, records.BENCHMARKS, "benchmark")
    file = pathlib.Path(history)
    before = records.read_history(file) if file.exists() else []  # a damaged one is said at once
    chosen = {name: records.BENCHMARKS[name] for name in names}
    known = set(context.parent.command.list_commands(context))
    record = records.run_benchmarks(chosen, known, show=show_benchmark)
    records.append_record(file, record)
    from tempme_jax.bench import plot
    from tempme_jax.bench.page import update_page

    picture = file.with_suffix(".png")
    plot.plot_history([*before, record], picture)
    if page:
        update_page(pathlib.Path(page), record)
        plot.plot_history([*before, record], pathlib.Path(page).with_suffix(".png"))
    if as_json:
        click.echo(json.dumps(record, indent=1))
    else:
        from tempme_jax.bench import printing

        printing.print_record(record)
    click.echo(
        f"Added to {click.format_filename(file)}; plot: {click.format_filename(picture)}", err=True
    )


def show_benchmark(name):
    """Show that a benchmark is being run."""
    from tempme_jax.screen import show_work

    return show_work(f"tempme bench {name}")


@click.command("start")
@click.option(
    "--model",
    default="tiny-tempme",
    help="Model that embeds the query, as for `tempme index`; or ViT-B/32, ViT-B/16, ViT-L/14 for "
    "random weights.",
)
@click.option("--runtime", type=click.Choice(["jax", "onnx"]), help="What runs it. Default: jax.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Runs of each command.")
@AS_JSON
def bench_start(model, runtime, rounds, as_json):
    """Measure how long commands take from their start to their end.

    Runs help, mistakes and searches in fresh processes, with a cache of their own.
    """
    report_progress("Starting")
    from tempme_jax.bench import printing, start

    times = start.measure_start(model, rounds, runtime=runtime, report=report_progress)
    print_figures(times, as_json, lambda: printing.print_start_times(times))


@click.command("runtime")
@click.option(
    "--backbone",
    default="ViT-B/32",
    help="ViT-B/32, ViT-B/16 or ViT-L/14 with random weights, or weights as for tempme_jax.load.",
)
@click.option("--method", default="tempme", help="Method of the model.")
@click.option("--frames", type=click.IntRange(1), default=12, help="Frames of a video.")
@click.option("--batch", type=click.IntRange(1), default=1, help="Videos in a call.")
@click.option("--rounds", type=click.IntRange(1), default=11, help="Calls of each.")
@AS_JSON
def bench_runtime(backbone, method, frames, batch, rounds, as_json):
    """Measure a model in JAX, and in ONNX Runtime in float32 and int8.

    Each runs in a process of its own, and they take turns. Prints seconds, memory, and how well
    the vectors agree.
    """
    from tempme_jax.screen import show_work

    with show_work("Starting"):
        from tempme_jax.bench import runtimes

    speeds = runtimes.measure_runtimes(
        backbone=backbone,
        method=method,
        num_frames=frames,
        batch=batch,
        pairs=rounds,
        report=report_progress,
    )
    title = f"{method}, {backbone}, {frames} frames, {batch} videos a call, on the CPU"
    print_figures(speeds, as_json, lambda: runtimes.print_runtimes(speeds, title))


@click.command("train", context_settings=PASSED_ON)
@CONFIG
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of another checkout of tempme_jax, which takes turns with this one.",
)
@click.option("--steps", type=click.IntRange(1), default=3, help="Steps of a version in a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Rounds of steps.")
@AS_JSON
@OVERRIDES
def bench_train(config, against, steps, rounds, as_json, settings):
    """Measure training steps and their memory.

    The batches are drawn, so no data are needed: `tempme bench data` measures reading them. CONFIG
    and SETTINGS are those of a training, such as configs/moving_shapes.py:tempme
    --config.train.batch_size=32. Without pretrained weights a model of any size is measured:
    configs/msrvtt.py:tempme --config.model.weights= --config.model.architecture.depth=12
    """
    report_progress("Starting")
    from tempme_jax.bench import printing, train

    speeds = train.measure_training(
        [f"--config={config}", *settings],
        against=against,
        steps=steps,
        rounds=rounds,
        report=report_progress,
    )
    print_figures(speeds, as_json, lambda: printing.print_train_speeds(speeds))
