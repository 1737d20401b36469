"""The command `tempme mcp`, by which an assistant searches your videos."""

import sys

import click

from tempme_jax.commands.search import INDEX, INT8, RUNTIME, find_place, report_in_one_line


@click.command("mcp")
@click.argument("folder", required=False)
@INDEX
@click.option("--model", help="New place of the weights, if they have moved.")
@RUNTIME
@INT8
def serve_assistant(folder, place, model, runtime, int8):
    """Let an assistant search your videos (Model Context Protocol).

    An assistant's program starts this command, and talks to it on stdin and stdout; FOLDER, or
    --index, says what it may search: an indexed folder, or one in it. It can search, look at frames
    of what was found and count what is indexed. It can change nothing, and sees no file but the
    indexed videos. Needs the extra [mcp].
    """
    try:
        import mcp.server.mcpserver  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"this needs the package {error.name}, which is not installed: "
            "pip install 'tempme-jax[mcp]'"
        ) from error
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.mcp.server import make_server

    with report_in_one_line():
        uri, within = find_place(place, folder)
        index = VideoIndex(uri, model=model, runtime=runtime, int8=int8)
    if sys.stdin.isatty():
        click.echo(
            "An assistant's program starts this command and talks to it; Ctrl-C ends.", err=True
        )
    make_server(index, within).run()
