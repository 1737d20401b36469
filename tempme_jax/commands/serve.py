"""The command `tempme serve`: search in a web page."""

import click

from tempme_jax.commands.search import INDEX, INT8, RUNTIME, find_place, report_in_one_line


@click.command()
@click.argument("folder", required=False, type=click.Path())
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
@RUNTIME
@INT8
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
def serve(folder, place, host, port, token, allow_host, model, runtime, int8, browse):
    """Search in a web page.

    FOLDER is a folder of videos that is indexed; without it, the index is that of the current
    folder or of one above it. Only this machine can open the page, unless --host names another
    address, which needs a --token. The server connects to no other server, and writes nothing but
    previews and clips in the user's cache, and a socket in the folder of the index, at which it
    also answers `tempme search` of the same user.
    """
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.serve import server

    uri, within = find_place(place, folder)
    if within is not None:
        click.echo(f"{within} lies in an indexed folder, whose videos are all served", err=True)
    with report_in_one_line():
        videos = VideoIndex(uri, model=model, runtime=runtime, int8=int8)
    server.serve(videos, host=host, port=port, token=token, allow_host=allow_host, browse=browse)
