"""`tempme index`, `tempme search` and `tempme serve`: videos of one's own."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator

import click

UNITS = {"h": 3600, "m": 60, "s": 1}
INTERRUPTED = 130

INDEX = click.option(
    "--index",
    "place",
    help="Where the index is, or the folder of its videos; s3:// and gs://, too.",
)


class Duration(click.ParamType):
    """A length of time such as 2h, 1h30m or 45s, in seconds."""

    name = "duration"

    def convert(self, value, param, ctx):
        """From text."""
        if isinstance(value, float):
            return value
        parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", value.strip())
        try:
            seconds = sum(
                float(part) * unit
                for part, unit in zip(parts.groups(), UNITS.values(), strict=True)
                if part
            )
        except (AttributeError, ValueError):
            seconds = 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no length of time; it is like 2h, 1h30m, 90m or 45s")
        return seconds


class Shard(click.ParamType):
    """Which of how many parts, such as 0/4."""

    name = "i/n"

    def convert(self, value, param, ctx):
        """From text."""
        if isinstance(value, tuple):
            return value
        parts = re.fullmatch(r"(\d+)/(\d+)", value.strip())
        number, of = map(int, parts.groups()) if parts else (0, 0)
        if not number < of:
            self.fail(f"{value!r} is no part; of four parts they are 0/4, 1/4, 2/4 and 3/4")
        return number, of


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--index",
    "place",
    help="Where to keep it: a folder, or s3:// or gs://. Default: FOLDER/.tempme.",
)
@click.option(
    "--model",
    help="Weights, as for tempme_jax.load. Default: that of the index, else OpenAI's ViT-B/32.",
)
@click.option("--method", help="Of the model. Default: what the weights say, else tempme.")
@click.option(
    "--frames", type=click.IntRange(1), help="Of a window. Default: of the model, else 12."
)
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames a second. Default: 1.")
@click.option(
    "--overlap", type=click.FloatRange(0, 1, max_open=True), help="Of windows. Default: 0.5."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that decode. Default: cores - 1. With --ray: actors.",
)
@click.option(
    "--nice",
    type=click.IntRange(0, 19),
    default=0,
    help="Give way to other programs: 0 (no) to 19.",
)
@click.option(
    "--budget", type=Duration(), help="Stop after this time, such as 2h; go on next time."
)
@click.option("--retry-failed", is_flag=True, help="Try files again that failed before.")
@click.option(
    "--shard", type=Shard(), help="Do one part of the videos, such as 0/4; one process each."
)
@click.option("--ray", help="Embed on a Ray cluster: its address, or local.")
@click.option("--verify", is_flag=True, help="Check the index first, and repair what can be.")
@click.option("--rebuild", is_flag=True, help="Make the index anew, as for another model.")
@click.option("--forget", is_flag=True, help="Take FOLDER out of the index; touches no video.")
@click.option("--quiet", is_flag=True, help="No progress.")
def index(
    folder, place, model, method, frames, fps, overlap, workers, nice, budget, retry_failed, shard,
    ray, verify, rebuild, forget, quiet,
):  # fmt: skip
    """Make videos in FOLDER searchable.

    Cuts every video into overlapping windows and embeds each. Run it again, and only what is new,
    changed, moved or gone is looked at; whatever ended a run, the next one goes on. What could not
    be read is listed in failed.jsonl in the index.
    """
    from tempme_jax.search import paths
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.indexing.run import failures_file

    os.nice(nice)
    if ray:  # an actor may have the same accelerator: neither takes all of its memory
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    place = place or paths.index_of(folder)
    videos = VideoIndex(
        place, model=model, method=method, num_frames=frames, fps=fps, overlap=overlap, anew=rebuild
    )
    if forget:
        click.echo(f"Taken out of the index {videos.uri}: {videos.forget(folder)} files")
        return
    if verify and videos.exists:
        found = videos.verify(quiet=quiet)
        click.echo(found.summary)
        for other in found.folders:
            if other != pathlib.Path(folder).expanduser().resolve():
                click.echo(f"To embed them anew, index {click.format_filename(other)}, too")
    is_new = not videos.exists
    try:
        with interrupted_politely():
            report = videos.add(
                folder, workers=workers, retry_failed=retry_failed, shard=shard, budget=budget,
                ray=ray, quiet=quiet,
            )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on.", err=True)
        sys.exit(INTERRUPTED)
    click.echo(report.summary)
    if report.failures and not paths.is_remote(videos.uri):
        click.echo(f"All of them: {click.format_filename(failures_file(videos.uri, shard))}")
    if is_new and not (report.stopped or quiet):
        at = shlex.quote(videos.uri)
        click.echo(f'Next: tempme search "what is to be seen" --index {at}')
        click.echo(f"  or: tempme serve --open --index {at}")
    if report.stopped == "Interrupted":
        sys.exit(INTERRUPTED)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """What is wrong with a query, or with what is asked for, is said in a line."""
    from tempme_jax.text.bpe import TextCutWarning
    from tempme_jax.video.container import VideoError

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", TextCutWarning)
            yield
    except VideoError as error:
        raise click.ClickException(str(error)) from error
    for warning in said:
        click.echo(f"Warning: {warning.message}", err=True)


@contextlib.contextmanager
def interrupted_politely():
    """What ends a process politely is as Ctrl-C: what is done is stored."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@click.argument("text", required=False)
@INDEX
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Moments to show.")
@click.option("--in", "folder", type=click.Path(), help="Only videos in this folder.")
@click.option("--image", type=click.Path(dir_okay=False), help="Search with a picture instead.")
@click.option("--clip", type=click.Path(dir_okay=False), help="Search with a video instead.")
@click.option("--from", "start", type=float, default=0.0, help="Where the clip begins, in seconds.")
@click.option("--to", "end", type=float, help="Where it ends. Default: at the end.")
@click.option("--model", help="Weights, if they lie elsewhere now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(text, place, k, folder, image, clip, start, end, model, as_json):
    """Find the moments that TEXT describes.

    In the index of this folder (.tempme) unless --index names one. The percentile says how a
    moment compares with the best that unrelated texts reach in this index.
    """
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.query import printing

    if sum(query is not None for query in (text, image, clip)) != 1:
        raise click.UsageError("give a TEXT, or --image FILE, or --clip FILE, and one of them")
    videos = VideoIndex(place or ".", model=model)
    with one_line():
        if image is not None:
            results = videos.search_image(image, k, folder=folder)
        elif clip is not None:
            results = videos.search_clip(clip, start, end, k, folder=folder)
        else:
            results = videos.search(text, k, folder=folder)
    if as_json:
        click.echo(json.dumps(printing.as_object(results), indent=1))
    else:
        printing.print_results(results)


@click.command()
@INDEX
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen at; 0 takes any that is free.",
)
@click.option("--token", envvar="TEMPME_TOKEN", help="What a visitor must know; or TEMPME_TOKEN.")
@click.option("--allow-host", multiple=True, help="Another name by which the page is opened.")
@click.option("--model", help="Weights, if they lie elsewhere now.")
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
def serve(place, host, port, token, allow_host, model, browse):
    """Search in a web page.

    It runs on this machine only; another --host needs a --token. It writes nothing, and asks
    nothing of any other server.
    """
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.serve import server

    videos = VideoIndex(place or ".", model=model)
    server.serve(videos, host=host, port=port, token=token, allow_host=allow_host, browse=browse)
