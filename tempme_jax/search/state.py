"""The open index: its side file or its tables, and the searcher of what they hold."""

from typing import TYPE_CHECKING, Any

from tempme_jax.search import opening
from tempme_jax.search.paths import make_missing_error
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.search.store.sidefile import (
    SideFile,
    is_newest,
    remove_side_file,
    write_side_file,
)

if TYPE_CHECKING:  # it imports the database, which takes long
    from tempme_jax.search.store.store import Store


class IndexState:
    """An index as of the last `refresh`.

    A search reads the side file. The tables are opened when something else is asked for, or if
    there is no side file of the newest state.

    Attributes:
        uri: address of the index.
    """

    def __init__(self, uri: str, *, anew: bool):
        """Open what is there; nothing if `anew`, so that an index can be created."""
        self.uri = uri
        self._side: SideFile | None = None
        self._store: Store | None = None
        self._searcher: tuple[object, Searcher, dict[str, Any]] | None = None
        if not anew and opening.is_index(uri):
            self._side = opening.open_side_file(uri)
            self._store = None if self._side else opening.open_store(uri)

    @property
    def exists(self) -> bool:
        """True once the index has been created."""
        return self._side is not None or self._store is not None

    @property
    def store(self) -> "Store":
        """The tables; a VideoIndexError if there is no index."""
        if self._store is None and self._side is not None:
            self._store = opening.open_store(self.uri)
        if self._store is None:
            raise make_missing_error(self.uri)
        return self._store

    @store.setter
    def store(self, store: "Store") -> None:
        self._store = store

    @property
    def reader(self) -> "SideFile | Store":
        """What a search reads; a VideoIndexError if there is no index."""
        return self._side or self.store

    @property
    def header(self) -> dict[str, Any]:
        """Description of what the searcher searches; without one, of what is stored."""
        made = self._searcher
        return made[2] if made else self.reader.header

    def refresh(self) -> None:
        """See what other processes have stored since."""
        if self._store is not None:
            self._store.refresh()
        self._refresh_side()
        if self._searcher and self._searcher[0] != self.reader.version:
            self._searcher = self._make_searcher()

    def finish_writing(self, *, anew: bool = False) -> None:
        """Write the side file, so the next search starts quickly, and refresh.

        One of the newest state is left as it is, unless it is to be written `anew`.
        """
        store = self.store
        if anew and (folder := find_local_folder(self.uri)):
            remove_side_file(folder)
            self._side = self._searcher = None
        write_side_file(store)
        self.refresh()

    def get_searcher(self) -> Searcher:
        """Return the searcher of what is stored; the first call reads it."""
        if self._searcher is None:
            self._refresh_side()
            self._searcher = self._make_searcher()
        return self._searcher[1]

    def _make_searcher(self) -> tuple[object, Searcher, dict[str, Any]]:
        reader = self.reader
        return *opening.make_searcher(reader), reader.header

    def _refresh_side(self) -> None:
        """Take the side file of the newest state; without one, the tables.

        If neither can be opened, as while the index is rebuilt, what was open before stays.
        """
        before = side = self._side
        if before is None or not is_newest(before):
            side = opening.open_side_file(self.uri)
        if before is not None and side is None and self._store is None:
            self._store = opening.open_store(self.uri)
        self._side = side
