"""The columns of the tables of an index: how rows go into Arrow and come back."""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempme_jax.search.store.rows import Content, FileRow, ScannedRow, Vectors, WindowRow

# A root may hold bytes that are no text either; a reason is for reading and may lose them.
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
    ]
)


def windows_schema(dimensions: int) -> pa.Schema:
    """The columns of the windows of an index whose vectors have so many dimensions."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("content", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("vector", pa.list_(pa.float32(), dimensions)),
            ("thumbnail", pa.binary()),
            ("checksum", pa.uint32()),
        ]
    )


def checksum(vector: np.ndarray, thumbnail: bytes) -> int:
    """CRC-32 of a vector's float32 bytes (little endian), and of the thumbnail behind them."""
    return zlib.crc32(thumbnail, zlib.crc32(np.ascontiguousarray(vector, "<f4")))


def files_table(rows: Sequence[FileRow]) -> pa.Table:
    """Files as Arrow stores them."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in FILES]
    table = dict(zip(FILES.names, columns, strict=True))
    table["root"] = [root.encode("utf-8", "surrogateescape") for root in table["root"]]
    table["reason"] = [text.encode("utf-8", "replace").decode() for text in table["reason"]]
    return pa.table(table, schema=FILES)


def file_rows(table: pa.Table) -> list[FileRow]:
    """Files as they were given."""
    columns = [table[name].to_pylist() for name in FileRow._fields]
    rows = [FileRow(*values) for values in zip(*columns, strict=True)]
    return [row._replace(root=row.root.decode("utf-8", "surrogateescape")) for row in rows]


def windows_table(rows: Sequence[WindowRow], dimensions: int) -> pa.Table:
    """Windows as Arrow stores them, with their checksums.

    Raises:
        ValueError: a vector does not have so many dimensions.
    """
    for row in rows:
        if np.shape(row.vector) != (dimensions,):
            raise ValueError(
                f"the vector of window {row.id} has shape {np.shape(row.vector)}; in this index "
                f"vectors have {dimensions} values"
            )
    matrix = np.array([row.vector for row in rows], np.float32).reshape(len(rows), dimensions)
    columns = {
        "id": [row.id for row in rows],
        "content": [row.content for row in rows],
        "start": [float(row.start) for row in rows],
        "end": [float(row.end) for row in rows],
        "vector": fixed_size_lists(matrix),
        "thumbnail": [row.thumbnail for row in rows],
        "checksum": [checksum(v, row.thumbnail) for v, row in zip(matrix, rows, strict=True)],
    }
    return pa.table(columns, schema=windows_schema(dimensions))


def window_rows(batch: pa.RecordBatch | pa.Table) -> list[WindowRow]:
    """Windows as they were given."""
    others = [batch[name].to_pylist() for name in ("id", "content", "start", "end", "thumbnail")]
    vectors = matrix_of(batch)
    return [
        WindowRow(key, content, start, end, vector, thumbnail)
        for key, content, start, end, thumbnail, vector in zip(*others, vectors, strict=True)
    ]


def scanned_rows(batch: pa.RecordBatch) -> list[ScannedRow]:
    """Windows with the checksums that they had and have."""
    return [
        ScannedRow(*row, stored, checksum(row.vector, row.thumbnail))
        for row, stored in zip(window_rows(batch), batch["checksum"].to_pylist(), strict=True)
    ]


def content_rows(table: pa.Table) -> dict[str, Content]:
    """Contents by name, in order."""
    groups = table.group_by("content").aggregate([("end", "count"), ("end", "max")])
    columns = [groups[name].to_pylist() for name in ("content", "end_count", "end_max")]
    rows = sorted(zip(*columns, strict=True))
    return {content: Content(windows, seconds) for content, windows, seconds in rows}


def vectors_of(table: pa.Table) -> Vectors:
    """All windows in the order of their ids, whatever the order of their rows.

    Vectors are copied once, each to its place.
    """
    order = pc.sort_indices(table["id"])
    rank = np.empty(len(table), np.int64)
    rank[order.to_numpy()] = np.arange(len(table))
    matrix = np.empty((len(table), _width(table)), np.float32)
    done = 0
    for part in _matrices(table):
        matrix[rank[done : done + len(part)]] = part
        done += len(part)
    content = table["content"].combine_chunks().take(order)
    names = pc.unique(content).sort()
    return Vectors(
        ids=table["id"].combine_chunks().take(order).to_pylist(),
        contents=pc.index_in(content, names).to_numpy(zero_copy_only=False).astype(np.int32),
        names=names.to_pylist(),
        starts=table["start"].take(order).to_numpy().astype(np.float32),
        ends=table["end"].take(order).to_numpy().astype(np.float32),
        matrix=matrix,
    )


def fixed_size_lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """The rows of a matrix as Arrow's vectors, which share its memory if it is float32."""
    flat = np.ascontiguousarray(matrix, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def matrix_of(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """The vectors of a table in the order of its rows: float32 [n, d]."""
    return np.concatenate([np.empty((0, _width(table)), np.float32), *_matrices(table)])


def _width(table: pa.Table | pa.RecordBatch) -> int:
    return table.schema.field("vector").type.list_size


def _matrices(table: pa.Table | pa.RecordBatch) -> Iterator[np.ndarray]:
    """The vectors of each chunk of a table: float32 [m, d], in Arrow's memory."""
    column = table["vector"]
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        yield chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, _width(table))
