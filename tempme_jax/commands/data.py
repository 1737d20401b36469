"""`tempme data`: data sets."""

import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, Group


@click.group(cls=Group)
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
    from tempme_jax.datasets import check

    report = check.examine(
        name, root or f"data/{name}", variant, deep=not quick, workers=workers, progress=True
    )
    check.print_report(report)
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
    from tempme_jax.training.flags import from_flags
    from tempme_jax.training.splits import prepare

    prepare(from_flags([f"--config={config}", *settings]).data)


@data.command("samples")
@click.argument("folder", type=click.Path(file_okay=False))
def data_samples(folder):
    """Write 96 short videos to try a search on.

    They are the test videos of the built-in set, such as "a red circle moves right then up", which
    the model tiny-tempme was trained for. FOLDER is made if it is not there, files that are there
    are kept, and captions.csv beside them says what each of them shows.
    """
    import shlex

    from tempme_jax.datasets import moving_shapes

    videos = moving_shapes.write_samples(folder)
    place = shlex.quote(click.format_filename(folder))
    click.echo(f"{click.format_filename(folder)}: {len(videos)} videos and captions.csv. Next:")
    click.echo(f"  tempme index {place} --model tiny-tempme")
    click.echo(f'  tempme search "{videos[0].captions[0]}" --index {place}')
