"""Columns of the tables of an index, and the conversion of rows to and from Arrow."""

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempme_jax.search.store.rows import Content, FileRow, Vectors, WindowRow

ROWS_AT_ONCE = 256
# The column of vectors of frames, which only some indexes have.
FRAMES = "frames"

# Roots and paths may hold bytes that are not text. A reason is for people and may lose them. The
# checksum is that of the content's windows; null if there are none, or an older version wrote it.
FILES = pa.schema(
    [
        ("id", pa.string()),
        ("root", pa.binary()),
        ("path", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("content", pa.string()),
        ("seconds", pa.float64()),
        ("windows", pa.int32()),
        ("reason", pa.string()),
        ("stage", pa.string()),
        ("checksum", pa.uint32()),
        ("samples", pa.string()),
        ("whole", pa.string()),
        ("reading", pa.int32()),
    ]
)


def make_windows_schema(dimensions: int, frame_bytes: int = 0) -> pa.Schema:
    """Make the columns of the table of windows.

    Args:
        dimensions: number of values of a vector.
        frame_bytes: size of a row's `frame_codes`; 0 in an index without them.
    """
    frames = [(FRAMES, pa.binary(frame_bytes))] if frame_bytes else []
    return pa.schema(
        [
            ("id", pa.string()),
            ("content", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("vector", pa.list_(pa.float32(), dimensions)),
            ("thumbnail", pa.binary()),
            ("checksum", pa.uint32()),
            *frames,
        ]
    )


def count_frame_bytes(schema: pa.Schema) -> int:
    """Return the size of a row's `frame_codes`; 0 in an index without them."""
    return schema.field(FRAMES).type.byte_width if FRAMES in schema.names else 0


def compute_checksum(vector: np.ndarray, thumbnail: bytes, frames: bytes = b"") -> int:
    """Compute the CRC-32 of a vector's float32 bytes (little endian), the thumbnail, the frames."""
    return zlib.crc32(
        frames, zlib.crc32(thumbnail, zlib.crc32(np.asarray(vector, "<f4").tobytes()))
    )


def compute_window_checksum(key: str, start: float, end: float, vector: np.ndarray) -> int:
    """Compute the CRC-32 of what a search reads of a window: id, times, and float32 vector."""
    head = zlib.crc32(struct.pack("<dd", start, end), zlib.crc32(key.encode()))
    return zlib.crc32(np.ascontiguousarray(vector, "<f4").data, head)


def join_checksums(pairs: Iterable[tuple[str, int]]) -> int:
    """Join the checksums of a content's windows, given with their ids, in any order."""
    return zlib.crc32(np.array([crc for _, crc in sorted(pairs)], "<u4").tobytes())


def compute_content_checksums(rows: Iterable[WindowRow]) -> dict[str, int]:
    """Compute the checksum of each content from its windows, given in any order."""
    parts = defaultdict(list)
    for row in rows:
        crc = compute_window_checksum(row.id, row.start, row.end, row.vector)
        parts[row.content].append((row.id, crc))
    return {content: join_checksums(pairs) for content, pairs in parts.items()}


def compute_texts_checksum(texts: Iterable[str], vectors: np.ndarray) -> int:
    """Compute the CRC-32 of texts and their float32 vectors."""
    return zlib.crc32(np.asarray(vectors, "<f4").tobytes(), zlib.crc32("\n".join(texts).encode()))


def make_files_table(rows: Sequence[FileRow], checksums: Mapping[str, int]) -> pa.Table:
    """Convert files to Arrow; `checksums` holds those of their contents."""
    table: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in FileRow._fields}
    table["checksum"] = [checksums.get(row.content) for row in rows]
    table["root"] = [root.encode("utf-8", "surrogateescape") for root in table["root"]]
    table["reason"] = [text.encode("utf-8", "replace").decode() for text in table["reason"]]
    return pa.table(table, schema=FILES)


def read_files(table: pa.Table) -> list[FileRow]:
    """Convert files back from Arrow."""
    columns = [_read_column(table, name) for name in FileRow._fields]
    root = FileRow._fields.index("root")
    columns[root] = [name.decode("utf-8", "surrogateescape") for name in columns[root]]
    return [FileRow(*values) for values in zip(*columns, strict=True)]


def _read_column(table: pa.Table, name: str) -> list[Any]:
    """Read a column; rows of earlier versions have the default instead of nothing."""
    default = FileRow._field_defaults.get(name)
    if name not in table.column_names:
        return [default] * len(table)
    return [default if value is None else value for value in table[name].to_pylist()]


def make_windows_table(
    rows: Sequence[WindowRow], dimensions: int, frame_bytes: int = 0
) -> pa.Table:
    """Convert windows to Arrow, with their checksums; see `make_windows_schema`.

    Raises:
        ValueError: a vector does not have `dimensions` values, or frames have another size.
    """
    for row in rows:
        if np.shape(row.vector) != (dimensions,):
            raise ValueError(
                f"the vector of window {row.id} has shape {np.shape(row.vector)}; in this index "
                f"vectors have {dimensions} values"
            )
        if len(row.frames) != frame_bytes:
            raise ValueError(
                f"the frames of window {row.id} take {len(row.frames)} bytes; in this index they "
                f"take {frame_bytes}"
            )
    matrix = np.array([row.vector for row in rows], np.float32).reshape(len(rows), dimensions)
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in WindowRow._fields[:6]
    }
    columns["vector"] = make_vector_column(matrix)
    frames = [row.frames for row in rows]
    columns["checksum"] = list(map(compute_checksum, matrix, columns["thumbnail"], frames))
    if frame_bytes:
        columns[FRAMES] = frames
    return pa.table(columns, schema=make_windows_schema(dimensions, frame_bytes))


def read_windows(batch: pa.RecordBatch | pa.Table) -> list[WindowRow]:
    """Convert windows back from Arrow; a thumbnail and frames that were not read are empty."""
    others = [batch[name].to_pylist() for name in ("id", "content", "start", "end")]
    others += [
        batch[name].to_pylist() if name in batch.schema.names else [b""] * batch.num_rows
        for name in ("thumbnail", FRAMES)
    ]
    vectors = read_matrix(batch)
    return [
        WindowRow(key, content, start, end, vector, thumbnail, frames=frames or b"")
        for key, content, start, end, thumbnail, frames, vector in zip(
            *others, vectors, strict=True
        )
    ]


def read_checked_windows(batch: pa.RecordBatch | pa.Table) -> Iterator[WindowRow]:
    """Convert windows back from Arrow, and compare them with their checksums."""
    for row, stored in zip(read_windows(batch), batch["checksum"].to_pylist(), strict=True):
        computed = compute_checksum(row.vector, row.thumbnail, row.frames)
        yield row._replace(is_whole=computed == stored)


def read_contents(table: pa.Table) -> dict[str, Content]:
    """Count the windows of each content; contents are in the order of their names."""
    groups = table.group_by("content").aggregate([("end", "count"), ("end", "max")])
    columns = [groups[name].to_pylist() for name in ("content", "end_count", "end_max")]
    rows = sorted(zip(*columns, strict=True))
    return {content: Content(windows, seconds) for content, windows, seconds in rows}


def read_vectors(table: pa.Table) -> Vectors:
    """Convert all windows, in the order of their ids. Vectors are copied only once."""
    found, rank = sort_windows(table)
    matrix, done = np.empty((len(table), _count_dimensions(table)), np.float32), 0
    for part in _read_chunks(table):
        matrix[rank[done : done + len(part)]] = part
        done += len(part)
    checksums = _compute_checksums(
        found.ids, found.contents, len(found.names), found.starts, found.ends, matrix
    )
    starts, ends = found.starts.astype(np.float32), found.ends.astype(np.float32)
    return found._replace(starts=starts, ends=ends, matrix=matrix, checksums=checksums)


def sort_windows(table: pa.Table) -> tuple[Vectors, np.ndarray]:
    """Convert all windows but for their vectors, in the order of their ids.

    Returns:
        The windows, with times in float64 and an empty matrix; and the place of each row of the
        table in this order, int64 [n].
    """
    # pyarrow makes the functions of `pc` when it is imported, so pyright does not know them.
    order = pc.sort_indices(table["id"])  # pyright: ignore[reportAttributeAccessIssue]
    rank = np.empty(len(table), np.int64)
    rank[order.to_numpy()] = np.arange(len(table))
    content = table["content"].combine_chunks().take(order)
    names = pc.unique(content).sort()  # pyright: ignore[reportAttributeAccessIssue]
    contents = pc.index_in(content, names).to_numpy(zero_copy_only=False).astype(np.int32)  # pyright: ignore[reportAttributeAccessIssue]
    starts, ends = (table[name].take(order).to_numpy() for name in ("start", "end"))
    return Vectors(
        ids=table["id"].combine_chunks().take(order).to_pylist(),
        contents=contents,
        names=names.to_pylist(),
        starts=starts,
        ends=ends,
        matrix=np.empty((0, 0), np.float32),
    ), rank


def _compute_checksums(
    ids: list[str],
    contents: np.ndarray,
    count: int,
    starts: np.ndarray,
    ends: np.ndarray,
    matrix: np.ndarray,
) -> list[int]:
    """Compute the checksum of each content from windows in the order of their ids."""
    crcs = np.array(
        list(map(compute_window_checksum, ids, starts.tolist(), ends.tolist(), matrix)), "<u4"
    )
    order = np.argsort(contents, kind="stable")
    edges = np.searchsorted(contents[order], np.arange(count + 1))
    parts = crcs[order]
    return [zlib.crc32(parts[edges[i] : edges[i + 1]].tobytes()) for i in range(count)]


def make_vector_column(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """Convert a matrix to a column of vectors, which shares its memory if it is float32."""
    flat = np.ascontiguousarray(matrix, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def read_matrix(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """Read the vectors of a table, in the order of its rows: float32 [n, d]."""
    return np.concatenate(
        [np.empty((0, _count_dimensions(table)), np.float32), *_read_chunks(table)]
    )


def _count_dimensions(table: pa.Table | pa.RecordBatch) -> int:
    return table.schema.field("vector").type.list_size


def _read_chunks(table: pa.Table | pa.RecordBatch) -> Iterator[np.ndarray]:
    """Yield the vectors of each chunk of a table: float32 [m, d], in Arrow's memory."""
    column = table["vector"]
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        yield chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, _count_dimensions(table))
