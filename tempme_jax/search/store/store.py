"""Where an index is kept: LanceDB tables, in a folder or an object store.

    header       one row of JSON; written last of all, it is what makes an index
    unrelated    texts that have to do with nothing, and their vectors
    files        a row for each video file
    windows      a row for each window of each content, with vector and thumbnail

A write is whole or not at all: a table of LanceDB is the list of its files that was written last.
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
from tempme_jax.search.store import columns, lance, neighbours
from tempme_jax.search.store.conditions import among
from tempme_jax.search.store.failures import giving_way, reading, retried, writing
from tempme_jax.search.store.rows import (
    Content,
    FileRow,
    Near,
    ScannedRow,
    Vectors,
    WindowRow,
)

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

# Of what is written here; what is newer is not read.
FORMAT = 1
# Up to so many windows `vectors` in memory is quicker and exact; above, `tidy` makes an index.
EXACT_LIMIT = 200_000
IDS_AT_ONCE = 1000
SCANNED_AT_ONCE = 256
SPAN = ["id", "content", "start", "end"]


class Store:
    """The tables of an index, as they were at the last `refresh`, or own change.

    Attributes:
        uri: where it is: a whole path, or an address such as s3://bucket/index.
        header: what it says of itself, of JSON's types.
        unrelated: texts that have to do with nothing, and their vectors, float32 [m, d].
        exact_limit: above so many windows `nearest` is to be used, and `tidy` makes an index.
    """

    def __init__(self, uri: str, connection: "DBConnection", exact_limit: int):
        """Read what is there; `open` and `create` are what to call."""
        self.uri, self.exact_limit = uri, exact_limit
        self._connection = connection
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
        """Make an empty index, over what a creation that was ended has left.

        Args:
            uri: a folder, which is made if there is none, or s3://, gs://, az://.
            header: what the index says of itself, of JSON's types; "format" is added.
            texts: that have to do with nothing.
            text_vectors: of them, float32 [m, d]; windows have vectors of the same length.
            exact_limit: see the attributes.

        Raises:
            VideoIndexError: there is an index, or nothing can be written there.
        """
        if cls.exists(uri):
            raise VideoIndexError(
                f"{uri} holds an index already; leave it, or make it anew with "
                "`tempme index FOLDER --rebuild`"
            )
        matrix = np.asarray(text_vectors, np.float32)
        unrelated = pa.table({"text": list(texts), "vector": columns.fixed_size_lists(matrix)})
        text = json.dumps({**header, "format": FORMAT})
        # Tells it from one that is made later in the same place.
        files = columns.FILES.with_metadata({"made": uuid.uuid4().hex})
        with writing(uri, "nothing was made"):
            connection = lance.connect(uri)
            for name in lance.TABLES:
                connection.drop_table(name, ignore_missing=True)
            connection.create_table("unrelated", unrelated)
            connection.create_table("files", schema=files)
            connection.create_table("windows", schema=columns.windows_schema(matrix.shape[1]))
            connection.create_table("header", pa.table({"json": [text]}))
        return cls(lance.address(uri), connection, exact_limit)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, exact_limit: int = EXACT_LIMIT) -> "Store":
        """Open an index.

        Raises:
            VideoIndexError: there is none, it cannot be read, or a newer program made it.
        """
        if not cls.exists(uri):
            raise VideoIndexError(f"{uri} holds no index; `tempme index FOLDER` makes one")
        with reading(uri):
            connection = lance.connect(uri)
        return cls(lance.address(uri), connection, exact_limit)

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Whether an index is there, be it whole or damaged.

        Raises:
            VideoIndexError: the folder cannot be looked into.
        """
        return lance.exists(uri)

    @staticmethod
    def remove(uri: str | os.PathLike[str]) -> None:
        """Remove an index, also a damaged one; the folder and other files in it stay.

        Raises:
            VideoIndexError: it cannot be removed.
        """
        lance.remove(uri)

    @property
    def version(self) -> tuple[str, int, int]:
        """What changes whenever anybody writes; it looks, and so does what `refresh` does.

        What is read afterwards is of this version, or of a later one.
        """
        self.refresh()
        return self._made, self._files.version, self._windows.version

    @property
    def is_large(self) -> bool:
        """Whether there are more windows than `exact_limit`."""
        return self.count() > self.exact_limit

    def count(self) -> int:
        """How many windows there are."""
        with reading(self.uri):
            return self._windows.count_rows()

    def refresh(self) -> None:
        """See what others have written, also an index that was made anew in the same place."""
        with reading(self.uri):
            self._files.checkout_latest()
            self._windows.checkout_latest()
            made = _made(self._files)
        if made != self._made:
            self._open_tables()

    def files(self) -> list[FileRow]:
        """All files, in the order of their ids."""
        with reading(self.uri):
            return sorted(columns.file_rows(self._files.search().to_arrow()))

    def contents(self) -> dict[str, Content]:
        """The contents that have windows, also those of no file: how many, and until when."""
        with reading(self.uri):
            return columns.content_rows(
                self._windows.search().select(["content", "end"]).to_arrow()
            )

    def vectors(self) -> Vectors:
        """All windows without their thumbnails, in the order of their ids."""
        with reading(self.uri):
            return columns.vectors_of(self._windows.search().select([*SPAN, "vector"]).to_arrow())

    def window(self, window_id: str) -> WindowRow | None:
        """A window, or None if there is no such one."""
        where = among("id", [window_id])
        with reading(self.uri):
            rows = columns.window_rows(self._windows.search().where(where).limit(1).to_arrow())
        return rows[0] if rows else None

    def thumbnail(self, window_id: str) -> bytes | None:
        """The JPEG file of a window, or None if there is no such one."""
        where = among("id", [window_id])
        with reading(self.uri):
            found = self._windows.search().where(where).select(["thumbnail"]).limit(1).to_arrow()
        return found["thumbnail"][0].as_py() if len(found) else None

    def scan(self) -> Iterator[ScannedRow]:
        """All windows with their checksums, in no order and in little memory."""
        with reading(self.uri):
            for batch in self._windows.search().to_batches(SCANNED_AT_ONCE):
                yield from columns.scanned_rows(batch)

    def nearest(
        self, vector: np.ndarray, count: int, contents: Collection[str] | None = None
    ) -> list[Near]:
        """The windows with the largest cosine, best first; nearly all of the true ones.

        Args:
            vector: float32 [d].
            count: how many; fewer come if there are fewer.
            contents: only windows of these; None: of all.
        """
        where = among("content", contents) if contents else None
        if contents is not None and not where:
            return []
        with reading(self.uri):
            return neighbours.nearest(self._windows, vector, count, contents, where)

    def nearest_many(self, vectors: np.ndarray, count: int) -> list[list[Near]]:
        """`nearest` of each of some vectors, float32 [q, d], in less time."""
        if not len(vectors):
            return []
        with reading(self.uri):
            return neighbours.nearest_many(self._windows, vectors, count)

    def commit(self, windows: Sequence[WindowRow], files: Sequence[FileRow]) -> None:
        """Add windows, then add files or change those of the same ids.

        A file's row is what makes its windows count: they are there before it is. Windows are
        added as they come: those of a content that is stored already would be there twice.

        Raises:
            VideoIndexError: they cannot be written. What was stored before is as it was; of what
                was given the windows may have been stored, never the files alone.
        """
        new, changed = columns.windows_table(windows, self._dimensions), columns.files_table(files)
        with writing(self.uri, "what was stored before is intact"):
            if windows:
                retried(lambda: self._windows.add(new))
            if files:
                upsert = self._files.merge_insert("id").when_matched_update_all()
                retried(lambda: upsert.when_not_matched_insert_all().execute(changed))

    def remove_files(self, ids: Iterable[str]) -> None:
        """Remove files; their windows stay."""
        self._remove(self._files, "id", ids)

    def remove_contents(self, contents: Iterable[str]) -> None:
        """Remove the windows of contents."""
        self._remove(self._windows, "content", contents)

    def tidy(self) -> None:
        """Put small files together, where they are many, and remove versions older than a day.

        Above `exact_limit` windows it makes the index that `nearest` searches, also anew where many
        windows are not in it: these are found, but take longer. Where another process writes at the
        same moment, some of this is left to the next time.
        """
        with writing(self.uri, "what is stored is intact"):
            for table in (self._files, self._windows):
                if lance.is_scattered(table):
                    with giving_way():
                        table.optimize(cleanup_older_than=timedelta(days=1))
            if self.is_large:
                with giving_way():
                    neighbours.make_index(self._windows)

    def _open_tables(self) -> None:
        with reading(self.uri):
            tables = [self._connection.open_table(name) for name in lance.TABLES]
            self.header = json.loads(tables[0].search().to_arrow()["json"][0].as_py())
            version = self.header["format"]
            if version > FORMAT:
                raise VideoIndexError(
                    f"{self.uri} has format {version}, of a newer version; this one reads formats "
                    f"up to {FORMAT}. Update tempme_jax, or make the index anew with "
                    "`tempme index FOLDER --rebuild`"
                )
            texts = tables[1].search().to_arrow()
            self.unrelated = (texts["text"].to_pylist(), columns.matrix_of(texts))
            self._files, self._windows = tables[2:]
            self._made = _made(self._files)
            self._dimensions = self._windows.schema.field("vector").type.list_size

    def _remove(self, table: "Table", column: str, ids: Iterable[str]) -> None:
        ids = list(ids)
        parts = [ids[i : i + IDS_AT_ONCE] for i in range(0, len(ids), IDS_AT_ONCE)]
        wheres = [among(column, part) for part in parts]
        with writing(self.uri, "what could not be removed is intact"):
            for where in wheres:
                retried(lambda where=where: table.delete(where))


def _made(files: "Table") -> str:
    return (files.schema.metadata or {}).get(b"made", b"").decode()
