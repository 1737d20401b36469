"""Hashes that tell the content of files apart: of all bytes, or of samples of a large file.

Indexes and prepared data sets store them, so they never change.
"""

import hashlib

from tempme_jax.video.opening import HeldFile
from tempme_jax.video.progress import report_progress

# An index hashes a file of at most WHOLE bytes whole; of a larger one, both edges and some blocks.
WHOLE = 2**20
EDGE = 128 * 2**10
BLOCK = 32 * 2**10
BLOCKS = 16
# A data set hashes so many bytes at the beginning, in the middle and at the end.
PART = 64 * 2**10
# Bytes that are read at a time.
READ_AT_ONCE = 2**20


def hash_whole(held: HeldFile) -> str:
    """Return the SHA-256 of all bytes of a file, 64 hexadecimal digits."""
    digest, place = hashlib.sha256(), 0
    while data := held.read(place, READ_AT_ONCE):
        digest.update(data)
        place += len(data)
        report_progress()
    return digest.hexdigest()


def hash_samples(held: HeldFile) -> str:
    """Return the hash of samples that an index knows a file by, 32 hexadecimal digits."""
    size = held.state.size
    return _hash_parts(held, hashlib.blake2b(digest_size=16), choose_samples(size))


def hash_three_parts(held: HeldFile) -> str:
    """Return the hash of samples that a data set knows a file by, 32 hexadecimal digits."""
    last = max(0, held.state.size - PART)
    parts = [(start, PART) for start in (0, last // 2, last)]
    return _hash_parts(held, hashlib.sha256(), parts)[:32]


def choose_samples(size: int) -> list[tuple[int, int]]:
    """Choose the bytes of a file for `hash_samples`: pairs of start and length."""
    if size <= WHOLE:
        return [(0, size)]
    between = size - 2 * EDGE - BLOCK
    blocks = [(EDGE + between * (2 * i + 1) // (2 * BLOCKS), BLOCK) for i in range(BLOCKS)]
    return [(0, EDGE), *blocks, (size - EDGE, EDGE)]


def _hash_parts(held: HeldFile, digest, parts: list[tuple[int, int]]) -> str:
    """Hash the size of a file, and then some parts of it."""
    digest.update(held.state.size.to_bytes(8, "little"))
    for start, length in parts:
        digest.update(held.read(start, length))
    return digest.hexdigest()
