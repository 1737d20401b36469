"""The command `tempme watch`: index what comes to a folder."""

import os
import time
from pathlib import Path

import click

from tempme_jax.commands.index import (
    PER_FRAME,
    SPEED,
    parse_duration,
    treat_sigterm_as_interrupt,
)


def parse_hours(text):
    """Convert hours such as 22-6."""
    from tempme_jax.search.watching.hours import Hours

    try:
        return Hours.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--index", "place", help="Where the index is kept: a folder. Default: FOLDER/.tempme."
)
@click.option("--model", help="Weights for a new index, as of `tempme index`.")
@PER_FRAME
@SPEED
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode. Default: cores - 1."
)
@click.option(
    "--nice",
    type=click.IntRange(0, 19),
    default=10,
    show_default=True,
    help="Give way to other programs, from 0 (not at all) to 19.",
)
@click.option(
    "--hours",
    type=parse_hours,
    metavar="FROM-TO",
    help="Index only in these hours of the day, such as 22-6; what is begun resumes then.",
)
@click.option(
    "--settle",
    type=parse_duration,
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="Index a file once it has not changed for so long.",
)
@click.option(
    "--every",
    type=parse_duration,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Look at the whole folder so often, even if nothing was noticed.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out files, as of `tempme index`."
)
@click.option("--poll", is_flag=True, help="Look again and again, as network drives need.")
def watch(
    folder, place, model, per_frame, speed, workers, nice, hours, settle, every, exclude, poll
):
    """Index what comes to FOLDER, until Ctrl-C.

    What is there is indexed first. A file that comes is indexed once it has stopped growing. Each
    run is a process of its own; one that fails is tried again later. A line tells of each event.
    """
    from tempme_jax.search.indexing.walk import require_folder
    from tempme_jax.search.watching.runs import IndexRunner
    from tempme_jax.search.watching.watcher import FolderWatcher, watch_changes

    require_folder(folder)
    folder = Path(folder).expanduser().resolve()
    os.nice(nice)
    given = {"index": place, "model": model, "speed": speed, "workers": workers}
    arguments = [str(folder), *(["--per-frame"] if per_frame else [])]
    arguments += [f"--{name}={value}" for name, value in given.items() if value is not None]
    runner = IndexRunner([*arguments, *(f"--exclude={pattern}" for pattern in exclude)])
    watcher = FolderWatcher(
        folder, runner.run, settle=settle, every=every, hours=hours, say=say_line
    )
    say_line(f"watching {click.format_filename(folder)}; Ctrl-C ends")
    try:
        with treat_sigterm_as_interrupt():
            for changes in watch_changes(folder, poll=poll):
                watcher.step(changes)
    except KeyboardInterrupt:
        say_line("ended; what was done is kept")


def say_line(line):
    """Print a line with the time."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")
