"""End a process that makes no progress, such as one that a hostile file keeps busy for ever."""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

_seconds = 0.0
_shared: Any = None


def share_progress(clock: Any) -> None:
    """Let another process see when this one last made progress.

    Args:
        clock: a shared `multiprocessing.Value` of type double, which gets the `time.monotonic` of
            the last progress of all processes that share it.
    """
    global _shared
    _shared = clock


@contextlib.contextmanager
def require_progress(seconds: float) -> Iterator[None]:
    """Kill this process by SIGALRM when, within the block, it makes no progress for some seconds.

    The signal ends even a process that is stuck in C code.
    """
    global _seconds
    _seconds = seconds
    report_progress()
    try:
        yield
    finally:
        _seconds = 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        if _shared is not None:
            _shared.value = time.monotonic()


def report_progress() -> None:
    """Note that a packet was read or a frame decoded; without `require_progress`, do nothing."""
    if _seconds:
        signal.setitimer(signal.ITIMER_REAL, _seconds)
        if _shared is not None:
            _shared.value = time.monotonic()
