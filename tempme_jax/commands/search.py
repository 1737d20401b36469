"""The command `tempme search`, and what commands about an index share."""

import contextlib
import functools
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from tempme_jax.commands.group import USER_ERRORS, Command, Time
from tempme_jax.commands.saving import add_output_options, check_output, show_answer

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
    "The model": ("--rerank", "--tau", "--model", "--runtime", "--int8"),
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
@click.option("--without", metavar="TEXT", help="What is not to be seen; phrases between commas.")
@click.option(
    "--rerank",
    type=click.IntRange(0),
    default=0,
    help="Judge so many of the best moments anew, by a model that can (UMT); slower.",
)
@click.option(
    "--tau",
    type=float,
    help="How a TEXT is compared with the frames of an index made with --per-frame: near 0 the "
    "best frame of a window counts, with inf all alike. Default: what the model learned, else the "
    "mean counts, too.",
)
@click.option("--model", help="New place of the weights, if they have moved.")
@RUNTIME
@INT8
@add_output_options
def search(
    words, place, k, per_video, folder, image, clip, start, end, without, rerank, tau, model,
    runtime, int8, **given,
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
    queries = check_queries(text, image, clip, rerank, tau, without)
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
        if not (model or runtime or int8 or rerank or without or tau is not None):
            answer = ask_server(place, text, k, folder, view["per_video"])
            if answer is not None:
                return answer
        with report_in_one_line():
            videos = open_index()
            if without:
                results = search_without(videos, text, without, k, filters)
            else:
                results = videos.search(text, k, rerank=rerank, tau=tau, **filters)
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


def search_without(videos, text, without, k, filters):
    """Find moments that a text describes, but not what stands between the commas of another."""
    from tempme_jax.search.query.mixing import MixedQuery, split_phrases

    query = MixedQuery(text=text, without=split_phrases(without))
    return videos.search_mixed(query, k, **filters)


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


def check_queries(text, image, clip, rerank, tau, without):
    """Return the queries that were given, at most one; none only if a person can be asked."""
    queries = [query for query in (text, image, clip) if query is not None]
    if len(queries) > 1 or not (queries or is_terminal()):
        raise click.UsageError("give exactly one of TEXT, --image FILE and --clip FILE")
    if rerank and (image is not None or clip is not None):
        raise click.UsageError("--rerank judges how well a TEXT fits; leave it out, or give a TEXT")
    if tau is not None and (image is not None or clip is not None):
        raise click.UsageError("--tau is for a TEXT; leave it out, or give a TEXT")
    if without and (image is not None or clip is not None):
        raise click.UsageError("--without is for a TEXT; leave it out, or give a TEXT")
    if without and (rerank or tau is not None):
        raise click.UsageError(f"give --without or {'--rerank' if rerank else '--tau'}, not both")
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


def answer_prompt(answer):
    """Ask for one text after another and answer each, until an empty line or the end of input."""
    click.echo("Describe what is to be seen, in a sentence; an empty line ends.", err=True)
    while True:
        try:
            text = click.prompt("Search", default="", show_default=False, err=True)
        except click.Abort as error:  # Ctrl-C or Ctrl-D
            click.echo(err=True)
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
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
