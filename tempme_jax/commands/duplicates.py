"""The command `tempme duplicates`: videos and moments of an index that show the same."""

import json
import os

import click

from tempme_jax.commands.search import INDEX, find_place, report_in_one_line
from tempme_jax.words import format_clock, format_size, pluralize, printable_name

# Groups that are printed.
SHOWN = 50
EXPLANATION = (
    "Equal bytes are certain. What looks alike does so to the model: each window has a cosine of "
    "{threshold:g} or more with one of the first video, as copies in another size or quality have, "
    "and sometimes two films of one fixed camera. Look before you delete."
)


@click.command("duplicates")
@click.argument("folder", required=False, type=click.Path())
@INDEX
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.98,
    show_default=True,
    help="Least cosine of windows that are alike; lower finds more, also what is not the same.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all groups.")
def show_duplicates(folder, place, threshold, as_json):
    """List videos and moments that show the same.

    The vectors of the index are compared, and the contents of its files; no video is read, none is
    changed. FOLDER is a folder of videos; without it, the index is that of the current folder or of
    one above it. In a folder below the indexed one, only its files are compared.
    """
    from tempme_jax.screen import show_work
    from tempme_jax.search.duplicates.groups import find_duplicates
    from tempme_jax.search.state import IndexState

    uri, within = find_place(place, folder)
    with report_in_one_line(), show_work("Comparing", quiet=as_json):
        found = find_duplicates(IndexState(uri, anew=False).reader, threshold, within)
    if as_json:
        click.echo(json.dumps(found.convert_to_json(), indent=1))
        return
    print_duplicates(found)


def print_duplicates(found):
    """Print groups of videos, then moments that videos share, and what is certain."""
    for number, group in enumerate(found.groups[:SHOWN], 1):
        click.echo(f"{number}. {pluralize(len(group), 'video')}")
        for video in group:
            about = ", ".join([describe_length(video), format_size(video.size), *describe(video)])
            click.echo(f"   {printable_name(os.fsencode(video.file))}  ({about})")
    if found.shared:
        click.echo("Moments that look alike in videos that differ:")
    for group in found.shared[:SHOWN]:
        click.echo(f"   {pluralize(len(group), 'moment')}, {describe_cosine(group[-1].score)}")
        for each in group:
            span = f"{format_clock(each.start)}-{format_clock(each.end)}"
            click.echo(f"      {span}  {printable_name(os.fsencode(each.file))}")
    if found.notice:
        click.echo(f"Note: {found.notice}", err=True)
    hidden = sum(max(0, len(each) - SHOWN) for each in (found.groups, found.shared))
    if hidden:
        click.echo(f"and {hidden} more groups; --json lists all")
    if not (found.groups or found.shared):
        click.echo(f"Of {pluralize(found.searched, 'video')}, no two show the same.")
        return
    click.echo(summarize(found))
    click.echo(EXPLANATION.format(threshold=found.threshold))


def summarize(found):
    """Say how many videos repeat others, and how much space they take."""
    others = [video for group in found.groups for video in group[1:]]
    size = format_size(sum(video.size for video in others))
    copies = sum(video.kind == "copy" for video in others)
    repeating = "1 repeats another" if len(others) == 1 else f"{len(others)} repeat others"
    return (
        f"Of {pluralize(found.searched, 'video')}, {repeating} ({size}): "
        f"{copies} by their bytes, {len(others) - copies} by their looks."
    )


def describe_cosine(least):
    """Say how alike windows are, by the least of their cosines; none exceeds 1."""
    return f"cosine {least:.3f}" + (" or more" if least < 0.9995 else "")


def describe_length(video):
    """Return the length of a video as on a clock."""
    return format_clock(video.seconds)


def describe(video):
    """Yield what a video has to do with the first of its group."""
    if video.kind == "copy":
        yield "equal bytes"
    elif video.kind == "same":
        yield f"looks alike from start to end, {describe_cosine(video.score)}"
    elif video.kind == "part":
        span = f"{format_clock(video.start)}-{format_clock(video.end)}"
        yield f"looks like {span} of the first, {describe_cosine(video.score)}"
