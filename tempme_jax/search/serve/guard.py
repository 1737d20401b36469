"""Refuse requests that could leak private videos, and add security headers to all answers.

The checks guard against:

* DNS rebinding: a site lets its own name point to this machine, so the browser takes the service
  for a part of that site. Only requests for known host names are answered.
* Requests from pages of other sites that the user has open. They are recognised by the headers
  `Sec-Fetch-Site` and `Origin`, which pages cannot forge.
* Requests that change something: only GET and HEAD are answered, and POST at the one address where
  a picture or a clip is posted to search with, which changes nothing on the disk.
* People without the token, if there is one.
* Scripts in names or contents of files: the Content-Security-Policy runs only those of the page.
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
# The key of the scope that says whether a request was refused because too many wait.
REFUSED = "tempme.refused"
# The key of the scope that says whether the body of a request is read, so it may take its time.
ACCEPTED = "tempme.accepted"
ALLOWED_METHODS = ("GET", "HEAD")
# The one address that takes POST.
POSTED_TO = "/api/queries"
# Values of Sec-Fetch-Site for requests of the service's own page and for addresses that are typed.
OWN_SITES = ("same-origin", "none")
log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware that refuses requests, adds `HEADERS` to answers, and hides exceptions.

    Args:
        app: the application.
        hosts: host names, without ports, by which the service may be called.
        token: secret that a visitor has to show: once as /?token=..., after which a cookie stands
            for it, or in every request as `Authorization: Bearer ...`. None for no secret.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], token: str | None):
        self.app = app
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; websockets are closed."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request.

        The text of an exception could reveal paths, so it goes to the log and not to the visitor.
        """
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                scope[REFUSED] = message["status"] == 503
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await (self.check_request(scope) or self.app)(scope, receive, send_with_headers)
        except Exception:
            log.exception("%s could not be answered", scope["path"])
            if started:
                raise
            answer = make_refusal(500, "something went wrong here; the service's log says what")
            await answer(scope, receive, send_with_headers)

    def check_request(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused; None if the application may answer it."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or parse_host_name(hosts[0]) not in self.hosts:
            return make_refusal(
                421,
                "the service is not known by this name; open it by one of "
                f"{', '.join(sorted(self.hosts))}, or start it with this name as an allowed host",
            )
        is_posted = scope["method"] == "POST" and scope["path"] == POSTED_TO
        if scope["method"] not in ALLOWED_METHODS and not is_posted:
            return make_refusal(
                405,
                "the service is read-only: it answers GET and HEAD",
                Allow=", ".join(ALLOWED_METHODS),
            )
        if is_foreign(headers, hosts[0], scope["path"]):
            return make_refusal(403, "a page of another site may not ask this service")
        refusal = None if self.token is None else self.check_token(self.token, scope, headers)
        scope[ACCEPTED] = refusal is None and is_posted
        return refusal

    def check_token(self, token: str, scope: Scope, headers: Headers) -> Response | None:
        """Return None for a visitor with the token or its cookie, else a refusal.

        A token in the address is answered with the cookie and an address without the token, so it
        does not stay in the browser's history.
        """
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if is_same_secret(dict(query).get("token", ""), token):
                rest = [(name, value) for name, value in query if name != "token"]
                return self.give_cookie(token, rest)
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and is_same_secret(shown.strip(), token):
            return None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if is_same_secret(cookie, self.sign_cookie(token)):
            return None
        return make_refusal(
            401,
            "the service needs its token: open /?token=... once, or send it as a bearer",
            **{"WWW-Authenticate": "Bearer"},
        )

    def give_cookie(self, token: str, query: list[tuple[str, str]]) -> Response:
        """Set the cookie and redirect to an address without the token."""
        answer = RedirectResponse("/?" + urlencode(query) if query else "/", status_code=303)
        answer.set_cookie(
            COOKIE, self.sign_cookie(token), httponly=True, samesite="strict", path="/"
        )
        return answer

    @staticmethod
    def sign_cookie(token: str) -> str:
        """Return the value of the cookie, from which nobody can compute the token."""
        return hmac.digest(token.encode(), b"cookie", hashlib.sha256).hex()


def make_refusal(status: int, sentence: str, **headers: str) -> JSONResponse:
    """Make an answer that says what is wrong."""
    # The name of a file in the sentence need not be Unicode.
    sentence = sentence.encode(errors="replace").decode()
    return JSONResponse({"error": sentence}, status, headers)


def is_same_secret(shown: str, wanted: str) -> bool:
    """Compare two secrets in constant time: response times reveal no part of them."""
    first, second = (hashlib.sha256(one.encode()).digest() for one in (shown, wanted))
    return hmac.compare_digest(first, second)


def parse_host_name(host: str) -> str:
    """Return the name in a Host header, lower case, without its port; "" if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises if it is not a port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""


def is_foreign(headers: Headers, host: str, path: str) -> bool:
    """Return True if a page of another site asks; a link to the start page is allowed anywhere."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in OWN_SITES and path != "/":
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()
