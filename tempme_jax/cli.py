"""The `tempme` command."""

import dataclasses
import functools
import json
import sys

import click

from tempme_jax.options import nearest
from tempme_jax.version import __version__

# What goes wrong by what the user gave: shown without a traceback.
USER_ERRORS = (ValueError, OSError)


class Group(click.Group):
    """Commands that report a user's mistake in one line, and suggest names for mistyped ones."""

    def resolve_command(self, ctx, args):
        """Finds the command, or names those most like it."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = nearest(args[0], self.list_commands(ctx))
            listed = ", ".join(self.list_commands(ctx))
            ctx.fail(f"there is no command {args[0]!r}{hint}; there are: {listed}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tempme")
def main():
    """Efficient text-video retrieval in JAX: CLIP with temporal token merging."""


@main.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--activation",
    type=click.Choice(["quick_gelu", "gelu"]),
    help="Of the MLPs. Default: gelu for LaCLIP's file name, else quick_gelu.",
)
@click.option(
    "--layout",
    type=click.Choice(["tempme_jax", "openai", "huggingface", "published"]),
    help="Names and forms of the arrays in TARGET. Default: those of SOURCE.",
)
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def convert(source, target, activation, layout, overwrite):
    """Make a .safetensors file of CLIP weights.

    SOURCE is a .pt, .pth or .bin file of PyTorch (OpenAI's archives, too), read without PyTorch
    and without running anything in it, or a .safetensors file. A checkpoint of the published
    TempMe code keeps what it trained.
    """
    from tempme_jax.conversion import convert_file

    convert_file(source, target, activation=activation, layout=layout, overwrite=overwrite)
    click.echo(f"{target}: open it with tempme_jax.load({target!r})")


@main.command()
@click.argument("workdir", type=click.Path(exists=True, file_okay=False))
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--backbone", is_flag=True, help="Write a plain CLIP, with what was learned folded in."
)
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def export(workdir, target, backbone, overwrite):
    """Write what was trained to one .safetensors file.

    With its backbone; WORKDIR is the folder of the run.
    """
    import os

    from tempme_jax.loading import load

    if os.path.exists(target) and not overwrite:
        raise ValueError(f"{target} exists; give another name, or --overwrite")
    load(workdir).save(target, backbone=backbone)
    click.echo(f"{target}: open it with tempme_jax.load({target!r})")


CONFIG = click.argument("config")
OVERRIDES = click.argument("settings", nargs=-1, type=click.UNPROCESSED)
PASSED_ON = {"ignore_unknown_options": True}


@main.command(context_settings=PASSED_ON)
@CONFIG
@click.option(
    "--methods", help="By commas, or all. Default: lora,tome,tempme; of a table: its own."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option(
    "--data",
    type=click.Path(dir_okay=False),
    help="For a table: config of the data set. Default: the built-in set.",
)
@click.option(
    "--recipe",
    type=click.Choice(["own", "shared"]),
    help="Every method's own, or one for all. Default: as the config of the data set does.",
)
@click.option(
    "--workdir", type=click.Path(file_okay=False), help="Default: workdir/compare-<config>."
)
@click.option("--speeds/--no-speeds", default=True, help="Measure encoding, too. Default: yes.")
@OVERRIDES
def compare(config, methods, seeds, data, recipe, workdir, speeds, settings):
    """Train methods with several seeds; print one table.

    Each is trained and evaluated in a process of its own, and a plot is saved, too. CONFIG is that
    of a data set, such as configs/moving_shapes.py, or a table of the paper, such as
    configs/tables/table2.py, whose figures are printed beside. SETTINGS such as
    --config.train.steps=100 hold for all. What was finished before in the same workdir is not run
    again; what was interrupted goes on.
    """
    from tempme_jax import compare as comparison
    from tempme_jax import tables

    config, entries, name = tables.chosen(config, methods, data, recipe)
    workdir = workdir or f"workdir/compare-{name}"
    code = comparison.run(
        config, entries, seeds, workdir=workdir, overrides=settings, speeds=speeds
    )
    sys.exit(code)


@main.command("results")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
def show_results(workdirs):
    """Print the results of finished runs in one table."""
    from tempme_jax.results import print_results, read_results

    print_results([read_results(workdir) for workdir in workdirs])


@main.command()
@click.argument("video", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--weights",
    default="openai/clip-vit-base-patch32",
    show_default=True,
    help="File, workdir or Hugging Face repository; tiny-clip comes with the package.",
)
@click.option("--methods", help="By commas. Default: that of the weights, else tempme.")
@click.option(
    "--frames", type=click.IntRange(1), help="Of the video. Default: as the weights say, else 12."
)
@click.option(
    "--out",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False),
    help="A .png, .mp4 or .html file; may be given several times. Default: NAME.merged.png here.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def visualize(video, weights, methods, frames, files, overwrite):
    """Show which patches of VIDEO methods merge.

    Patches that end up in one token have one colour, in all frames: as a picture, as a film, or
    as a page to click on.
    """
    import pathlib

    from tempme_jax import visualize as merged
    from tempme_jax.container import VideoError

    path = pathlib.Path(video)
    files = files or (f"{path.stem}.merged.png",)
    merged.check_files(files, overwrite=overwrite)
    names = [method.strip() for method in methods.split(",")] if methods else None
    try:
        shown = merged.compare(weights, path, methods=names, num_frames=frames)
    except VideoError as error:
        raise click.ClickException(str(error)) from error
    for one in shown:
        click.echo(one.summary)
    for file in files:
        merged.write(shown, file, title=path.name)
        click.echo(f"{click.format_filename(file)}: written")


@main.group(cls=Group)
def data():
    """Data sets: what is there, and what is missing."""


@data.command("doctor")
@click.argument("name")
@click.option(
    "--root", type=click.Path(file_okay=False), help="annotations/ and videos/. Default: data/NAME."
)
@click.option("--variant", default="", help="Of the data set, such as 7k of msrvtt.")
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: one for every core.")
@click.option("--quick", is_flag=True, help="Only look for the files, do not decode any.")
def data_doctor(name, root, variant, workers, quick):
    """List what of data set NAME is missing or corrupt.

    Beside what is expected and found, and with what to do.
    """
    from tempme_jax.datasets import doctor

    report = doctor.examine(
        name, root or f"data/{name}", variant, deep=not quick, workers=workers, progress=True
    )
    doctor.print_report(report)
    sys.exit(1 if report.advice else 0)


@data.command("download")
@click.argument("name", type=click.Choice(["msrvtt"]))
@click.option("--root", type=click.Path(file_okay=False), help="Where to. Default: data/NAME.")
def data_download(name, root):
    """Fetch the public files of data set NAME."""
    import pathlib

    from tempme_jax.datasets import msrvtt

    msrvtt.download(pathlib.Path(root or f"data/{name}"))


@data.command("prepare", context_settings=PASSED_ON)
@CONFIG
@OVERRIDES
def data_prepare(config, settings):
    """Decode the videos of a data set once.

    As CONFIG says, such as configs/msrvtt.py; training does so, too. SETTINGS are such as
    --config.data.root=FOLDER. When it is interrupted, the same command goes on.
    """
    from tempme_jax.config import from_flags
    from tempme_jax.data import prepare

    prepare(from_flags([f"--config={config}", *settings]).data)


@main.group(cls=Group)
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
    from tempme_jax import paper, reports

    rows = paper.rows_of(tables)
    with click.progressbar(rows, label="Counting", file=sys.stderr) as bar:
        counted = [paper.count_row(row) for row in bar]
    if as_json:
        click.echo(json.dumps([row.as_json() for row in counted], indent=1))
    else:
        reports.print_costs(counted)


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
    from tempme_jax import benchmark_data, reports
    from tempme_jax.config import from_flags

    speed = benchmark_data.measure(from_flags([f"--config={config}", *settings]), steps)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(speed), indent=1))
    else:
        reports.print_data_speed(speed)


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

    from tempme_jax import benchmark, reports
    from tempme_jax.loading import load
    from tempme_jax.model import video_batch

    batch = batch or video_batch()
    speeds = benchmark.encode_models(
        {workdir: functools.partial(load, workdir) for workdir in workdirs},
        batch=batch,
        rounds=rounds,
        report=functools.partial(click.echo, err=True),
    )
    reports.print_encode_speeds(speeds, f"{batch} videos a call", benchmark.product_speed())
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
    from tempme_jax import benchmark, reports
    from tempme_jax.model import video_batch

    batch = batch or video_batch()
    speeds = benchmark.encode(
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
        reports.print_encode_speeds(speeds, title, benchmark.product_speed())


if __name__ == "__main__":
    main()
