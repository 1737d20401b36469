"""The vectors of a large index: rounded to bytes in memory, exact on the disk.

The products of a query with bytes are computed about five times as fast as those with float32
numbers, of which there would be four times as many bytes to read. They are off by about 0.0005, so
they only choose which vectors are read and compared exactly.
"""

import concurrent.futures
import functools
import json
import os
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from tempme_jax.search.errors import VideoIndexError

# Rows of exact vectors that share a checksum, and so are read together.
ROWS_A_CHECKSUM = 64
# Products that are computed at once, so that they stay in the cache; rows of them at most.
PRODUCTS, ROWS = 2**21, 2**16
# More threads than this only wait for the memory.
THREADS = min(4, os.cpu_count() or 1)
LEVELS = 127


class CodedVectors:
    """The vectors of an index in the order of its side file, where a content's follow each other.

    Attributes:
        firsts: int64 [contents + 1], the first row of each content, and the number of rows.
    """

    def __init__(self, file: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]):
        """Take the arrays and metadata of a side file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it was replaced after the arrays were read.
        """
        self._path, self._codes, self._steps = file, arrays["codes"], arrays["steps"]
        self._checksums = arrays["checksums"].view(np.uint32)
        contents = arrays["contents"]
        self.firsts = np.append(np.flatnonzero(np.diff(contents, prepend=-1)), len(contents))
        self._file = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        size = int.from_bytes(os.pread(self._file, 8, 0), "little")
        header = json.loads(os.pread(self._file, size, 8))
        if header["__metadata__"] != metadata:
            raise ValueError(f"{file} was replaced while it was read")
        self._offset = 8 + size + header["vectors"]["data_offsets"][0]

    def score_contents(self, queries: np.ndarray) -> np.ndarray:
        """Return about the best score of each content: float32 [q, d] to [q, contents].

        The scores of a query are short of the same number, so only their order counts.
        """
        codes, scales = self._round(queries)
        best = np.empty((len(queries), len(self.firsts) - 1), np.float32)
        rows = min(ROWS, max(ROWS_A_CHECKSUM, PRODUCTS // len(queries)))
        cuts = np.searchsorted(self.firsts, np.arange(0, self.firsts[-1], rows))
        edges = np.unique(np.append(cuts, best.shape[1]))

        def fill(first: int, last: int) -> None:
            start, end = self.firsts[first], self.firsts[last]
            scores = _multiply(codes, self._codes[start:end])
            at = self.firsts[first:last] - start
            best[:, first:last] = np.maximum.reduceat(scores, at, axis=1)

        list(get_pool().map(fill, edges[:-1].tolist(), edges[1:].tolist()))
        return best * scales

    def score_rows(self, query: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return about the scores of rows, short of the same number: float32 [last - first]."""
        codes, scales = self._round(query[None])
        return (_multiply(codes, self._codes[first:last]).astype(np.float32) * scales)[0]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read the exact vectors of rows, float32 [n, d].

        Raises:
            VideoIndexError: they cannot be read, or have changed since they were written.
        """
        blocks, place = np.unique(rows // ROWS_A_CHECKSUM, return_inverse=True)
        shape = (len(blocks), ROWS_A_CHECKSUM, len(self._steps))
        found = np.zeros(shape, np.float32)
        for run in np.split(np.arange(len(blocks)), np.flatnonzero(np.diff(blocks) > 1) + 1):
            if len(run):
                self._read_blocks(int(blocks[run[0]]), found[run[0] : run[-1] + 1])
        return found[place, rows % ROWS_A_CHECKSUM]

    def _read_blocks(self, first: int, found: np.ndarray) -> None:
        """Read blocks that follow each other into float32 [blocks, rows, d], and check them."""
        size = found[0].nbytes
        length = min(found.nbytes, int(self.firsts[-1]) * found[0, 0].nbytes - first * size)
        try:
            data = memoryview(os.pread(self._file, length, self._offset + first * size))
        except OSError as error:
            raise VideoIndexError(
                f"{self._path} cannot be read ({error.strerror or error}); check whether its disk "
                "or network drive is there"
            ) from error
        parts = [data[start : start + size] for start in range(0, length, size)]
        if [zlib.crc32(part) for part in parts] != self._checksums[first:][: len(found)].tolist():
            refuse_changed(self._path)
        found.reshape(-1)[: length // 4] = np.frombuffer(data, "<f4")

    def _round(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Round queries to bytes; return these and the value of a step, float32 [q, 1]."""
        weighted = np.asarray(queries, np.float32) * self._steps
        scales = np.abs(weighted).max(axis=1, keepdims=True) / LEVELS
        codes = np.rint(weighted / np.maximum(scales, np.finfo(np.float32).tiny))
        return codes.astype(np.int8), scales


def refuse_changed(path: Path) -> NoReturn:
    """Remove a side file that has changed, and raise a VideoIndexError that says so."""
    try:
        path.unlink(missing_ok=True)
        done = "so it was removed. Search again"
    except OSError as error:
        done = f"and cannot be removed ({error.strerror}). Remove it, and search again"
    raise VideoIndexError(
        f"{path} has changed since it was written, as by a bad disk, {done}: "
        "without it a search takes longer. `tempme index FOLDER` writes it anew"
    )


@functools.cache
def get_pool() -> concurrent.futures.Executor:
    """Return the threads that all searches share."""
    return concurrent.futures.ThreadPoolExecutor(THREADS, "coded-search")


class Coder:
    """Rounds vectors to bytes: each number to one of 255 steps between its least and its largest.

    Attributes:
        steps: float32 [d], the size of a step for each number.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray):
        """Take the least and the largest value of each number, float32 [d]."""
        self._middle = (low + high) / 2
        self.steps = np.maximum((high - low) / (2 * LEVELS), np.finfo(np.float32).tiny)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Round vectors, float32 [n, d] to int8 [n, d]."""
        codes = np.rint((vectors - self._middle) / self.steps)
        return np.clip(codes, -LEVELS, LEVELS).astype(np.int8)


def compute_block_checksums(vectors: np.ndarray) -> list[int]:
    """Compute the CRC-32 of each block of rows, float32 [n, d], the last of which may be short."""
    return [
        zlib.crc32(np.ascontiguousarray(vectors[start : start + ROWS_A_CHECKSUM], "<f4").data)
        for start in range(0, len(vectors), ROWS_A_CHECKSUM)
    ]


def _multiply(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Multiply each query with each row of codes: int8 [q, d], [n, d] to float64 [q, n]."""
    import numkong  # only large indexes need it

    # With an array for the products it is 20 times slower.
    return np.asarray(numkong.cdist(queries, codes, "dot"))
