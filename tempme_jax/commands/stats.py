"""The command `tempme stats`: what an index holds."""

import dataclasses
import datetime
import json
import os
import shlex

import click

from tempme_jax.commands.search import INDEX, find_place, report_in_one_line
from tempme_jax.words import format_duration, format_size, pluralize, printable_name

# Files that could not be indexed, of which so many are shown.
SHOWN = 5


@click.command("stats")
@click.argument("folder", required=False, type=click.Path())
@INDEX
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all files that failed.")
def show_stats(folder, place, as_json):
    """Say what an index holds, and by what it was made.

    Files, hours, model, last run, size, and what could not be read. FOLDER is a folder of videos;
    without it, the index is that of the current folder or of one above it. In a folder below the
    indexed one, only its files are counted.
    """
    from tempme_jax.search.state import IndexState
    from tempme_jax.search.stats import compute_stats, list_failures

    uri, within = find_place(place, folder)
    with report_in_one_line():
        reader = IndexState(uri, anew=False).reader
        found, failures = compute_stats(reader, within), list_failures(reader, within)
    if as_json:
        given = dataclasses.asdict(found) | {
            name: getattr(found, name) for name in ("last_run", "subtitles", "size")
        }
        listed = [
            {"file": os.fsdecode(path), "stage": stage, "reason": reason}
            for path, stage, reason in failures
        ]
        click.echo(json.dumps(given | {"failures": listed}, indent=1))
        return
    for name, told in describe(found, within):
        click.echo(f"{name:<9} {told}")
    for path, _, reason in failures[:SHOWN]:
        click.echo(f"  {printable_name(path)}: {reason}")
    if len(failures) > SHOWN:
        click.echo(f"  and {len(failures) - SHOWN} more; --json lists all")


def describe(found, within):
    """Yield names and what there is to say of them."""
    windows, hours = pluralize(found.windows, "window"), format_duration(3600 * found.hours)
    yield "Index", click.format_filename(found.address)
    folders = [within] if within else found.folders
    yield from (("Folder", click.format_filename(each)) for each in folders)
    yield "Videos", f"{pluralize(found.videos, 'file')}, {hours}, {windows}"
    if found.subtitles:
        yield "Subtitles", pluralize(found.subtitles, "text")
    elif found.subtitles is None:
        yield "Subtitles", "damaged: tempme index FOLDER --verify repairs them"
    yield "Failed", pluralize(found.failed, "file")
    model = found.model or "passed by a program"
    sampling = f"{found.frames} frames at {found.fps:g} per second, {found.overlap:.0%} overlap"
    speed = "another speed" if found.speed is None else f"{found.speed:g}x the trained speed"
    method = found.method if found.speed == 1 else f"{found.method} at {speed}"
    yield "Model", f"{model} ({method}; windows of {sampling})"
    if found.last_run:
        when = datetime.datetime.fromisoformat(found.last_run).astimezone()
        yield "Last run", f"{when:%Y-%m-%d %H:%M}"
    if found.size is not None:
        yield "Size", format_size(found.size)
    if found.outdated:
        files = pluralize(found.outdated, "file")
        again = " ".join(shlex.quote(str(each)) for each in found.folders[:1])
        yield "Older", f"{files} read by an older version: tempme index {again} looks at them again"
