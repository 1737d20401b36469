"""The store of an index: LanceDB tables in a folder or an object store.

    header       one row of JSON; it is written last, and an index exists once it is there
    unrelated    texts that describe none of the videos, and their vectors
    files        one row per video file
    windows      one row per window of each content, with vector and thumbnail

A content is what a file holds; copies of a file share one. Every write to a table is atomic.
"""

import json
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import columns, lance
from tempme_jax.search.store.failures import (
    explain_read_errors,
    explain_write_errors,
    ignore_conflicts,
    retry_conflicts,
)
from tempme_jax.search.store.rows import Content, FileRow, Near, Vectors, WindowRow

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

# Version of the tables' format; an index of a newer format is refused.
FORMAT = 1
# Up to so many windows, comparing with all vectors in memory is quicker, and exact. Above it,
# `tidy` makes a vector index.
EXACT_LIMIT = 200_000
IDS_AT_ONCE = 1000
SCANNED_AT_ONCE = 256


class Store:
    """The tables of an index, as of the last `refresh` or the last write of this object.

    Attributes:
        uri: address of the index: an absolute path, or an address such as s3://bucket/index.
        header: description of the index, of JSON's types: model, preprocessing, sampling.
        unrelated: m texts that describe none of the videos, and their vectors, float32 [m, d].
        exact_limit: number of windows above which `tidy` makes a vector index and `find_nearest`
            should be used.
    """

    def __init__(self, uri: str, connection: "DBConnection", exact_limit: int):
        """Open the tables; call `open` or `create` instead."""
        self.uri, self.exact_limit, self._connection = uri, exact_limit, connection
        self._open_tables()

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        header: dict[str, Any],
        texts: Sequence[str],
        text_vectors: np.ndarray,
        *,
        exact_limit: int = EXACT_LIMIT,
    ) -> "Store":
        """Create an empty index. The remains of an interrupted creation are removed.

        Args:
            uri: a folder, which is created if it is missing, or an address of s3://, gs://, az://.
            header: description of the index, of JSON's types; "format" is added.
            texts: m texts that describe none of the videos.
            text_vectors: their vectors, float32 [m, d]; vectors of windows have the same length.

        Raises:
            VideoIndexError: an index is there already, or nothing can be written there.
        """
        if cls.exists(uri):
            raise VideoIndexError(
                f"{uri} holds an index already; use it, or rebuild it with "
                "`tempme index FOLDER --rebuild`"
            )
        matrix = np.asarray(text_vectors, np.float32)
        unrelated = pa.table({"text": list(texts), "vector": columns.make_vector_column(matrix)})
        text = json.dumps({**header, "format": FORMAT})
        # Distinguishes this index from one that is created later in the same place.
        files = columns.FILES.with_metadata({"made": uuid.uuid4().hex})
        with explain_write_errors(uri, "nothing was made"):
            connection = lance.connect(uri)
            lance.drop_tables(connection)
            connection.create_table("unrelated", unrelated)
            connection.create_table("files", schema=files)
            connection.create_table("windows", schema=columns.make_windows_schema(matrix.shape[1]))
            connection.create_table("header", pa.table({"json": [text]}))
        return cls(lance.make_address(uri), connection, exact_limit)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, exact_limit: int = EXACT_LIMIT) -> "Store":
        """Open an index.

        Raises:
            VideoIndexError: there is no index, it cannot be read, or its format is newer.
        """
        if not cls.exists(uri):
            raise VideoIndexError(f"{uri} holds no index; `tempme index FOLDER` makes one")
        with explain_read_errors(uri):
            connection = lance.connect(uri)
        return cls(lance.make_address(uri), connection, exact_limit)

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Return whether an index is there, even if it is damaged.

        Raises:
            VideoIndexError: the folder cannot be read.
        """
        with explain_read_errors(uri):
            if lance.is_missing_folder(uri):
                return False
            try:
                lance.connect(uri).open_table("header")
            except (ValueError, RuntimeError) as error:
                return "was not found" not in str(error)
        return True

    @staticmethod
    def remove(uri: str | os.PathLike[str]) -> None:
        """Remove an index, even if it is damaged; the folder and other files in it stay.

        Raises:
            VideoIndexError: it cannot be removed.
        """
        if not lance.is_missing_folder(uri):
            with explain_write_errors(uri, "some of it may be gone; try again"):
                lance.drop_tables(lance.connect(uri))

    @property
    def version(self) -> tuple[str, int, int]:
        """A value that changes whenever any process writes to the index.

        It calls `refresh`: later reads see this version or a newer one.
        """
        self.refresh()
        return self._made, self._files.version, self._windows.version

    @property
    def is_large(self) -> bool:
        """True if the index has more windows than `exact_limit`."""
        return self.count_windows() > self.exact_limit

    def count_windows(self) -> int:
        """Count the windows."""
        with explain_read_errors(self.uri):
            return self._windows.count_rows()

    def refresh(self) -> None:
        """See what other processes have written, even if they rebuilt the index."""
        with explain_read_errors(self.uri):
            self._files.checkout_latest()
            self._windows.checkout_latest()
            made = _read_creation_id(self._files)
        if made != self._made:
            self._open_tables()

    def read_files(self) -> list[FileRow]:
        """Read the rows of all files, in the order of their ids."""
        with explain_read_errors(self.uri):
            return sorted(columns.read_files(self._files.search().to_arrow()))

    def read_contents(self) -> dict[str, Content]:
        """Read all contents that have windows, including those that no file refers to."""
        with explain_read_errors(self.uri):
            table = self._windows.search().select(["content", "end"]).to_arrow()
            return columns.read_contents(table)

    def read_vectors(self) -> Vectors:
        """Read all windows without their thumbnails, in the order of their ids."""
        with explain_read_errors(self.uri):
            names = ["id", "content", "start", "end", "vector"]
            return columns.read_vectors(self._windows.search().select(names).to_arrow())

    def read_window(self, window_id: str) -> WindowRow | None:
        """Read a window; None if the id is not known."""
        where = lance.make_condition("id", [window_id])
        with explain_read_errors(self.uri):
            rows = columns.read_windows(self._windows.search().where(where).limit(1).to_arrow())
        return rows[0] if rows else None

    def read_thumbnail(self, window_id: str) -> bytes | None:
        """Read the JPEG thumbnail of a window; None if the id is not known."""
        row = self.read_window(window_id)
        return row.thumbnail if row else None

    def scan(self) -> Iterator[WindowRow]:
        """Yield all windows, checked, in no order and in little memory."""
        with explain_read_errors(self.uri):
            for batch in self._windows.search().to_batches(SCANNED_AT_ONCE):
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
        with explain_read_errors(self.uri):
            return lance.find_nearest(self._windows, vector, count, contents, condition)

    def find_nearest_many(self, vectors: np.ndarray, count: int) -> list[list[Near]]:
        """Run `find_nearest` for q vectors at once, float32 [q, d], which is faster."""
        if not len(vectors):
            return []
        with explain_read_errors(self.uri):
            return lance.find_nearest_many(self._windows, vectors, count)

    def commit(self, windows: Sequence[WindowRow], files: Sequence[FileRow]) -> None:
        """Add windows, then add files or replace those of the same ids.

        Windows count only once the row of a file refers to them, so they are written first. They
        are added unchecked: those of a content that is stored already would be there twice.

        Raises:
            VideoIndexError: they cannot be written. Everything stored before is intact. The new
                windows may have been stored, but never the files without them.
        """
        new = columns.make_windows_table(windows, self._dimensions)
        changed = columns.make_files_table(files)
        with explain_write_errors(self.uri, "what was stored before is intact"):
            if windows:
                retry_conflicts(lambda: self._windows.add(new))
            if files:
                upsert = self._files.merge_insert("id").when_matched_update_all()
                retry_conflicts(lambda: upsert.when_not_matched_insert_all().execute(changed))

    def remove_files(self, ids: Iterable[str]) -> None:
        """Remove files; their windows stay."""
        self._remove(self._files, "id", ids)

    def remove_contents(self, contents: Iterable[str]) -> None:
        """Remove the windows of contents."""
        self._remove(self._windows, "content", contents)

    def tidy(self) -> None:
        """Compact tables of many small files, and remove versions older than a day.

        Above `exact_limit` windows it also makes the vector index that `find_nearest` searches, and
        rebuilds it once many windows, which are found more slowly, are missing from it. If
        another process writes at the same moment, some of this is left to the next call.
        """
        with explain_write_errors(self.uri, "what is stored is intact"):
            for table in (self._files, self._windows):
                if lance.is_scattered(table):
                    with ignore_conflicts():
                        table.optimize(cleanup_older_than=timedelta(days=1))
            if self.is_large:
                with ignore_conflicts():
                    lance.make_index(self._windows)

    def _open_tables(self) -> None:
        with explain_read_errors(self.uri):
            tables = [self._connection.open_table(name) for name in lance.TABLES]
            self.header = json.loads(tables[0].search().to_arrow()["json"][0].as_py())
            if (version := self.header["format"]) > FORMAT:
                raise VideoIndexError(
                    f"{self.uri} has format {version}, of a newer version of tempme_jax; this one "
                    f"reads formats up to {FORMAT}. Update tempme_jax, or rebuild the index with "
                    "`tempme index FOLDER --rebuild`"
                )
            texts = tables[1].search().to_arrow()
            self.unrelated = (texts["text"].to_pylist(), columns.read_matrix(texts))
            self._files, self._windows = tables[2:]
            self._made = _read_creation_id(self._files)
            self._dimensions = self._windows.schema.field("vector").type.list_size

    def _remove(self, table: "Table", column: str, ids: Iterable[str]) -> None:
        ids = list(ids)
        parts = [ids[i : i + IDS_AT_ONCE] for i in range(0, len(ids), IDS_AT_ONCE)]
        wheres = [lance.make_condition(column, part) for part in parts]
        with explain_write_errors(self.uri, "what could not be removed is intact"):
            for where in wheres:
                retry_conflicts(lambda where=where: table.delete(where))


def _read_creation_id(files: "Table") -> str:
    return (files.schema.metadata or {}).get(b"made", b"").decode()
