"""The open tables of an index: checked when they are opened, synced once they are written."""

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np
import pyarrow as pa

from tempme_jax import fields
from tempme_jax.search.errors import NewerIndexError, VideoIndexError
from tempme_jax.search.store import columns, lance, place
from tempme_jax.search.store.checksums import Checksums
from tempme_jax.search.store.failures import explain_read_errors, retry_conflicts
from tempme_jax.search.store.frame_codes import count_bytes
from tempme_jax.search.store.locking import find_local_folder, lock_creation

if TYPE_CHECKING:
    from lancedb.table import Table

# Version of the tables' format; an index of a newer format is refused. Format 2 has checksums.
FORMAT = 2
# That of an index with vectors of frames: a version that does not know them must not write to it.
FRAMES_FORMAT = 3
T = TypeVar("T")


class StoredHeader(TypedDict):
    """The fields of a header that the tables need; others are the business of `search.header`."""

    format: int


class Tables:
    """The tables of an index, as of the last `refresh` or the last write of this object.

    Attributes:
        uri: address of the index.
        header: description of the index.
        unrelated: texts and their vectors.
        files, windows: the tables of LanceDB.
        made: id that distinguishes this index from one that is created later in the same place.
        checksums: checksums of the files of an index in a folder; None in an object store.
    """

    header: dict[str, Any]
    unrelated: tuple[list[str], np.ndarray]
    files: "Table"
    windows: "Table"
    made: str

    def __init__(self, uri: str | os.PathLike[str]):
        """Open the tables.

        Raises:
            VideoIndexError: they cannot be read, are damaged, or their format is newer.
        """
        self.uri = lance.make_address(uri)
        self.folder = find_local_folder(uri)
        # The folder if it has no hard links, which the first write finds out.
        self._unlinked: Path | None = None
        self._address, self._is_prepared = self.uri, False
        self.open()

    def open(self) -> None:
        """Open the newest version of all tables."""
        with explain_read_errors(self.uri):
            self.checksums = Checksums(self.folder) if self.folder else None
            self.refuse_damage()
            self._connection = lance.connect(self._address)
            header, unrelated, self.files, self.windows = (
                self._connection.open_table(name) for name in lance.TABLES
            )
            texts = unrelated.search().to_arrow()
            self.unrelated = (texts["text"].to_pylist(), columns.read_matrix(texts))
            self.header = self._read_header(header)
            self.made = lance.read_creation_id(self.files)

    def refuse_damage(self) -> None:
        """Raise a VideoIndexError if a file of the newest versions is damaged."""
        if self.checksums is None:
            return
        for table in lance.TABLES:
            if damage := self.checksums.find_damage(table):
                raise VideoIndexError(
                    f"the index {self.uri} is damaged ({damage[0]}), as by a power cut or a bad "
                    "disk; `tempme index FOLDER` returns to its last whole state, and embeds again "
                    "what is missing"
                )

    def refresh(self) -> bool:
        """See what other processes have written, even if they rebuilt the index.

        Returns whether there was anything new.
        """
        with explain_read_errors(self.uri):
            before = self.version
            self.files.checkout_latest()
            self.windows.checkout_latest()
            made = lance.read_creation_id(self.files)
            if self.version != before and self.checksums is not None:
                self.checksums = Checksums(self.checksums.folder)
                self.refuse_damage()
        if made != self.made:
            self.open()
        return self.version != before

    @property
    def version(self) -> tuple[str, int, int]:
        """A value that changes with every write to the index, as of the last `refresh`."""
        return self.made, self.files.version, self.windows.version

    @property
    def dimensions(self) -> int:
        """Number of values of a vector."""
        return self.windows.schema.field("vector").type.list_size

    @property
    def frame_bytes(self) -> int:
        """Size of what is kept of a window's frames, see `frame_codes`; 0 if nothing is."""
        return columns.count_frame_bytes(self.windows.schema)

    def write(self, name: str, change: Callable[["Table"], T]) -> T:
        """Change a table, try again if another process wrote at the same moment, and sync it.

        Args:
            name: "files" or "windows".
            change: changes the table that it is given.
        """
        with self._commit():
            done = retry_conflicts(lambda: change(getattr(self, name)))
        self.note(name)
        return done

    def note(self, name: str) -> None:
        """Force what a table holds to the disk, and note its checksums."""
        if self.checksums is not None:
            self.checksums.note(name)

    def purge(self) -> None:
        """Rewrite files and windows, so nothing that was removed from them stays on the disk.

        No other process may write to the index. Readers see the new state, or an error after which
        they see it.
        """
        with self._commit():
            for name in ("files", "windows"):
                self._overwrite(name, getattr(self, name))
        for name in ("files", "windows"):
            self.note(name)
        if self.checksums is not None:
            self.checksums.prune()

    def add_columns(self) -> None:
        """Add the columns of files that an index of an earlier version lacks; they are empty."""
        names = self.files.schema.names
        if missing := [field for field in columns.FILES if field.name not in names]:
            with lock_creation(self.uri):  # several shards may begin at once
                self.files.checkout_latest()
                names = self.files.schema.names
                if missing := [field for field in missing if field.name not in names]:
                    self.write("files", lambda table: table.add_columns(pa.schema(missing)))

    def upgrade(self) -> None:
        """Give an index of an earlier format what this one has."""
        self.add_columns()
        if not self._lacks_checksums():
            return
        with lock_creation(self.uri):  # several shards may begin at once
            self.open()
            if self.checksums is not None and not self.checksums.known:
                self.checksums.begin(self.made)
                for name in lance.TABLES:
                    self.note(name)
            if self.header["format"] < FORMAT:
                with self._commit():
                    made = make_header_table(self.header, *self.unrelated)
                    self._connection.create_table("header", made, mode="overwrite")
                self.note("header")
                self.header["format"] = FORMAT

    def _lacks_checksums(self) -> bool:
        has_none = self.checksums is not None and not self.checksums.known
        return has_none or self.header["format"] < FORMAT

    def _overwrite(self, name: str, table: "Table") -> None:
        table.checkout_latest()
        rows = table.search().to_batches(columns.ROWS_AT_ONCE)
        made = self._connection.create_table(name, rows, schema=table.schema, mode="overwrite")
        lance.remove_old_versions(made)
        table.checkout_latest()

    @contextlib.contextmanager
    def _commit(self) -> Iterator[None]:
        """Prepare for a commit: without hard links, lock it."""
        if not self._is_prepared:
            self._is_prepared = True
            if self.folder is not None and not place.has_hard_links(self.folder):
                self._unlinked, self._address = self.folder, place.make_write_address(self.folder)
                self.open()
        with place.lock_commit(self._unlinked) if self._unlinked else contextlib.nullcontext():
            yield

    def _read_header(self, table: "Table") -> dict[str, Any]:
        """Read the header, and compare it and the unrelated texts with their checksums."""
        row = table.search().to_arrow().to_pylist()[0]
        name = f"the header of the index {self.uri}"
        try:
            header = fields.parse_fields(row["json"], StoredHeader, name)
        except fields.FieldError as error:
            raise VideoIndexError(
                f"{error}; rebuild it with `tempme index FOLDER --rebuild`"
            ) from error
        newest = FRAMES_FORMAT if "per_frame" in header else FORMAT
        if (version := header["format"]) > newest:
            raise NewerIndexError(
                f"{self.uri} has format {version}, of a newer version of tempme_jax; this one "
                f"reads formats up to {newest}. Update tempme_jax, or rebuild the index with "
                "`tempme index FOLDER --rebuild`"
            )
        stored = row.get("checksum"), header.pop("unrelated", None)
        computed = zlib.crc32(row["json"].encode()), columns.compute_texts_checksum(*self.unrelated)
        if any(one not in (None, other) for one, other in zip(stored, computed, strict=True)):
            raise VideoIndexError(
                f"the header of the index {self.uri} has changed since it was stored, so its model "
                "and its percentiles are unknown; rebuild it with `tempme index FOLDER --rebuild`"
            )
        return header


def create_tables(
    uri: str | os.PathLike[str], header: dict[str, Any], texts: list[str], vectors: np.ndarray
) -> None:
    """Create the tables of an empty index; `vectors`, float32 [m, d], are those of the texts.

    With a field `per_frame` in the header, windows keep `frame_codes` of so many frames.
    """
    folder, made = find_local_folder(uri), os.urandom(16).hex()
    address = lance.make_address(uri)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if not place.has_hard_links(folder):
            address = place.make_write_address(folder)
    connection = lance.connect(address)
    lance.drop_tables(connection)
    unrelated = pa.table({"text": texts, "vector": columns.make_vector_column(vectors)})
    connection.create_table("unrelated", unrelated)
    connection.create_table("files", schema=columns.FILES.with_metadata({"made": made}))
    frames = header.get("per_frame")
    frame_bytes = count_bytes(frames["frames"], vectors.shape[1]) if frames else 0
    schema = columns.make_windows_schema(vectors.shape[1], frame_bytes)
    connection.create_table("windows", schema=schema)
    checksums = None
    if folder is not None:
        checksums = Checksums(folder)
        checksums.begin(made)
        for name in lance.TABLES[1:]:
            checksums.note(name)
    connection.create_table("header", make_header_table(header, texts, vectors))
    if checksums is not None:
        checksums.note("header")


def make_header_table(header: dict[str, Any], texts: list[str], vectors: np.ndarray) -> pa.Table:
    """Make the table of one row that describes an index."""
    checksum = columns.compute_texts_checksum(texts, vectors)
    version = FRAMES_FORMAT if "per_frame" in header else FORMAT
    text = json.dumps({**header, "format": version, "unrelated": checksum})
    crc = pa.array([zlib.crc32(text.encode())], pa.uint32())
    return pa.table({"json": [text], "checksum": crc})
