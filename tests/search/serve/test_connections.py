"""Nobody keeps others from being answered: not by many connections, slow ones, or many searches."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_index import FakeIndex, serving

from tempme_jax.search.serve import connections, queues, server, service

BEACH = f"{0:024x}"
STATS = b"GET /api/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    library = FakeIndex(tmp_path_factory.mktemp("top") / "videos")
    with (library.root / "big.mp4").open("wb") as file:
        file.truncate(2**30)
    library.paths["b16"] = library.root / "big.mp4"
    return library


@pytest.fixture(scope="module")
def app(library):
    return server.create_application(library)


@pytest.fixture(scope="module")
def port(app):
    with serving(app) as port:
        yield port


@pytest.fixture
def connect(port):
    """Connect and send something; all connections are closed afterwards."""
    with contextlib.ExitStack() as stack:

        def connect(first=b""):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            one.sendall(first)
            return one

        yield connect


def receive(connection):
    """All that is sent until the end; a connection that is reset counts as ended."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def ask(connect, target, *headers):
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return receive(connect(b"\r\n".join([*lines, b"", b""])))


SLOW = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: local",
    "half a body": STATS[:-2] + b"Content-Length: 100\r\n\r\nabc",
    "a second head": STATS + b"GET / HT",
    "chunks": STATS[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.parametrize("what", SLOW)
@pytest.mark.parametrize("dribbles", [False, True])
def test_requests_that_do_not_arrive_are_ended(connect, what, dribbles, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    began, one = time.monotonic(), connect(SLOW[what])
    if dribbles:
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 1:
                one.sendall(b"a")
                time.sleep(0.02)
    received = receive(one)
    assert time.monotonic() - began < 1
    assert received.count(b"200 OK") == SLOW[what].count(b"/api/stats")


def test_connections_without_a_request_make_room(connect, monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    monkeypatch.setattr(connections, "CLOSED_AT_ONCE", 3)
    waiting = [connect(SLOW["half a head"]) for _ in range(60)]
    for _ in range(5):
        assert b"200 OK" in ask(connect, b"/api/search?q=x")
    for one in waiting:
        one.settimeout(0.01)
    ended = 0
    for one in waiting:
        try:
            ended += one.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            ended += 1
    assert ended >= 40


def test_those_who_are_answered_keep_their_place(connect, library, monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)
    library.go_on.clear()
    try:
        busy = [
            connect(b"GET /api/search?q=slow HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in "abc"
        ]
        time.sleep(0.2)
        refused = receive(connect())
        assert refused.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in refused
    finally:
        library.go_on.set()
    assert all(b"200 OK" in one.recv(65536) for one in busy)


def test_a_visitor_who_reads_nothing_is_disconnected(connect, app, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(app.state.service, "streams", queues.Places(3))
    slow = [connect(b"GET /media/b16 HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in "abc"]
    for one in slow:
        assert one.recv(15) == b"HTTP/1.1 200 OK"
    refused = ask(connect, b"/media/" + BEACH.encode())
    assert b" 503 " in refused and b"retry-after: 1" in refused
    until(lambda: app.state.service.streams.taken == 0)
    assert b"200 OK" in ask(connect, b"/media/" + BEACH.encode())


def test_who_was_refused_is_not_read_for_a_while(connect, library, app, monkeypatch):
    monkeypatch.setattr(app.state.service, "searches", queues.Threads(1, 0))
    monkeypatch.setattr(connections, "RETRY_AFTER", 0.3)
    library.go_on.clear()
    try:
        slow = connect(b"GET /api/search?q=slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: app.state.service.searches.places.taken == 1)
        other = connect(b"GET /api/search?q=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in other.recv(65536)
        began = time.monotonic()
        other.sendall(STATS)
        assert b"200 OK" in ask(connect, b"/api/stats")  # others are read
        assert b"200 OK" in other.recv(65536) and time.monotonic() - began > 0.25
    finally:
        library.go_on.set()
    assert b"200 OK" in slow.recv(65536)


def test_many_searches_at_once_are_answered_or_refused(connect, library, app):
    count = service.SEARCHES[0] + service.SEARCHES[1]
    library.go_on.clear()
    asked = b"GET /api/search?q=slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        searches = [connect(asked) for _ in range(count)]
        until(lambda: app.state.service.searches.places.taken == count)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(lambda _: ask(connect, b"/api/search?q=x"), range(100)))
        assert time.monotonic() - began < 2
        assert all(b" 503 " in one and b"retry-after: 1" in one for one in refused)
        assert b"200 OK" in ask(connect, f"/thumbnail/{BEACH}-00001".encode())
    finally:
        library.go_on.set()
    assert all(one.recv(65536).startswith(b"HTTP/1.1 200") for one in searches)
    assert b"200 OK" in ask(connect, b"/api/search?q=x")


def until(condition):
    """Wait for something that happens in the background."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
