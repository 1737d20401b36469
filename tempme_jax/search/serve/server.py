"""The search page and its API: `tempme serve`. It shows videos and writes nothing."""

import ipaddress
import os
import re
import socket
import threading
import warnings
import webbrowser
from collections.abc import Sequence
from importlib import metadata, resources
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.serve.guard import Guard, refused
from tempme_jax.search.serve.schemas import Error
from tempme_jax.search.serve.service import Service
from tempme_jax.text.bpe import TextCutWarning
from tempme_jax.version import __version__
from tempme_jax.video.container import VideoError

if TYPE_CHECKING:  # the module imports the database
    from tempme_jax.search.index import VideoIndex

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "TEMPME_TOKEN"
# Before it, one header made Starlette compute for hours (CVE-2025-62727).
OLDEST_STARLETTE = (0, 49, 1)
# Bytes of the head of a request: a query of 20,000 characters, each escaped, is much of it.
LONGEST_HEAD = 256 * 1024
PAGE = resources.files("tempme_jax.search.serve") / "page"
PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def application(
    index: "VideoIndex", *, token: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> FastAPI:
    """The service, as an ASGI application.

    Args:
        index: what it searches.
        token: what everybody has to show (see `guard`); None: nothing.
        hosts: names, without ports, by which it may be called.

    Raises:
        RuntimeError: the installed Starlette is too old to serve videos safely.
    """
    require_starlette()
    app = FastAPI(
        title="tempme search",
        version=__version__,
        openapi_url="/api/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": Error}, "5XX": {"model": Error}},
    )
    app.state.service = Service(index)
    add_routes(app, app.state.service)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(VideoIndexError, answer_index_error)
    app.add_exception_handler(VideoError, answer_index_error)
    app.add_middleware(Guard, hosts=hosts, token=token)
    return app


def serve(
    index: "VideoIndex",
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    allow_host: Sequence[str] = (),
    browse: bool = False,
) -> None:
    """Serves the page and its API until it is interrupted.

    Args:
        index: what is searched; it must have been made.
        host: the address to listen at.
        port: 0 takes any that is free.
        token: what everybody has to show; by default what the environment's TEMPME_TOKEN says.
            Needed where others than the users of this machine can ask.
        allow_host: more names by which the service may be called.
        browse: whether to open the page in a browser of this machine.

    Raises:
        ValueError: an address that others can reach, without a token.
        VideoIndexError: there is no index.
        OSError: nothing can listen at the address and port.
    """
    token = (token or os.environ.get(TOKEN, "")).strip() or None
    require_token(host, token)
    # Raises if there is none.
    _ = index.store
    app = application(index, token=token, hosts=(*LOOPBACK, host, *allow_host))
    with listen(host, port) as listening, warnings.catch_warnings():
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
        once = "" if token is None else " (the first time with ?token=... at its end)"
        click.echo(f"Open {address}{once}; Ctrl+C ends it")
        threading.Thread(target=app.state.service.warm, daemon=True).start()
        if browse:  # it waits until somebody answers
            webbrowser.open(address if token is None else f"{address}?token={quote(token)}")
        # The answer says so, and the log would tell what was searched for.
        warnings.simplefilter("ignore", TextCutWarning)
        try:
            uvicorn.Server(settings(app)).run(sockets=[listening])
        except KeyboardInterrupt:
            click.echo("ended")


def settings(app: FastAPI) -> uvicorn.Config:
    """How it is served. No log has the addresses that were asked for: they tell queries."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        access_log=False,
        # Its own would close the handlers that others have set up, and absl's closes its stream.
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_graceful_shutdown=2,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"the service cannot listen at port {port} of {host} ({reason}); "
            "give another port, or 0 for any that is free"
        ) from error


def require_token(host: str, token: str | None) -> None:
    """Raises a ValueError if others than this machine's users could ask without a token."""
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own and token is None:
        raise ValueError(
            f"host={host!r} can be reached by others, who would see all videos: give a token, or "
            f"set {TOKEN}, or serve at 127.0.0.1"
        )


def require_starlette() -> None:
    """Raises a RuntimeError if Starlette is too old."""
    version = metadata.version("starlette")
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST_STARLETTE:
        oldest = ".".join(map(str, OLDEST_STARLETTE))
        raise RuntimeError(f"starlette {version} is not safe; install starlette>={oldest}")


def add_routes(app: FastAPI, service: Service) -> None:
    """Connects addresses to what answers them."""
    add(app, "/api/search", service.search)
    add(app, "/api/similar/{window}", service.similar)
    add(app, "/api/folders", service.folders)
    add(app, "/api/stats", service.stats)
    add(app, "/media/{file_id}", service.media, "video/*")
    add(app, "/thumbnail/{window}", service.thumbnail, "image/jpeg")
    add(app, "/merged/{window}", service.merged, "image/png")
    files = {file.name: file.read_bytes() for file in PAGE.iterdir() if file.is_file()}

    async def page(name: str = "search.html") -> Response:
        if name not in files:
            raise HTTPException(404)
        kind = PAGE_TYPES.get(os.path.splitext(name)[1], "application/octet-stream")
        return Response(files[name], headers={"Cache-Control": "no-cache"}, media_type=kind)

    async def start() -> Response:
        return await page()

    for path, answer in (("/", start), ("/page/{name}", page)):
        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)


def add(app: FastAPI, path: str, answer, content: str | None = None) -> None:
    """Adds an address, for GET and for HEAD."""
    given = {}
    if content is not None:
        given = {"response_class": Response, "responses": {200: {"content": {content: {}}}}}
    app.add_api_route(path, answer, methods=["GET"], **given)
    app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False, **given)


async def answer_http_error(_: Request, error: HTTPException) -> JSONResponse:
    """Says what is wrong with a request."""
    plain = error.detail in ("Not Found", "Method Not Allowed")
    return refused(error.status_code, "there is nothing at this address" if plain else error.detail)


async def answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """Says which parameter cannot be read, and what it may be."""
    first = error.errors()[0]
    return refused(422, f"{first['loc'][-1]}={str(first['input'])[:100]!r}: {first['msg']}")


async def answer_index_error(_: Request, error: Exception) -> JSONResponse:
    """Says what is wrong with the index, or with a video."""
    return refused(503, str(error))
