"""Writing the side file of an index, part by part: one of a million windows takes little memory."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempme_jax.mapped import DTYPES, map_arrays
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.coded import ROWS_A_CHECKSUM, Coder, compute_block_checksums
from tempme_jax.search.store.columns import compute_window_checksum, join_checksums
from tempme_jax.search.store.frame_codes import count_bytes, find_changed
from tempme_jax.search.store.rows import FileRow, Vectors
from tempme_jax.search.store.text_frames import NEAREST, compare_texts, find_nearest_rows

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# Above so many windows the side file also holds the vectors rounded to bytes: a search reads those.
EXACT_WINDOWS = 50_000
# Vectors that are looked at together: a multiple of those that share a checksum.
AT_ONCE = 128 * ROWS_A_CHECKSUM


class ArraysFile:
    """A safetensors file whose arrays are written in parts.

    Attributes:
        path: the file.
    """

    def __init__(
        self, path: Path, arrays: Mapping[str, tuple[str, tuple[int, ...]]], metadata: dict
    ):
        """Make the file, for arrays of these dtypes and shapes; those of large numbers first."""
        self.path, self._start, end = path, {}, 0
        names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
        self._header: dict[str, Any] = {}
        for name, (dtype, shape) in arrays.items():
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            offsets = [end, end + size]
            self._header[name] = {
                "dtype": names[np.dtype(dtype)], "shape": list(shape), "data_offsets": offsets
            }  # fmt: skip
            self._start[name], end = end, end + size
        path.touch()
        self._data = self.write_metadata(metadata)
        os.truncate(path, self._data + end)

    def write_metadata(self, metadata: dict[str, str]) -> int:
        """Write the metadata, of the same length each time; return where the arrays begin."""
        text = json.dumps({"__metadata__": metadata} | self._header).encode()
        text += b" " * (-(8 + len(text)) % 64)
        self._write(0, len(text).to_bytes(8, "little") + text)
        return 8 + len(text)

    def write(self, name: str, part: np.ndarray, row: int = 0) -> None:
        """Write rows of an array from a row on."""
        if part.size:
            at = self._data + self._start[name] + row * part[0].nbytes
            self._write(at, np.ascontiguousarray(part).data.cast("B"))

    def _write(self, at: int, data: Any) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(data)


def write_arrays(
    store: "Store", rows: list[FileRow], path: Path, arrays: dict[str, np.ndarray], metadata: dict
) -> ArraysFile:
    """Write what the tables hold of windows, and other arrays, to a file.

    Above `EXACT_WINDOWS` these arrays are added:

        codes        int8 [n, d]: the vectors, rounded to bytes
        steps        float32 [d]: the size of a step of each number
        checksums    int32 [blocks]: CRC-32 of the exact vectors, `ROWS_A_CHECKSUM` at a time
        text_scores  float32 [m]: the best score of each unrelated text

    In an index with vectors of frames these are added:

        frames        uint8 [n, size]: the `frame_codes` of each window
        text_frames, text_weights   float32 [m, c, t]: the `FrameScores` of the unrelated texts

    Raises:
        VideoIndexError: the tables cannot be read, or are damaged.
    """
    windows, rank = store.sort_windows()
    count = len(windows.ids)
    arrays = {
        "starts": windows.starts.astype(np.float32),
        "ends": windows.ends.astype(np.float32),
        "contents": windows.contents,
        "unrelated": store.unrelated[1],
        "ids": pack_ids(windows.ids),
        "names": pack(windows.names),
    } | arrays
    file = ArraysFile(path, list_kinds(store, arrays, count), metadata)
    for name, array in arrays.items():
        file.write(name, array)
    low, high = copy_vectors(store, file, windows, rank)
    vectors = map_arrays(path)[0]["vectors"]
    refuse_damage(store, rows, windows, vectors)
    names = np.isin(windows.names, [row.content for row in rows if not row.reason])
    known = names[windows.contents]
    if count > EXACT_WINDOWS:
        encode_vectors(file, vectors, Coder(low, high), store.unrelated[1], known)
    if store.has_frames:
        write_frames(store, file, windows, rank, known)
    return file


def list_kinds(
    store: "Store", arrays: Mapping[str, np.ndarray], count: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and shape of all arrays of so many windows; those of large numbers first."""
    width, texts = store.dimensions, len(store.unrelated[1])
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {"vectors": ("<f4", (count, width))}
    bytes_only: dict[str, tuple[str, tuple[int, ...]]] = {}
    if count > EXACT_WINDOWS:
        kinds["steps"] = ("<f4", (width,))
        kinds["checksums"] = ("<i4", (-(-count // ROWS_A_CHECKSUM),))
        kinds["text_scores"] = ("<f4", (texts,))
        bytes_only["codes"] = ("i1", (count, width))
    if store.has_frames:
        frames = store.header["per_frame"]["frames"]
        shape = (texts, min(NEAREST, count), frames)
        kinds |= {"text_frames": ("<f4", shape), "text_weights": ("<f4", shape)}
        bytes_only["frames"] = ("u1", (count, count_bytes(frames, width)))
    kinds |= {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    return kinds | bytes_only


def write_frames(
    store: "Store", file: ArraysFile, windows: Vectors, rank: np.ndarray, known: np.ndarray
) -> None:
    """Write the vectors of frames, and how the unrelated texts fit those of windows of files.

    Args:
        store, file, windows, rank: those of `Copier`.
        known: which windows a file has, bool [n].
    """
    copier = Copier(store, file, "frames", windows, rank)
    for ids, rows in store.scan_frames():
        if find_changed(ids, rows):
            raise VideoIndexError(f"vectors of frames in {store.uri} are damaged")
        copier.copy(ids, rows)
    copier.refuse_rest()
    written, texts = map_arrays(file.path)[0], store.unrelated[1]
    nearest = find_nearest_rows(texts, written["vectors"], known)
    frames = store.header["per_frame"]["frames"]
    found = compare_texts(texts, nearest, lambda some: written["frames"][some], frames)
    file.write("text_frames", found.scores)
    file.write("text_weights", found.weights)


def copy_vectors(
    store: "Store", file: ArraysFile, windows: Vectors, rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Copy all vectors to their places; return the least and the largest value of each number."""
    low, high = np.full((2, store.dimensions), np.inf, np.float32) * [[1], [-1]]
    copier = Copier(store, file, "vectors", windows, rank)
    for ids, vectors in store.scan_vectors():
        copier.copy(ids, vectors)
        low, high = np.fmin(low, vectors.min(axis=0)), np.fmax(high, vectors.max(axis=0))
    copier.refuse_rest()
    return low.astype(np.float32), high.astype(np.float32)


class Copier:
    """Copies rows of the table of windows to their places in an array of a file."""

    def __init__(
        self, store: "Store", file: ArraysFile, name: str, windows: Vectors, rank: np.ndarray
    ):
        """Take what `Store.sort_windows` returned, and the name of the array."""
        self.store, self.file, self.name = store, file, name
        self.windows, self.rank, self.done = windows, rank, 0

    def copy(self, ids: list[str], rows: np.ndarray) -> None:
        """Copy the next rows, which are of windows with these ids.

        Raises:
            VideoIndexError: they are not those that were sorted.
        """
        places = self.rank[self.done : self.done + len(ids)]
        self.done += len(ids)
        if [self.windows.ids[place] for place in places.tolist()] != ids:
            raise VideoIndexError(f"{self.store.uri} was changed while it was read")
        for run in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(places) != 1) + 1):
            self.file.write(self.name, rows[run], int(places[run[0]]))

    def refuse_rest(self) -> None:
        """Raise a VideoIndexError if not all rows have been copied."""
        if self.done != len(self.rank):
            raise VideoIndexError(f"{self.store.uri} was changed while it was read")


def refuse_damage(
    store: "Store", rows: list[FileRow], windows: Vectors, vectors: np.ndarray
) -> None:
    """Raise a VideoIndexError if the windows of a content are not those that were stored."""
    counts = np.bincount(windows.contents, minlength=len(windows.names)).tolist()
    found = dict(zip(windows.names, counts, strict=True))
    if any(found.get(row.content, 0) != row.windows for row in rows if not row.reason):
        raise VideoIndexError(f"windows of {store.uri} are missing")
    stored = store.read_checksums()
    edges = np.append(np.flatnonzero(np.diff(windows.contents, prepend=-1)), len(windows.ids))
    starts, ends = windows.starts.tolist(), windows.ends.tolist()
    for name, first, last in zip(windows.names, edges[:-1], edges[1:], strict=True):
        pairs = [
            (
                windows.ids[i],
                compute_window_checksum(windows.ids[i], starts[i], ends[i], vectors[i]),
            )
            for i in range(first, last)
        ]
        computed = join_checksums(pairs)
        if stored.get(name, computed) != computed:
            raise VideoIndexError(f"the windows of {name} in {store.uri} are damaged")


def encode_vectors(
    file: ArraysFile, vectors: np.ndarray, coder: Coder, texts: np.ndarray, known: np.ndarray
) -> None:
    """Write the rounded vectors, checksums, and the best scores of texts in windows of files.

    Args:
        file: where they are written.
        vectors: the vectors, float32 [n, d].
        coder: rounds them.
        texts: the vectors of unrelated texts, float32 [m, d].
        known: which windows a file has, bool [n].
    """
    best = np.full(len(texts), -np.inf, np.float32)
    for row in range(0, len(vectors), AT_ONCE):
        part = vectors[row : row + AT_ONCE]
        if not np.isfinite(part).all():
            raise VideoIndexError("a vector of the index is not finite")
        file.write("codes", coder.encode(part), row)
        crcs = np.array(compute_block_checksums(part), np.uint32).view("<i4")
        file.write("checksums", crcs, row // ROWS_A_CHECKSUM)
        scores = texts @ part[known[row : row + AT_ONCE]].T
        best = np.maximum(best, scores.max(axis=1, initial=-np.inf))
    file.write("steps", coder.steps)
    file.write("text_scores", best)


def pack(value: Any) -> np.ndarray:
    """Return a value of JSON's types as bytes."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def pack_ids(ids: list[str]) -> np.ndarray:
    """Return ids as rows of bytes of one length, filled up with zeros: uint8 [n, length]."""
    table = np.array([name.encode() for name in ids] or [b"-"], "S")
    return table.view(np.uint8).reshape(len(table), -1)[: len(ids)]
