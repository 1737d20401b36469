"""Who may ask the search service, and the headers that all its answers have.

The service shows private videos, so that a page of another site must not read them through the
browser of whoever uses it, neither by a request of its own nor by a name that it lets point to this
machine (DNS rebinding); and what a file is called or holds must not run as a script.
"""

import hashlib
import hmac
import logging
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
COOKIE = "tempme"
METHODS = ("GET", "HEAD")
# What a browser says of requests that its user, or a page of the service itself, has made.
OWN_SITES = ("same-origin", "none")
log = logging.getLogger(__name__)


class Guard:
    """Wraps an application: refuses what it must not answer, and adds HEADERS to the rest.

    Args:
        app: the application.
        hosts: the names, without ports, by which the service may be called.
        token: what everybody has to show, once as /?token=... or always as a bearer; None for
            nothing. What goes wrong in the application becomes an answer, too.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], token: str | None):
        self.app = app
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request of HTTP."""
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await (self.refusal(scope) or self.app)(scope, receive, send_with_headers)
        except Exception:
            log.exception("%s could not be answered", scope["path"])
            if started:
                raise
            answer = refused(500, "something went wrong here; the service's log says what")
            await answer(scope, receive, send_with_headers)

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that the application must not see; None for others."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_name(hosts[0]) not in self.hosts:
            return refused(
                421,
                "the service is not known by this name; open it by one of "
                f"{', '.join(sorted(self.hosts))}, or start it with this name as an allowed host",
            )
        if scope["method"] not in METHODS:
            return refused(405, "the service only shows: GET and HEAD", Allow=", ".join(METHODS))
        if is_foreign(headers, hosts[0], scope["path"]):
            return refused(403, "a page of another site may not ask this service")
        return None if self.token is None else self.unknown(scope, headers)

    def unknown(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to somebody who shows no token, or who shows it in the address."""
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if same(dict(query).get("token", ""), self.token):
                return self.welcome([(name, value) for name, value in query if name != "token"])
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(shown.strip(), self.token):
            return None
        if same(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), self.sign()):
            return None
        return refused(
            401,
            "the service wants its token: open /?token=... once, or send it as a bearer",
            **{"WWW-Authenticate": "Bearer"},
        )

    def welcome(self, query: list[tuple[str, str]]) -> Response:
        """Gives a cookie, and leads to an address without the token."""
        answer = RedirectResponse("/?" + urlencode(query) if query else "/", status_code=303)
        answer.set_cookie(COOKIE, self.sign(), httponly=True, samesite="strict", path="/")
        return answer

    def sign(self) -> str:
        """What the cookie holds: it tells nobody the token."""
        return hmac.digest(self.token.encode(), b"cookie", hashlib.sha256).hex()


def refused(status: int, sentence: str, **headers: str) -> JSONResponse:
    """An answer that says what is wrong."""
    # A sentence may name a file, whose name need not be Unicode.
    sentence = sentence.encode(errors="replace").decode()
    return JSONResponse({"error": sentence}, status, headers)


def same(shown: str, wanted: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    first, second = (hashlib.sha256(one.encode()).digest() for one in (shown, wanted))
    return hmac.compare_digest(first, second)


def host_name(host: str) -> str:
    """The name in a Host header, lower case, without the port; empty if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        # Reading the port is what checks it.
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""


def is_foreign(headers: Headers, host: str, path: str) -> bool:
    """Whether a page of another site asks. A link to the page itself may stand anywhere."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in OWN_SITES and path != "/":
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()
