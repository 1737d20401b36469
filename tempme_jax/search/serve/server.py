"""Run the search page and its API, `tempme serve`. The service changes no video and no index."""

import ipaddress
import os
import socket
import warnings
import webbrowser
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from packaging.version import Version
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from tempme_jax.checks import require_whole
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.serve import local
from tempme_jax.search.serve.connections import IDLE_SECONDS, LimitedProtocol
from tempme_jax.search.serve.guard import Guard, make_refusal
from tempme_jax.search.serve.routes import add_routes
from tempme_jax.search.serve.schemas import ErrorAnswer
from tempme_jax.search.serve.service import Service
from tempme_jax.text.base import TextCutWarning
from tempme_jax.version import __version__
from tempme_jax.video.container import VideoError

if TYPE_CHECKING:  # the module imports the database
    from tempme_jax.search.index import VideoIndex

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "TEMPME_TOKEN"
# In older versions one Range header keeps the process busy for hours (CVE-2025-62727).
OLDEST_STARLETTE = "0.49.1"
# Most bytes of a request's head. The longest query, 20,000 escaped characters, needs most of it.
LONGEST_HEAD = 256 * 1024


def create_application(
    index: "VideoIndex", *, token: str | None = None, hosts: Sequence[str] = LOOPBACK
) -> FastAPI:
    """Make the service, an ASGI application.

    Args:
        index: the index to search.
        token: the secret that every visitor has to show, see `guard`; None for no secret.
        hosts: host names, without ports, by which the service may be called.

    Raises:
        RuntimeError: if the installed Starlette is too old to serve videos safely.
    """
    require_starlette()
    app = FastAPI(
        title="tempme search",
        version=__version__,
        openapi_url="/api/openapi.json",
        # FastAPI's documentation pages load scripts from other servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}},
    )
    app.state.service = Service(index)
    add_routes(app)
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
    """Serve the page and its API until Ctrl+C.

    Args:
        index: the index to search; it must exist.
        host: address to listen at.
        port: port to listen at; 0 for any free one.
        token: the secret that every visitor has to show; by default the value of the environment
            variable TEMPME_TOKEN. Other addresses than this machine's own need one.
        allow_host: more host names by which the service may be called.
        browse: open the page in a browser of this machine.

    Raises:
        ValueError: if others can reach the address and there is no token.
        VideoIndexError: if there is no index.
        OSError: if the port is taken, or the address is not one of this machine.
    """
    require_whole("port", port, least=0)
    allow_host = [allow_host] if isinstance(allow_host, str) else allow_host
    token = (token or os.environ.get(TOKEN, "")).strip() or None
    require_token(host, token)
    if not index.exists:
        _ = index.store  # raises
    app = create_application(index, token=token, hosts=(*LOOPBACK, host, *allow_host))
    with (
        listen(host, port) as listening,
        local.answer_searches(app.state.service),
        warnings.catch_warnings(),
    ):
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
        once = "" if token is None else " (the first time with ?token=... at its end)"
        click.echo(f"Open {address}{once}; Ctrl+C ends it")
        if browse:  # connections wait until the server runs
            webbrowser.open(address if token is None else f"{address}?token={quote(token)}")
        # The answer has this warning, too; in a log it would reveal the query.
        warnings.simplefilter("ignore", TextCutWarning)
        try:
            uvicorn.Server(make_server_config(app)).run(sockets=[listening])
        except KeyboardInterrupt:
            click.echo("ended")


def make_server_config(app: FastAPI) -> uvicorn.Config:
    """Configure the server. It logs no addresses of requests, as they contain the queries."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        timeout_keep_alive=IDLE_SECONDS,
        access_log=False,
        # Uvicorn's own logging setup would close absl's handler and with it standard error.
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_graceful_shutdown=2,
    )


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens at an address.

    Raises:
        OSError: if the port is taken, or the address is not one of this machine.
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
    """Raise a ValueError if people on other machines could ask without a token."""
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
    """Raise a RuntimeError if the installed Starlette is older than `OLDEST_STARLETTE`."""
    version = metadata.version("starlette")
    if Version(version) < Version(OLDEST_STARLETTE):
        raise RuntimeError(
            f"starlette {version} is not safe; install starlette>={OLDEST_STARLETTE}"
        )


async def answer_http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of HTTP with its sentence."""
    assert isinstance(error, HTTPException)
    plain = error.detail in ("Not Found", "Method Not Allowed")
    sentence = "there is nothing at this address" if plain else error.detail
    return make_refusal(error.status_code, sentence, **(error.headers or {}))


async def answer_invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer with the name of the parameter that is wrong and what it may be."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return make_refusal(422, f"there is no parameter {str(first['loc'][-1])[:100]!r} here")
    return make_refusal(422, f"{first['loc'][-1]}={str(first['input'])[:100]!r}: {first['msg']}")


async def answer_index_error(_: Request, error: Exception) -> JSONResponse:
    """Answer with what is wrong with the index or with a video."""
    return make_refusal(503, str(error))
