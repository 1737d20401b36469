"""Bounded queues: who comes when too many wait is told to come again, and nobody waits for long."""

import collections
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.types import Scope

# Seconds after which a refused visitor should ask again.
RETRY_AFTER = 1
# How many times as many calls may wait as one visitor may have waiting.
CROWD = 4
T = TypeVar("T")


class Places:
    """A number of places; who finds none free is refused.

    Args:
        count: number of places.
    """

    def __init__(self, count: int):
        self.count, self.taken = count, 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Take a place while the context is open.

        Raises:
            HTTPException: 503, with Retry-After; all places are taken.
        """
        if self.taken >= self.count:
            headers = {"Retry-After": str(RETRY_AFTER)}
            raise HTTPException(503, "too many others ask at this moment; ask again", headers)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Threads:
    """Threads for one kind of work, and a queue before them in which visitors take turns.

    Who asks for much at once waits for their own calls, not others for them.

    Args:
        threads: number of threads.
        waiting: most calls of one visitor that wait for a thread. Of all visitors, `CROWD` times
            as many wait.
    """

    def __init__(self, threads: int, waiting: int):
        self.free, self.most = threads, threads + waiting
        self.limiter = anyio.CapacityLimiter(threads)
        self.places = Places(threads + CROWD * waiting)
        self.visitors: dict[str, Places] = {}
        # The waiting calls of each visitor; the first visitor is the next whose turn it is.
        self.lines: dict[str, collections.deque[anyio.Event]] = {}

    async def run(self, visitor: str, work: Callable[..., T], *arguments: object) -> T:
        """Call a function in a thread, once it is the turn of the visitor.

        Raises:
            HTTPException: 503, with Retry-After; too many calls wait.
        """
        mine = self.visitors.setdefault(visitor, Places(self.most))
        try:
            with mine.take(), self.places.take():
                await self._wait(visitor)
                try:
                    return await run_sync(work, *arguments, limiter=self.limiter)
                finally:
                    self._call_next()
        finally:
            if not mine.taken:
                self.visitors.pop(visitor, None)

    async def _wait(self, visitor: str) -> None:
        if self.free:
            self.free -= 1
            return
        turn = anyio.Event()
        self.lines.setdefault(visitor, collections.deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:  # the visitor left
            if turn.is_set():
                self._call_next()
            else:
                self.lines[visitor].remove(turn)
                if not self.lines[visitor]:
                    del self.lines[visitor]
            raise

    def _call_next(self) -> None:
        """Give a thread that became free to the visitor whose turn it is."""
        if not self.lines:
            self.free += 1
            return
        visitor = next(iter(self.lines))
        line = self.lines.pop(visitor)
        line.popleft().set()
        if line:
            self.lines[visitor] = line  # behind all others


def get_visitor(scope: Scope) -> str:
    """Return the address that a request comes from; visitors take turns by it."""
    return scope["client"][0] if scope.get("client") else ""
