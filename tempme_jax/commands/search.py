"""The commands `tempme search` and `tempme serve`, for your own videos."""

import contextlib
import json
import warnings
from collections.abc import Iterator

import click

from tempme_jax.words import pluralize

INDEX = click.option(
    "--index",
    "place",
    help="Path of the index, or of the folder of its videos, or s3:// or gs://. Default: here.",
)


@contextlib.contextmanager
def report_in_one_line() -> Iterator[None]:
    """Report errors and warnings about an index or a query in one line each."""
    from tempme_jax.text.base import TextCutWarning
    from tempme_jax.video.container import VideoError

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TextCutWarning)
            yield
    except VideoError as error:
        raise click.ClickException(str(error)) from error
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)


@click.command()
@click.argument("text", required=False)
@INDEX
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Moments to show.")
@click.option("--in", "folder", type=click.Path(), help="Search only videos in this folder.")
@click.option(
    "--image", type=click.Path(dir_okay=False), help="Search with a picture instead of a text."
)
@click.option(
    "--clip", type=click.Path(dir_okay=False), help="Search with a video instead of a text."
)
@click.option(
    "--from", "start", type=float, default=0.0, help="Start within that video, in seconds."
)
@click.option("--to", "end", type=float, help="End within that video, in seconds.")
@click.option(
    "--rerank",
    type=click.IntRange(0),
    default=0,
    help="Judge so many of the best moments anew, by a model that can (UMT); slower.",
)
@click.option("--model", help="New place of the weights, if they have moved.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(text, place, k, folder, image, clip, start, end, rerank, model, as_json):
    """Find the moments that TEXT describes.

    The index of the current folder (.tempme) is searched unless --index names another. The
    percentile ranks the score of a moment against 256 unrelated sentences searched in the same
    index; below 95 the search says: no confident match.
    """
    if sum(query is not None for query in (text, image, clip)) != 1:
        raise click.UsageError("give exactly one of TEXT, --image FILE and --clip FILE")
    if rerank and text is None:
        raise click.UsageError("--rerank judges how well a TEXT fits; leave it out, or give a TEXT")
    if text is not None and not text.strip():
        raise click.UsageError("the TEXT is empty; describe what is to be seen, in a sentence")
    # These take seconds to import.
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.query import printing

    with report_in_one_line():
        videos = VideoIndex(place or ".", model=model)
        if image is not None:
            results = videos.search_image(image, k, folder=folder)
        elif clip is not None:
            results = videos.search_clip(clip, start, end, k, folder=folder)
        else:
            assert text is not None  # checked above
            results = videos.search(text, k, folder=folder, rerank=rerank)
    if as_json:
        click.echo(json.dumps(printing.convert_to_json(results), indent=1))
    else:
        printing.print_results(results, kind="text" if text is not None else "video")
    if outdated := videos.stats().outdated:
        note = "were read by an older version; run `tempme index FOLDER` to look at them again"
        click.echo(f"Note: {pluralize(outdated, 'file')} {note}", err=True)


@click.command()
@INDEX
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--token", envvar="TEMPME_TOKEN", help="Secret that visitors need; or set TEMPME_TOKEN."
)
@click.option(
    "--allow-host", multiple=True, help="Another host name under which the page is opened."
)
@click.option("--model", help="New place of the weights, if they have moved.")
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
def serve(place, host, port, token, allow_host, model, browse):
    """Search in a web page.

    Only this machine can open the page, unless --host names another address, which needs a --token.
    The server writes no files and connects to no other server.
    """
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.serve import server

    with report_in_one_line():
        videos = VideoIndex(place or ".", model=model)
    server.serve(videos, host=host, port=port, token=token, allow_host=allow_host, browse=browse)
