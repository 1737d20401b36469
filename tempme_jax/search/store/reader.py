"""Reading an index: its files, windows and vectors, as of one moment."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import columns, lance
from tempme_jax.search.store.failures import explain_read_errors, is_failure
from tempme_jax.search.store.frame_codes import find_changed
from tempme_jax.search.store.rows import Content, FileRow, Near, Vectors, WindowRow
from tempme_jax.search.store.tables import Tables
from tempme_jax.words import pluralize

if TYPE_CHECKING:
    from lancedb.table import Table

# Vectors without thumbnails that are read at once.
VECTORS_AT_ONCE = 8192
# Likewise of the vectors of frames.
FRAMES_AT_ONCE = 1000
T = TypeVar("T")


class StoreReader:
    """The tables of an index, as of the last `refresh` or the last write of this object.

    Attributes:
        uri: address of the index: an absolute path, or an address such as s3://bucket/index.
        exact_limit: number of windows above which `Store.tidy` makes a vector index and
            `find_nearest` should be used.
    """

    def __init__(self, uri: str | os.PathLike[str], exact_limit: int):
        """Open the tables; call `open` or `create` instead."""
        self._tables, self.exact_limit = Tables(uri), exact_limit
        self.uri = self._tables.uri

    @property
    def header(self) -> dict[str, Any]:
        """Description of the index, of JSON's types: model, preprocessing, sampling."""
        return self._tables.header

    @property
    def unrelated(self) -> tuple[list[str], np.ndarray]:
        """m texts that describe none of the videos, and their vectors, float32 [m, d]."""
        return self._tables.unrelated

    @property
    def version(self) -> tuple[str, int, int]:
        """A value that changes whenever any process writes to the index.

        It calls `refresh`: later reads see this version or a newer one.
        """
        self.refresh()
        return self._tables.version

    @property
    def is_large(self) -> bool:
        """True if the index has more windows than `exact_limit`."""
        return self.count_windows() > self.exact_limit

    @property
    def dimensions(self) -> int:
        """Number of values of a vector."""
        return self._tables.dimensions

    def count_windows(self) -> int:
        """Count the windows."""
        return self._read(lambda: self._windows.count_rows())

    def refresh(self) -> None:
        """See what other processes have written, even if they rebuilt the index."""
        self._tables.refresh()

    def read_files(self) -> list[FileRow]:
        """Read the rows of all files, in the order of their ids."""
        return sorted(columns.read_files(self._read(lambda: self._files.search().to_arrow())))

    def read_checksums(self) -> dict[str, int]:
        """Read the checksums of contents, see `Vectors.checksums`, as far as they are stored."""
        if "checksum" not in self._files.schema.names:
            return {}
        names = ["content", "checksum"]
        table = self._read(lambda: self._files.search().select(names).to_arrow())
        pairs = zip(*(table[name].to_pylist() for name in names), strict=True)
        return {content: crc for content, crc in pairs if crc is not None}

    def read_contents(self) -> dict[str, Content]:
        """Read all contents that have windows, including those that no file refers to."""
        names = ["content", "end"]
        table = self._read(lambda: self._windows.search().select(names).to_arrow())
        return columns.read_contents(table)

    def read_vectors(self) -> Vectors:
        """Read all windows without their thumbnails, in the order of their ids."""
        names = ["id", "content", "start", "end", "vector"]
        table = self._read(lambda: self._windows.search().select(names).to_arrow())
        with explain_read_errors(self.uri):
            return columns.read_vectors(table)

    def sort_windows(self) -> tuple[Vectors, np.ndarray]:
        """Read all windows but for their vectors and thumbnails; see `columns.sort_windows`."""
        names = ["id", "content", "start", "end"]
        table = self._read(lambda: self._windows.search().select(names).to_arrow())
        return columns.sort_windows(table)

    def scan_vectors(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield ids and vectors, float32 [n, d], of all windows in little memory.

        The windows come in the order of the rows that `sort_windows` read.
        """
        with explain_read_errors(self.uri):
            query = self._windows.search().select(["id", "vector"])
            for batch in query.to_batches(VECTORS_AT_ONCE):
                yield batch["id"].to_pylist(), columns.read_matrix(batch)

    @property
    def has_frames(self) -> bool:
        """Whether windows keep vectors of their frames."""
        return self._tables.frame_bytes > 0

    def read_frames(self, ids: Sequence[str]) -> np.ndarray:
        """Return the `frame_codes` of windows, uint8 [n, size], in the order of their ids.

        Raises:
            VideoIndexError: they cannot be read, some are missing, or have changed.
        """
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), FRAMES_AT_ONCE):
            where = lance.make_condition("id", ids[start : start + FRAMES_AT_ONCE])
            names = ["id", columns.FRAMES]
            query = self._windows.search().where(where).select(names)
            table = self._read(lambda query=query: query.to_arrow())
            found |= zip(*(table[name].to_pylist() for name in names), strict=True)
        missing = [name for name in ids if name not in found]
        size = self._tables.frame_bytes
        rows = np.frombuffer(b"".join(found.get(name, b"") for name in ids), np.uint8)
        if missing or (changed := find_changed(ids, rows := rows.reshape(len(ids), size))):
            why = "are missing, as another process may have just removed them; search again, or"
            why = why if missing else "have changed, as by a bad disk;"
            raise VideoIndexError(
                f"the vectors of frames of {pluralize(len(missing or changed), 'window')} in the "
                f"index {self.uri} {why} repair it with `tempme index FOLDER --verify`"
            )
        return rows

    def scan_frames(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield ids and `frame_codes`, uint8 [n, size], of all windows, as `scan_vectors` does."""
        size = self._tables.frame_bytes
        with explain_read_errors(self.uri):
            query = self._windows.search().select(["id", columns.FRAMES])
            for batch in query.to_batches(FRAMES_AT_ONCE):
                data = b"".join(batch[columns.FRAMES].to_pylist())
                yield batch["id"].to_pylist(), np.frombuffer(data, np.uint8).reshape(-1, size)

    def read_window(self, window_id: str) -> WindowRow | None:
        """Read a window; None if the id is not known.

        Raises:
            VideoIndexError: it has changed since it was stored.
        """
        where = lance.make_condition("id", [window_id])
        table = self._read(lambda: self._windows.search().where(where).limit(1).to_arrow())
        with explain_read_errors(self.uri):
            rows = list(columns.read_checked_windows(table))
        if rows and not rows[0].is_whole:
            raise VideoIndexError(
                f"a vector or a picture in the index {self.uri} has changed since it was stored; "
                "repair it with `tempme index FOLDER --verify`"
            )
        return rows[0] if rows else None

    def read_thumbnail(self, window_id: str) -> bytes | None:
        """Read the JPEG thumbnail of a window; None if the id is not known."""
        row = self.read_window(window_id)
        return row.thumbnail if row else None

    def scan(self) -> Iterator[WindowRow]:
        """Yield all windows, checked, in no order and in little memory."""
        with explain_read_errors(self.uri):
            for batch in self._windows.search().to_batches(columns.ROWS_AT_ONCE):
                yield from columns.read_checked_windows(batch)

    def find_nearest(
        self, vector: np.ndarray, count: int, contents: Collection[str] | None = None
    ) -> list[Near]:
        """Find the windows with the largest cosine similarity, best first.

        With a vector index the search is approximate: it finds nearly all of the best windows.

        Args:
            vector: the query, float32 [d].
            count: how many windows to return, if there are as many.
            contents: only windows of these contents; None for all.
        """
        if contents is None:
            contents, condition = (), None
        elif contents:
            condition = lance.make_condition("content", contents)
        else:
            return []
        return self._read(
            lambda: lance.find_nearest(self._windows, vector, count, contents, condition)
        )

    def find_nearest_many(self, vectors: np.ndarray, count: int) -> list[list[Near]]:
        """Run `find_nearest` for q vectors at once, float32 [q, d], which is faster."""
        if not len(vectors):
            return []
        return self._read(lambda: lance.find_nearest_many(self._windows, vectors, count))

    @property
    def _files(self) -> "Table":
        return self._tables.files

    @property
    def _windows(self) -> "Table":
        return self._tables.windows

    def _read(self, read: Callable[[], T]) -> T:
        """Read; if that fails, and another process has changed the index, read the new state."""
        with explain_read_errors(self.uri):
            try:
                return read()
            except BaseException as error:
                if not is_failure(error) or not self._tables.refresh():
                    raise
                return read()
