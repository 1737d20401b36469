"""`tempme data`: check, download and prepare data sets."""

import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, PLUGIN, Group


@click.group(cls=Group)
def data():
    """Check, download and prepare data sets."""


@data.command("doctor")
@click.argument("name")
@click.option(
    "--root",
    type=click.Path(file_okay=False),
    help="Folder with annotations/ and videos/. Default: data/NAME.",
)
@click.option("--variant", default="", help="Variant of the data set, such as 7k of msrvtt.")
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes. Default: one per core."
)
@click.option("--quick", is_flag=True, help="Only look for the files; decode none.")
@PLUGIN
def data_doctor(name, root, variant, workers, quick):
    """Check the files of data set NAME.

    List the missing and the damaged videos of each split, and what to do about them.
    """
    from tempme_jax.datasets import check

    report = check.check_data_set(
        name, root or f"data/{name}", variant, deep=not quick, workers=workers, progress=True
    )
    check.print_report(report)
    sys.exit(1 if report.advice else 0)


@data.command("download")
@click.argument("name", type=click.Choice(["msrvtt"]))
@click.option(
    "--root", type=click.Path(file_okay=False), help="Folder to download to. Default: data/NAME."
)
def data_download(name, root):
    """Download the public files of data set NAME."""
    import pathlib

    from tempme_jax.datasets import msrvtt

    msrvtt.download(pathlib.Path(root or f"data/{name}"))


@data.command("prepare", context_settings=PASSED_ON)
@CONFIG
@PLUGIN
@OVERRIDES
def data_prepare(config, settings):
    """Decode the videos of a data set once, and store their frames.

    CONFIG is the config file of a run, such as configs/msrvtt.py; SETTINGS change it, such as
    --config.data.root=FOLDER. Training prepares the data set, too, if that is not done. After an
    interruption, the same command resumes.
    """
    from tempme_jax.training.flags import parse_flags
    from tempme_jax.training.splits import prepare_data

    prepare_data(parse_flags([f"--config={config}", *settings]).data)


@data.command("samples")
@click.argument("folder", type=click.Path(file_okay=False))
def data_samples(folder):
    """Write 96 short videos to try a search on.

    They are the test videos of the built-in data set, for which the model tiny-tempme was trained,
    such as "a red circle moves right then up". FOLDER is created if needed, and existing files are
    kept. A file captions.csv in it lists what each video shows.
    """
    import shlex

    from tempme_jax.datasets import moving_shapes

    videos = moving_shapes.write_samples(folder)
    place = shlex.quote(click.format_filename(folder))
    click.echo(f"{click.format_filename(folder)}: {len(videos)} videos and captions.csv. Next:")
    click.echo(f"  tempme index {place} --model tiny-tempme")
    click.echo(f'  tempme search "{videos[0].captions[0]}" --index {place}')
