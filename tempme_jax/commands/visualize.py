"""`tempme visualize`: pictures of merged tokens."""

import click

from tempme_jax.commands.group import PLUGIN


@click.command()
@click.argument("video", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--weights",
    "--model",
    "weights",
    default="openai/clip-vit-base-patch32",
    show_default=True,
    help="File, workdir or Hugging Face repository; tiny-clip comes with the package.",
)
@click.option("--methods", help="Separated by commas. Default: that of the weights, else tempme.")
@click.option(
    "--frames", type=click.IntRange(1), help="Frames taken. Default: as for the weights, else 12."
)
@click.option(
    "--out",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False),
    help="A .png, .mp4 or .html file; may be given several times. Default: NAME.merged.png here.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@PLUGIN
def visualize(video, weights, methods, frames, files, overwrite):
    """Show which patches of VIDEO are merged.

    Patches of one token have one colour in all frames. The result is a picture, a film, or a page
    to click on.
    """
    import pathlib

    from tempme_jax.screen import show_work

    with show_work("Starting"):
        from tempme_jax.video.container import VideoError
        from tempme_jax.visualize import merged, writing

    path = pathlib.Path(video)
    files = files or (f"{path.stem}.merged.png",)
    writing.check_files(files, overwrite=overwrite)
    names = [method.strip() for method in methods.split(",")] if methods else None
    try:
        with show_work("Reading the video, and merging its tokens"):
            shown = merged.trace_methods(weights, path, methods=names, num_frames=frames)
    except VideoError as error:
        raise click.ClickException(str(error)) from error
    for one in shown:
        click.echo(one.summary)
    for file in files:
        with show_work(f"Drawing {click.format_filename(file)}"):
            writing.write_tokens(shown, file, title=path.name)
        click.echo(f"{click.format_filename(file)}: written")
