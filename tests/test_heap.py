"""Freed memory is kept or given back, as a program asks for."""

import subprocess
import sys

import pytest

from tempme_jax import heap

# An array of 64 MB three times; the pages that the last one got anew. Then many small ones.
PROGRAM = """
import ctypes, resource, sys
from tempme_jax import heap

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p

def fill(size):
    place = ctypes.c_void_p(library.malloc(size))
    ctypes.memset(place, 1, size)
    return place

def count_pages():
    return int(open("/proc/self/statm").read().split()[1])

if sys.argv[1] == "kept":
    heap.share_one_heap()
heap.keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    library.free(fill(2**26))
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
small = [fill(1000) for _ in range(20_000)]
for place in small[:-1]:
    library.free(place)
before = count_pages()
heap.return_freed_memory()
print(faults, before - count_pages())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not heap._find_function("mallopt"), reason="no glibc"
)
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory(kept):
    command = [sys.executable, "-c", PROGRAM, "kept" if kept else "plain"]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    faults, returned = map(int, words.split())
    assert (faults < 100) if kept else (faults > 16_000)  # of 16,384 pages
    assert returned > 4_000


def test_another_c_library(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap._find_function.cache_clear()
    heap.share_one_heap()
    heap.keep_freed_memory()
    heap.return_freed_memory()
    assert not heap._is_shared
    heap._find_function.cache_clear()
