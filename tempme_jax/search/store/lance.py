"""How LanceDB keeps an index: whether one is there, when its files are too many, how it goes."""

import os

os.environ.setdefault("LANCEDB_LOG", "error")  # otherwise it writes lines of its own

import lancedb  # noqa: E402

from tempme_jax.search.store.failures import reading, writing  # noqa: E402
from tempme_jax.search.store.locking import local_folder  # noqa: E402

# The header is written last and goes first.
TABLES = ("header", "unrelated", "files", "windows")

# Up to so many parts of a table nothing is done; above so many, it is put together in any case.
FEW_PARTS, MANY_PARTS = 20, 200


def connect(uri: str | os.PathLike[str]) -> lancedb.DBConnection:
    """The database in a folder, which is made if there is none, or in an object store."""
    return lancedb.connect(address(uri))


def address(uri: str | os.PathLike[str]) -> str:
    """A whole path, or the address of an object store as it is."""
    folder = local_folder(uri)
    return str(uri if folder is None else folder)


def exists(uri: str | os.PathLike[str]) -> bool:
    """What `Store.exists` returns."""
    with reading(uri):
        folder = local_folder(uri)
        # To connect makes a folder, which to look must not.
        if folder is not None and not folder.is_dir():
            return False
        try:
            connect(uri).open_table("header")
        except (ValueError, RuntimeError) as error:
            return "was not found" not in str(error)
    return True


def remove(uri: str | os.PathLike[str]) -> None:
    """What `Store.remove` does."""
    folder = local_folder(uri)
    if folder is not None and not folder.is_dir():
        return
    with writing(uri, "some of it may be gone; try again"):
        connection = connect(uri)
        for name in TABLES:
            connection.drop_table(name, ignore_missing=True)


def is_scattered(table: lancedb.table.Table) -> bool:
    """Whether it is time to put a table together, which writes all of it anew.

    What was there before stays for a day, so that it is only done when a table has doubled, or
    has so many parts that they slow down reading.
    """
    stats = table.stats()
    parts = stats["fragment_stats"]["num_fragments"]
    added = stats["num_rows"] - stats["fragment_stats"]["lengths"]["max"]
    return parts > MANY_PARTS or (parts > FEW_PARTS and 2 * added >= stats["num_rows"])
