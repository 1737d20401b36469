"""The `tempme` command."""

import sys

import click

from tempme_jax.commands.bench import bench
from tempme_jax.commands.data import data
from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, Group
from tempme_jax.commands.search import index, search, serve
from tempme_jax.version import __version__


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
    from tempme_jax.weights.convert import convert_file

    convert_file(source, target, activation=activation, layout=layout, overwrite=overwrite)
    click.echo(f"{target}: open it with tempme_jax.load({target!r})")


@main.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON.")
def show_doctor(as_json):
    """Say what is ready here, and what is missing.

    Libraries, devices, caches, decoders and optional parts, with the command that gets what is
    missing. Ends with exit code 1 if that is something that is needed.
    """
    from tempme_jax import doctor

    report = doctor.examine()
    text = doctor.as_json(report) if as_json else doctor.as_text(report)
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.exit(0 if report.ready else 1)


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
    from tempme_jax.compare import runs as comparison
    from tempme_jax.compare import tables

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
    from tempme_jax.training.results import print_results, read_results

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

    from tempme_jax.video.container import VideoError
    from tempme_jax.visualize import merged

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


main.add_command(index)
main.add_command(search)
main.add_command(serve)
main.add_command(data)
main.add_command(bench)

if __name__ == "__main__":
    main()
