"""Freed memory: given back to the system, or kept for the next step. Of glibc; elsewhere no change.

glibc gives a large array back as soon as it is freed. A training frees its arrays after every step,
so the next one gets all of them anew, in pages of 4 kB that Linux clears one by one: for a small
model a third of the time. What a compiler has freed, in small pieces, stays with the process.
"""

import ctypes
import functools
from collections.abc import Callable

# Parameters of `mallopt`, as in malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_UNLIMITED = 2**31 - 1
_is_shared = False


def share_one_heap() -> None:
    """Let threads that start from now on use one heap, for a program that will keep its memory.

    Those of other threads hold 64 MB at most, so that larger arrays are none of theirs to keep.
    """
    global _is_shared
    _is_shared = _set_option(_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep what is freed from now on, if this program shares one heap.

    Its peak may rise by as much again, since what is free may be in pieces.
    """
    if _is_shared:
        _set_option(_MMAP_MAX, 0)
        _set_option(_TRIM_THRESHOLD, _UNLIMITED)


def return_freed_memory() -> None:
    """Give memory that was freed so far back to the system."""
    trim = _find_function("malloc_trim")
    if trim:
        trim(0)


def _set_option(name: int, value: int) -> bool:
    """Set an option of `malloc`; return whether it is set."""
    change = _find_function("mallopt")
    return bool(change and change(name, value))


@functools.cache
def _find_function(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; None where another C library is used."""
    try:
        library = ctypes.CDLL(None)
        # Others may have a `mallopt` that does something else.
        return getattr(library, name) if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError, AttributeError):
        return None
