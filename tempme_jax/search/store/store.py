"""The store of an index: LanceDB tables in a folder or an object store.

    header       one row of JSON; it is written last, and an index exists once it is there
    unrelated    texts that describe none of the videos, and their vectors
    files        one row per video file
    windows      one row per window of each content, with vector and thumbnail

A content is what a file holds; copies of a file share one. Every write to a table is atomic.
In a folder, a side file holds once more what a search reads of them: see `sidefile`.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import columns, lance
from tempme_jax.search.store.checksums import NAME as CHECKSUMS
from tempme_jax.search.store.checksums import list_versions
from tempme_jax.search.store.failures import (
    explain_read_errors,
    explain_write_errors,
    ignore_conflicts,
)
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.search.store.reader import StoreReader
from tempme_jax.search.store.rows import FileRow, WindowRow
from tempme_jax.search.store.sidefile import remove_side_file
from tempme_jax.search.store.subtitle_file import purge_subtitles, remove_subtitles
from tempme_jax.search.store.tables import create_tables

if TYPE_CHECKING:
    from lancedb.table import Table

# Up to so many windows, comparing with all vectors in memory is quicker, and exact. Above it,
# `tidy` makes a vector index.
EXACT_LIMIT = 200_000
IDS_AT_ONCE = 1000
# Is there from the beginning to the end of `forget`, also if that is killed.
FORGETTING = "forgetting"
T = TypeVar("T")


class Store(StoreReader):
    """An index that can be read and written."""

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
        with explain_write_errors(uri, "nothing was made"):
            create_tables(uri, header, list(texts), np.asarray(text_vectors, np.float32))
        return cls(uri, exact_limit)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, exact_limit: int = EXACT_LIMIT) -> "Store":
        """Open an index.

        Raises:
            VideoIndexError: there is no index, it cannot be read, or its format is newer.
        """
        if not cls.exists(uri):
            raise VideoIndexError(f"{uri} holds no index; `tempme index FOLDER` makes one")
        return cls(uri, exact_limit)

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Return whether an index is there, even if it is damaged.

        Raises:
            VideoIndexError: the folder cannot be read.
        """
        with explain_read_errors(uri):
            if folder := find_local_folder(uri):
                return bool(list_versions(folder, "header"))
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
                if folder := find_local_folder(uri):
                    remove_side_file(folder)
                lance.drop_tables(lance.connect(uri))
                remove_subtitles(str(uri))
                if folder:
                    (folder / CHECKSUMS).unlink(missing_ok=True)

    def commit(self, windows: Sequence[WindowRow], files: Sequence[FileRow]) -> None:
        """Add windows, then add files or replace those of the same ids.

        Windows count only once the row of a file refers to them, so they are written first. They
        are added unchecked: those of a content that is stored already would be there twice.

        Raises:
            VideoIndexError: they cannot be written. Everything stored before is intact. The new
                windows may have been stored, but never the files without them.
        """
        new = columns.make_windows_table(windows, self._tables.dimensions, self._tables.frame_bytes)
        with explain_write_errors(self.uri, "what was stored before is intact"):
            self._tables.add_columns()
            checksums = columns.compute_content_checksums(windows)
            checksums |= self._compute_checksums({row.content for row in files} - checksums.keys())
            changed = columns.make_files_table(files, checksums)
            if windows:
                self._tables.write("windows", lambda table: table.add(new))
            if files:
                self._tables.write("files", lambda table: _upsert(table, changed))

    def remove_files(self, ids: Iterable[str]) -> None:
        """Remove files; their windows stay."""
        self._remove("files", "id", ids)

    def remove_contents(self, contents: Iterable[str]) -> None:
        """Remove the windows of contents."""
        self._remove("windows", "content", contents)

    def prepare(self, *, alone: bool) -> None:
        """Prepare for a run: finish what earlier ones and earlier versions of the package left.

        Args:
            alone: whether no other process can write to the index meanwhile. Only then are files
                removed whose windows are not all there, so they are embedded again.
        """
        self.upgrade()
        if alone:
            self.finish_forgetting()
            rows, stored = self.read_files(), self.read_contents()
            counts = {content: one.windows for content, one in stored.items()}
            wrong = [r for r in rows if r.content and counts.get(r.content, 0) != r.windows]
            # Windows without a file count as whole, so those that are not go first.
            self.remove_contents({row.content for row in wrong} & counts.keys())
            self.remove_files(row.id for row in wrong)

    def upgrade(self) -> None:
        """Add what indexes of earlier versions lack: columns and checksums."""
        with explain_write_errors(self.uri, "what is stored is intact"):
            self._tables.upgrade()
        known = self.read_checksums()
        rows = [row for row in self.read_files() if row.content and row.content not in known]
        if rows:
            self.commit([], rows)

    def forget(self, ids: Iterable[str]) -> None:
        """Remove files, and all that the disk holds of them; no other process may write.

        Raises:
            VideoIndexError: they cannot be removed; the next call of `finish_forgetting` does it.
        """
        if folder := self._tables.folder:
            with explain_write_errors(self.uri, "nothing was removed"):
                (folder / FORGETTING).touch()
                remove_side_file(folder)
        self.remove_files(ids)
        self.purge()

    def finish_forgetting(self) -> bool:
        """Finish a `forget` that was killed, and return True if there was one."""
        folder = self._tables.folder
        if folder is None or not (folder / FORGETTING).exists():
            return False
        self.purge()
        return True

    def purge(self) -> None:
        """Remove windows of no file, and from the disk all that was removed from the tables.

        This rewrites the tables; no other process may write to the index.
        """
        rows = self.read_files()
        needed = {row.content for row in rows}
        self.remove_contents(self.read_contents().keys() - needed)
        purge_subtitles(self.uri, needed | {row.id for row in rows})
        with explain_write_errors(self.uri, "run the same command again to remove the rest"):
            if folder := self._tables.folder:
                remove_side_file(folder)
            self._tables.purge()
            if folder := self._tables.folder:
                (folder / FORGETTING).unlink(missing_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Compact tables of many small files, and remove versions older than a day.

        Above `exact_limit` windows it also makes the vector index that `find_nearest` searches, and
        rebuilds it once many windows, which are found more slowly, are missing from it. If
        another process writes at the same moment, some of this is left to the next call.
        """
        with explain_write_errors(self.uri, "what is stored is intact"):
            for name in ("files", "windows"):
                if lance.is_scattered(getattr(self._tables, name)):
                    with ignore_conflicts():
                        self._tables.write(name, _compact)
            if self.is_large:
                with ignore_conflicts():
                    self._tables.write("windows", lance.make_index)

    def _compute_checksums(self, contents: Iterable[str]) -> dict[str, int]:
        """Compute the checksums of contents that are stored, in little memory."""
        found, contents = {}, sorted(filter(None, contents))
        names = ["id", "content", "start", "end", "vector"]
        for where in _split_condition("content", contents):
            query = self._windows.search().where(where).select(names)
            batches = query.to_batches(columns.ROWS_AT_ONCE)
            rows = (row for batch in batches for row in columns.read_windows(batch))
            found |= columns.compute_content_checksums(rows)
        return found

    def _remove(self, name: str, column: str, ids: Iterable[str]) -> None:
        wheres = _split_condition(column, ids)
        with explain_write_errors(self.uri, "what could not be removed is intact"):
            for where in wheres:
                self._tables.write(name, lambda table, where=where: table.delete(where))


def _upsert(table: "Table", rows: Any) -> None:
    merge = table.merge_insert("id").when_matched_update_all()
    merge.when_not_matched_insert_all().execute(rows)


def _compact(table: "Table") -> None:
    table.optimize(cleanup_older_than=timedelta(days=1))


def _split_condition(column: str, ids: Iterable[str]) -> list[str]:
    """Make conditions that a column is one of some ids, each of as many as the database bears."""
    ids = list(ids)
    parts = [ids[i : i + IDS_AT_ONCE] for i in range(0, len(ids), IDS_AT_ONCE)]
    return [lance.make_condition(column, part) for part in parts]
