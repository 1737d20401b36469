"""Limits of connections, so nobody can keep others from being answered by opening many of them.

* There are at most `MOST_CONNECTIONS`. For another one, some that wait for a request are closed: of
  the address with the most of them, the oldest.
* A request has to arrive within `REQUEST_SECONDS`, before anybody asks for its token. A file
  that somebody with the token posts may take longer, as long as it goes on to arrive.
* After a refusal because too many wait, nothing is read from the connection for as long as the
  visitor was told to wait; answering thousands of these would keep others waiting, too.
* A visitor who reads nothing of an answer for `STALL_SECONDS` is disconnected. Browsers ask again
  for the rest of a video that was paused.
"""

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tempme_jax.search.serve.guard import ACCEPTED, REFUSED
from tempme_jax.search.serve.queues import RETRY_AFTER

# Each needs a file descriptor, of which many systems give a process 1,024.
MOST_CONNECTIONS, CLOSED_AT_ONCE = 600, 20
REQUEST_SECONDS, STALL_SECONDS = 10.0, 60.0
# So many bytes of a posted file have to arrive in that time, and all of it within these seconds.
LEAST_POSTED, POSTED_SECONDS = 2**16, 900.0
# A connection is closed if the next request does not come within this time.
IDLE_SECONDS = 5
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class LimitedProtocol(H11Protocol):
    """A connection with the limits of this module."""

    def __init__(self, *given: Any, **named: Any):
        """Take the arguments of uvicorn's protocol."""
        super().__init__(*given, **named)
        self.since = 0.0
        # The bytes that arrived since the timer was set, and when the request began.
        self.received, self.began = 0, 0.0
        self.request_timer: asyncio.TimerHandle | None = None
        self.stall_timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as uvicorn's
        """Take a place among the connections, or refuse this one."""
        super().connection_made(transport)
        self.since = self.loop.time()
        if len(self.connections) > MOST_CONNECTIONS and not self.make_room():
            self.connections.discard(self)
            transport.write(BUSY)
            transport.close()
        self.watch_request()

    def make_room(self) -> bool:
        """Close some connections that wait for a request; return False if there are none."""
        waiting = [
            one
            for one in self.connections
            if isinstance(one, LimitedProtocol) and one is not self and one.is_waiting
        ]
        addresses = Counter(one.address for one in waiting)
        waiting.sort(key=lambda one: (-addresses[one.address], one.since))
        for one in waiting[:CLOSED_AT_ONCE]:
            self.connections.discard(one)
            one.transport.abort()
        return bool(waiting)

    @property
    def address(self) -> str:
        """Address of the visitor, without the port."""
        return self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; however small the parts are, their time is limited."""
        self.received += len(data)
        super().data_received(data)
        self.watch_request()

    def watch_request(self) -> None:
        """Limit the time of a request that has not arrived in full."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            if self.request_timer is None:
                self.began = self.loop.time()
                self.set_request_timer()
        elif self.request_timer is not None:
            self.request_timer.cancel()
            self.request_timer = None

    def set_request_timer(self) -> None:
        """Look at the request again after `REQUEST_SECONDS`."""
        self.received = 0
        self.request_timer = self.loop.call_later(REQUEST_SECONDS, self.end_slow_request)

    def end_slow_request(self) -> None:
        """End a request that did not arrive, unless it is a file that goes on to arrive."""
        is_posted = self.cycle is not None and self.cycle.scope.get(ACCEPTED)
        in_time = self.loop.time() - self.began < POSTED_SECONDS
        if is_posted and in_time and self.received >= LEAST_POSTED and not self.is_waiting:
            self.set_request_timer()
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request; its time begins with its first byte."""
        refused = self.cycle is not None and self.cycle.scope.get(REFUSED)
        super().on_response_complete()
        self.since = self.loop.time()
        if refused and self.flow is not None:
            self.flow.pause_reading()
            self.loop.call_later(RETRY_AFTER, self.flow.resume_reading)
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self.watch_request()

    def pause_writing(self) -> None:
        """Limit the time in which the visitor reads nothing."""
        super().pause_writing()
        self.stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The visitor reads again."""
        super().resume_writing()
        if self.stall_timer is not None:
            self.stall_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        for timer in (self.request_timer, self.stall_timer):
            if timer is not None:
                timer.cancel()
