"""The command `tempme index`, which makes your own videos searchable."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import sys

import click

from tempme_jax.commands.group import INTERRUPTED, PLUGIN, Command
from tempme_jax.commands.search import INT8, RUNTIME, report_in_one_line
from tempme_jax.words import name_program, pluralize

SECONDS = (3600, 60, 1)  # of an hour, a minute, a second
HEADINGS = {
    "How videos are cut and embedded": (
        "--method", "--frames", "--fps", "--overlap", "--per-frame", "--runtime", "--int8",
        "--plugin",
    ),
    "How much of the machine it takes": (
        "--speed", "--workers", "--nice", "--budget", "--shard", "--ray",
    ),
    "Care of an index": ("--verify", "--full-hash", "--rebuild", "--forget"),
    "What is printed": ("--quiet", "--json"),
}  # fmt: skip


def parse_duration(text):
    """Convert a duration such as 2h, 1h30m or 45s to seconds."""
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        numbers = zip(parts.groups() if parts else (), SECONDS, strict=False)
        seconds = sum(float(number) * unit for number, unit in numbers if number)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{text!r} is not a duration; write it like 2h, 1h30m, 90m or 45s")
    return seconds


def parse_multiple(text):
    """Convert a speed such as 2x to a number."""
    from tempme_jax.search.arguments import parse_speed

    try:
        return parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse_shard(text):
    """Convert a part of the videos and the number of parts, such as 0/4, to two numbers."""
    parts = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, of = map(int, parts.groups()) if parts else (0, 0)
    if not number < of:
        raise click.BadParameter(f"{text!r} is not a shard; four shards are 0/4, 1/4, 2/4 and 3/4")
    return number, of


PER_FRAME = click.option(
    "--per-frame",
    is_flag=True,
    help="For a new index: also keep a vector of each frame, in twice about 6 kB a window; then "
    "searches find the second that fits best, and short events.",
)
SPEED = click.option(
    "--speed",
    type=parse_multiple,
    metavar="SPEED",
    help="Embed so many times as fast as the model was trained for, such as 2x, by merging more "
    "tokens. Default: the speed of the index, else 1x.",
)


@click.command(cls=Command, headings=HEADINGS)
@click.argument("folder", type=click.Path())
@click.option(
    "--index",
    "place",
    help="Where to keep the index: a folder, or s3:// or gs://. Default: FOLDER/.tempme.",
)
@click.option(
    "--model",
    help="Weights, as for tempme_jax.load. Default: those of the index, else OpenAI's ViT-B/32.",
)
@click.option("--method", help="Method of the model. Default: that of the weights, else tempme.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    help="Frames per window. Default: those of the model, else 12.",
)
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), help="Frames per second of video. Default: 1."
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of a window that the next one repeats. Default: 0.5.",
)
@PER_FRAME
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that decode. Default: cores - 1. With --ray: number of actors.",
)
@click.option(
    "--nice",
    type=click.IntRange(0, 19),
    default=0,
    help="Give way to other programs, from 0 (not at all) to 19.",
)
@click.option(
    "--budget",
    type=parse_duration,
    metavar="DURATION",
    help="Stop after this time, such as 2h; the next run resumes.",
)
@SPEED
@RUNTIME
@INT8
@click.option("--retry-failed", is_flag=True, help="Try files again that failed before.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files and folders, such as 'private/' or '*.avi', as .gitignore does; may be "
    "given several times. For every run: write the patterns in FOLDER/.tempmeignore.",
)
@click.option(
    "--shard",
    type=parse_shard,
    metavar="I/N",
    help="Index one part of the videos, such as 0/4; run one process per part.",
)
@click.option("--ray", help="Embed on a Ray cluster: its address, or local.")
@click.option("--verify", is_flag=True, help="First check the index, and repair it.")
@click.option(
    "--full-hash",
    is_flag=True,
    help="With --verify: compare all bytes of all files, also of those whose size and time have "
    "not changed.",
)
@click.option("--rebuild", is_flag=True, help="Replace the index, for example for another model.")
@click.option("--forget", is_flag=True, help="Remove FOLDER from the index; deletes no video.")
@PLUGIN
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def index(
    folder, place, model, method, frames, fps, overlap, runtime, int8, per_frame, speed, nice,
    verify, full_hash, rebuild, forget, quiet, as_json, **options,
):  # fmt: skip
    """Make the videos in FOLDER searchable.

    Every video is cut into overlapping windows, and each window is embedded. Run the command again
    to index what is new or has changed, or to resume after an interruption. Vectors from different
    models cannot be compared, so an index accepts only the model it was built with. A FOLDER in one
    that is indexed belongs to that index, which is then brought up to date. Files that
    cannot be read are listed in failed.jsonl in the index. What is left out later is taken out of
    the index.
    """
    from tempme_jax.screen import show_work
    from tempme_jax.search.indexing.walk import require_folder
    from tempme_jax.search.paths import locate_index

    if full_hash and not verify:
        raise click.UsageError("--full-hash belongs to --verify; give both")
    if not (forget or options["ray"]):
        require_folder(folder)  # before the imports that take seconds
    if nice:
        os.nice(nice)
    if options["ray"]:  # an actor may share the accelerator, so neither takes all of its memory
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    whole = folder if place else find_indexed_folder(folder)
    if whole != folder:
        explain_whole(folder, whole, refused=rebuild or forget or bool(options["exclude"]))
        folder = whole
    with show_work("Starting", quiet=quiet), report_in_one_line():
        videos = open_index(
            place or locate_index(folder), model=model, method=method, num_frames=frames,
            fps=fps, overlap=overlap, anew=rebuild, runtime=runtime, int8=int8, speed=speed,
            per_frame=per_frame,
        )  # fmt: skip
    if forget:
        click.echo(f"Removed from the index {videos.uri}: {forget_folder(videos, folder)}")
        return
    if verify and videos.exists:
        verify_first(videos, folder, full_hash=full_hash, quiet=quiet, err=as_json)
    is_new = not videos.exists
    try:
        with treat_sigterm_as_interrupt():
            report = videos.add(folder, quiet=quiet, **options)
    except KeyboardInterrupt:
        click.echo("Interrupted. Run the same command to resume.", err=True)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(report.convert_to_json(), indent=1))
        sys.exit(INTERRUPTED if report.stopped == "Interrupted" else 0)
    print_report(report, videos.uri, options["shard"], is_new=is_new and not quiet)


def find_indexed_folder(folder):
    """Return the folder above, in whose index a folder is; or the folder itself."""
    from tempme_jax.search.paths import find_place

    place = find_place(folder)
    if place.folder is None:
        return folder
    from tempme_jax.search.index import VideoIndex

    folders = [pathlib.Path(each) for each in VideoIndex(place.uri).stats().folders]
    above = pathlib.Path(place.uri).parent
    return str(above) if above in folders else folder


def explain_whole(folder, whole, *, refused):
    """Say that a folder is in the index of the one above; or that an option is not for a part."""
    from tempme_jax.search.paths import locate_index

    name, above = click.format_filename(folder), click.format_filename(whole)
    if refused:
        own = shlex.quote(str(locate_index(folder)))
        raise click.UsageError(
            f"{name} is a part of {above}, which has an index; give --rebuild, --forget and "
            f"--exclude with {above}, or give {name} an index of its own: --index {own}"
        )
    click.echo(f"{name} is a part of {above}, whose index is brought up to date", err=True)


def open_index(place, **options):
    """Open an index, once all that `VideoIndex.add` needs is imported, which takes seconds."""
    import tempme_jax.search.creating
    import tempme_jax.search.indexing.run  # noqa: F401
    from tempme_jax.search.index import VideoIndex

    return VideoIndex(place, **options)


def forget_folder(videos, folder):
    """Take a folder out of an index; return how many videos, and how many other files, it had."""
    before = videos.stats().videos
    files = videos.forget(folder)
    found = before - videos.stats().videos
    failed = f", and {pluralize(files - found, 'file')} that could not be indexed"
    return pluralize(found, "video") + (failed if files > found else "")


def verify_first(videos, folder, *, full_hash, quiet, err):
    """Verify and repair an index, and name the other folders that have to be indexed again.

    `err` says whether to print to standard error.
    """
    found = videos.verify(full_hash=full_hash, quiet=quiet)
    click.echo(found.summary, err=err)
    for other in found.folders:
        if other != pathlib.Path(folder).expanduser().resolve():
            name = click.format_filename(other)
            click.echo(f"Also index {name} again, to embed its files", err=err)


def print_report(report, uri, shard, *, is_new):
    """Print the report of a run, and what to do next; exit with a code if it was interrupted."""
    from tempme_jax.search.indexing.outcome import locate_failures_file
    from tempme_jax.search.paths import is_remote
    from tempme_jax.search.store.locking import DEFAULT_NAME

    click.echo(report.summary)
    if report.failures and not is_remote(uri):
        file = click.format_filename(locate_failures_file(uri, shard))
        click.echo(f"All of them are listed in {file}")
    if is_new and not report.stopped:
        tempme = name_program()
        place = shlex.quote(uri.removesuffix(f"/{DEFAULT_NAME}"))
        click.echo(f'Next: {tempme} search "what is to be seen" --index {place}')
        click.echo(f"  or: {tempme} serve {place} --open")
    if report.stopped == "Interrupted":
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def treat_sigterm_as_interrupt():
    """Treat SIGTERM like Ctrl-C: finished work is stored."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
