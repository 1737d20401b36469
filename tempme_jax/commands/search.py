"""The command `tempme search`, and what commands about an index share."""

import contextlib
import functools
import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from tempme_jax.commands.group import USER_ERRORS, Command, Time
from tempme_jax.commands.saving import add_output_options, check_output, save_results
from tempme_jax.words import pluralize

if TYPE_CHECKING:
    from tempme_jax.search.query.results import Results

INDEX = click.option(
    "--index",
    "place",
    help="Path of the index, or of the folder of its videos, or s3:// or gs://. Default: that of "
    "the current folder or of one above it.",
)

RUNTIME = click.option(
    "--runtime",
    type=click.Choice(["jax", "onnx"]),
    help="What runs the model: JAX, or ONNX Runtime on the CPU, in less memory; the first use "
    "exports the model. Default: that of the index, else jax.",
)
INT8 = click.option(
    "--int8",
    is_flag=True,
    help="Compute with 8-bit whole numbers in ONNX Runtime, which is faster and less exact.",
)


@contextlib.contextmanager
def collect_later() -> Iterator[None]:
    """Collect no garbage meanwhile: imports make a lot of objects and hardly any garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def report_in_one_line() -> Iterator[None]:
    """Report errors and warnings about an index or a query in one line each."""
    from tempme_jax.text.warning import TextCutWarning
    from tempme_jax.video.errors import VideoError

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TextCutWarning)
            yield
    except VideoError as error:
        raise click.ClickException(str(error)) from error
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"Warning: {message}", err=True)


HEADINGS = {
    "A picture or a video in place of the text": ("--image", "--clip", "--from", "--to"),
    "What is printed": ("--per-video", "--format", "--json"),
    "What is saved": ("--save", "--reel", "--overwrite"),
    "The model": ("--rerank", "--model", "--runtime", "--int8"),
}


@click.command(cls=Command, headings=HEADINGS)
@click.argument("words", metavar="[TEXT]...", nargs=-1)
@INDEX
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Moments to show.")
@click.option(
    "--per-video",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Most moments of one video; 0 for any number.",
)
@click.option(
    "--in", "folder", type=click.Path(), help="Search only videos in this folder, or one video."
)
@click.option(
    "--image", type=click.Path(dir_okay=False), help="Search with a picture instead of a text."
)
@click.option(
    "--clip", type=click.Path(dir_okay=False), help="Search with a video instead of a text."
)
@click.option(
    "--from", "start", type=Time(), default=0.0, help="Start within that video, such as 1:30."
)
@click.option("--to", "end", type=Time(), help="End within that video.")
@click.option(
    "--rerank",
    type=click.IntRange(0),
    default=0,
    help="Judge so many of the best moments anew, by a model that can (UMT); slower.",
)
@click.option("--model", help="New place of the weights, if they have moved.")
@RUNTIME
@INT8
@add_output_options
def search(
    words, place, k, per_video, folder, image, clip, start, end, rerank, model, runtime, int8,
    **given,
):  # fmt: skip
    """Find the moments that TEXT describes.

    TEXT is one or more words, with or without quotes. The index of the current folder (.tempme), or
    of a folder above it, is searched unless --index names another; in a folder below the indexed
    one, only its videos. Each moment is called a strong, possible or weak match, by how many of 256
    unrelated sentences score lower in the same index; if no match is strong, at most three weak
    ones are shown unless -k is given. Without TEXT, a terminal asks for one after another. Where
    `tempme serve` of the same index runs on this machine, it is asked.
    """
    text = join_words(words)
    queries = check_queries(text, image, clip, rerank)
    output = check_output(**given)
    chosen = click.get_current_context().get_parameter_source("k")
    view = {"everything": chosen is not ParameterSource.DEFAULT, "per_video": per_video or None}
    place, within = find_place(place)
    if within is not None and folder is None:
        folder = within
        click.echo(f"In {click.format_filename(folder)}, of the index {place}", err=True)

    filters = {"folder": folder, "per_video": per_video or None}

    @functools.cache  # a search that a server answers needs none of it
    def open_index():
        from tempme_jax.search.index import VideoIndex

        return VideoIndex(place, model=model, runtime=runtime, int8=int8)

    @collect_later()
    def search_text(text):
        if not (model or runtime or int8 or rerank):
            answer = ask_server(place, text, k, folder, view["per_video"])
            if answer is not None:
                return answer
        with report_in_one_line():
            videos = open_index()
            results = videos.search(text, k, rerank=rerank, **filters)
        return Answer(results, videos.stats().outdated)

    if not queries:
        answer_prompt(lambda text: show_answer(search_text(text), view, output, open_index))
    elif text is not None:
        show_answer(search_text(text), view, output, open_index)
    else:
        with report_in_one_line():
            videos = open_index()
            if image is not None:
                results = videos.search_image(image, k, **filters)
            else:
                results = videos.search_clip(clip, start, end, k, **filters)
        answer = Answer(results, videos.stats().outdated)
        show_answer(answer, view, output, open_index)


def join_words(words):
    """Return the text of some words; None if there are none."""
    *others, last = words or ("",)
    if others and os.sep in last and os.path.isdir(os.path.expanduser(last)):
        raise click.UsageError(f"{last} is a folder; to search in it, write --index {last}")
    return " ".join(words) if words else None


def find_place(given, folder=None):
    """Return the index that is meant by --index and a folder, and the part of it."""
    from tempme_jax.search import paths

    if given and folder:
        raise click.UsageError("give FOLDER or --index, not both")
    return paths.find_place(given or folder)


def check_queries(text, image, clip, rerank):
    """Return the queries that were given, at most one; none only if a person can be asked."""
    queries = [query for query in (text, image, clip) if query is not None]
    if len(queries) > 1 or not (queries or is_terminal()):
        raise click.UsageError("give exactly one of TEXT, --image FILE and --clip FILE")
    if rerank and (image is not None or clip is not None):
        raise click.UsageError("--rerank judges how well a TEXT fits; leave it out, or give a TEXT")
    if text is not None and not text.strip():
        raise click.UsageError("the TEXT is empty; describe what is to be seen, in a sentence")
    return queries


class Answer(NamedTuple):
    """What a search found.

    Attributes:
        results: the results.
        outdated: number of files that an older version read.
        answered_by: "search", or "serve" if a server answered.
    """

    results: "Results"
    outdated: int
    answered_by: str = "search"


def ask_server(uri, text, k, folder, per_video):
    """Return the answer of the server of an index; None if there is none."""
    from tempme_jax.search import paths
    from tempme_jax.search.query.results import convert_from_json
    from tempme_jax.search.serve import local

    if paths.is_remote(uri):
        return None
    answer = local.ask(uri, text, k, folder, per_video)
    if answer is None:
        return None
    if answer["warning"]:
        click.echo(f"Warning: {answer['warning']}", err=True)
    return Answer(convert_from_json(answer["results"]), answer["outdated"], "serve")


def show_answer(answer, view, output, open_index):
    """Print what was found, and save it if that is asked for.

    `view` holds arguments of `print_results`. `open_index` opens the index; it is called only to
    save something.
    """
    saved, failed = None, 0
    if output.format != "json":
        print_answer(answer, view, output.format)
    if output.saves and (answer.results.moments or answer.results.said):
        saved, failed = save_results(open_index(), answer.results, output, view["everything"])
    if output.format == "json":
        print_json(answer, saved)
    if answer.outdated:
        note = "were read by an older version; run `tempme index FOLDER` to look at them again"
        click.echo(f"Note: {pluralize(answer.outdated, 'file')} {note}", err=True)
    if failed:
        raise click.ClickException(f"{pluralize(failed, 'moment')} could not be saved, see above")


def print_answer(answer, view, name):
    """Print what was found as a table, or in another format for other programs."""
    from tempme_jax.search.query import printing

    if name == "table":
        printing.print_results(answer.results, **view)
        return
    from tempme_jax.search.saving.lists import FORMATS

    # Names of files that are no text keep their bytes.
    text = FORMATS[name](answer.results, everything=view["everything"])
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
    for note in filter(None, (answer.results.message, answer.results.notice)):
        click.echo(f"Note: {note}", err=True)


def print_json(answer, saved):
    """Print what was found as JSON, and what was saved of it."""
    from tempme_jax.search.query import results

    converted = results.convert_to_json(answer.results) | {"answered_by": answer.answered_by}
    if saved is not None:
        converted["saved"] = saved
    click.echo(json.dumps(converted, indent=1))


def answer_prompt(answer):
    """Ask for one text after another and answer each, until an empty line or the end of input."""
    click.echo("Describe what is to be seen, in a sentence; an empty line ends.", err=True)
    while True:
        try:
            text = click.prompt("Search", default="", show_default=False, err=True)
        except click.Abort:  # Ctrl-C or Ctrl-D
            click.echo(err=True)
            return
        if not text.strip():
            return
        try:
            answer(text)
        except click.ClickException as error:
            error.show()
        except USER_ERRORS as error:
            click.ClickException(str(error)).show()


def is_terminal():
    """Return whether a person types and reads."""
    return sys.stdin.isatty() and sys.stdout.isatty()
