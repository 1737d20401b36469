"""LanceDB: connecting to the tables of an index, maintaining them, and finding nearest vectors."""

import contextlib
import os
import re
import warnings
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, cast

os.environ.setdefault("LANCEDB_LOG", "error")  # otherwise it writes lines of its own

import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
from lancedb.index import IvfSq  # noqa: E402
from lancedb.query import LanceVectorQueryBuilder  # noqa: E402
from lancedb.table import Table  # noqa: E402

from tempme_jax.search.store.locking import find_local_folder  # noqa: E402
from tempme_jax.search.store.rows import Near  # noqa: E402

# The header is written last and removed first.
TABLES = ("header", "unrelated", "files", "windows")
ID = re.compile(r"[0-9a-f]+(-[0-9]+)?")

# A table of at most FEW_PARTS parts is left alone; one of more than MANY_PARTS is always compacted.
FEW_PARTS, MANY_PARTS = 20, 200

# A search looks into at least so many partitions of the vector index (one for each 8,192 windows).
PARTITIONS = 48
# The index rounds vectors to bytes, so the best ones may come in the wrong order. Then the exact
# vectors of REFINEMENT times as many windows as asked for are compared; of just as many from PLENTY
# windows on.
REFINEMENT, PLENTY = 2, 100
# The vector index is rebuilt once more than this share of the windows is missing from it.
UNINDEXED = 0.2
# Longer lists of contents slow the database down more than looking at more windows does.
CONTENTS_AT_ONCE = 4000


def connect(uri: str | os.PathLike[str]) -> lancedb.DBConnection:
    """Open the database in a folder, which is created if it is missing, or in an object store."""
    address = make_address(uri)
    connection = lancedb.connect(address)
    # For a store such as file+uring://, LanceDB also makes empty folders of the name of the whole
    # address, in the current folder.
    if "://" in address and os.path.isdir(address):
        with contextlib.suppress(OSError):
            os.removedirs(address)
    return connection


def make_address(uri: str | os.PathLike[str]) -> str:
    """Return an absolute path for a folder, and the address of an object store as it is."""
    return str(find_local_folder(uri) or uri)


def is_missing_folder(uri: str | os.PathLike[str]) -> bool:
    """Return True for a folder that does not exist; `connect` would create it."""
    folder = find_local_folder(uri)
    return folder is not None and not folder.is_dir()


def drop_tables(connection: lancedb.DBConnection) -> None:
    """Remove the tables of an index, as far as they are there."""
    for name in TABLES:
        try:
            connection.drop_table(name)
        except ValueError as error:
            if "was not found" not in str(error):
                raise


def read_creation_id(files: Table) -> str:
    """Return the id that `tables.create_tables` gave an index, from its table of files."""
    return (files.schema.metadata or {}).get(b"made", b"").decode()


def remove_old_versions(table: Table) -> None:
    """Remove all versions but the newest, and files of none; no other process may write."""
    with warnings.catch_warnings():  # LanceDB warns that readers of old versions will fail
        warnings.simplefilter("ignore", UserWarning)
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def is_scattered(table: Table) -> bool:
    """Return whether it is time to compact a table, which rewrites all of it.

    The old files stay on the disk for a day. So a table is compacted only when it has doubled, or
    has so many parts that they slow down reading.
    """
    stats = cast(Any, table.stats())  # LanceDB declares a class, but returns a dictionary
    rows, parts = stats["num_rows"], stats["fragment_stats"]["num_fragments"]
    added = rows - stats["fragment_stats"]["lengths"]["max"]
    return parts > MANY_PARTS or (parts > FEW_PARTS and 2 * added >= rows)


def make_condition(column: str, ids: Iterable[str]) -> str:
    """Make the SQL condition that a column is one of some ids, at least one.

    Raises:
        ValueError: one of them is not an id, so it could mean anything in SQL.
    """
    ids = list(ids)
    for given in ids:
        if not ID.fullmatch(given):
            raise ValueError(
                f"{given!r} is not an id: ids are hexadecimal digits, followed by a hyphen and a "
                "number for a window"
            )
    return f"{column} IN ({', '.join(map(repr, ids))})"


def make_index(table: Table) -> None:
    """Make the vector index of a table of windows, unless it has one of most of them."""
    for index in table.list_indices():
        statistics = table.index_stats(index.name)
        if statistics and statistics.num_unindexed_rows <= UNINDEXED * table.count_rows():
            return
    table.create_index("vector", config=IvfSq(distance_type="cosine"))


def find_nearest(
    table: Table,
    vector: np.ndarray,
    count: int,
    contents: Collection[str] = (),
    condition: str | None = None,
) -> list[Near]:
    """Implement `Store.find_nearest`; `condition` is that of `contents`, None allows all."""
    if condition is None:
        return _read_rows(_make_query(table, vector, count).to_arrow())
    if len(contents) > CONTENTS_AT_ONCE:
        allowed = set(contents)
        found = _read_rows(_make_query(table, vector, max(1000, 16 * count)).to_arrow())
        kept = [near for near in found if near.content in allowed]
        if len(kept) >= count:
            return kept[:count]
    return _read_rows(_make_query(table, vector, count).where(condition).to_arrow())


def find_nearest_many(table: Table, vectors: np.ndarray, count: int) -> list[list[Near]]:
    """Implement `Store.find_nearest_many`."""
    found = _make_query(table, np.atleast_2d(vectors), count).to_arrow()
    if "query_index" not in found.column_names:  # a batch of one
        return [_read_rows(found)]
    return [_read_rows(found.filter(pc.field("query_index") == i)) for i in range(len(vectors))]


def _make_query(table: Table, vectors: np.ndarray, count: int) -> LanceVectorQueryBuilder:
    query = table.search(np.asarray(vectors, np.float32), vector_column_name="vector")
    assert isinstance(query, LanceVectorQueryBuilder)
    query = query.distance_type("cosine").maximum_nprobes(0).minimum_nprobes(PARTITIONS)
    # LanceDB warns unless the distance is asked for.
    columns = [*Near._fields[:4], "_distance"]
    refinement = REFINEMENT if count < PLENTY else 1
    return query.refine_factor(refinement).select(columns).limit(count)


def _read_rows(found: pa.Table) -> list[Near]:
    columns = [found[name].to_pylist() for name in Near._fields[:4]]
    scores = [1 - distance for distance in found["_distance"].to_pylist()]
    return [Near(*values) for values in zip(*columns, scores, strict=True)]
