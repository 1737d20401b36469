"""The nearest vectors of a table, by the index that LanceDB keeps of them or without."""

import os
from collections.abc import Collection

os.environ.setdefault("LANCEDB_LOG", "error")  # as in database.py

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
from lancedb.index import IvfSq  # noqa: E402
from lancedb.query import LanceVectorQueryBuilder  # noqa: E402
from lancedb.table import Table  # noqa: E402

from tempme_jax.search.store.rows import Near  # noqa: E402

# Of the partitions of the index (one for each 8,192 windows) a search looks into at least so many.
PARTITIONS = 48
# The index rounds vectors to bytes, which orders the best ones wrongly. The vectors themselves of
# twice what is asked for are compared; of what is asked for, where that is plenty.
REFINEMENT, PLENTY = 2, 100
# The share of windows that are compared one by one, because they came after the index was made.
UNINDEXED = 0.2
# Longer lists of contents slow the database down more than looking at more windows does.
CONTENTS_AT_ONCE = 4000


def make_index(table: Table) -> None:
    """Make the index of a table of windows, unless it has one of most of them."""
    for index in table.list_indices():
        unindexed = table.index_stats(index.name).num_unindexed_rows
        if unindexed <= UNINDEXED * table.count_rows():
            return
    table.create_index("vector", config=IvfSq(distance_type="cosine"))


def nearest(
    table: Table,
    vector: np.ndarray,
    count: int,
    contents: Collection[str] | None = None,
    where: str | None = None,
) -> list[Near]:
    """What `Store.nearest` returns; `where` is the condition for `contents`."""
    if contents is None:
        return _rows(_query(table, vector, count).to_arrow())
    if len(contents) > CONTENTS_AT_ONCE:
        allowed = set(contents)
        found = _rows(_query(table, vector, max(1000, 16 * count)).to_arrow())
        kept = [near for near in found if near.content in allowed]
        if len(kept) >= count:
            return kept[:count]
    return _rows(_query(table, vector, count).where(where).to_arrow())


def nearest_many(table: Table, vectors: np.ndarray, count: int) -> list[list[Near]]:
    """What `Store.nearest_many` returns."""
    found = _query(table, np.atleast_2d(vectors), count).to_arrow()
    if "query_index" not in found.column_names:  # a batch of one
        return [_rows(found)]
    asked = found["query_index"]
    return [_rows(found.filter(pc.equal(asked, number))) for number in range(len(vectors))]


def _query(table: Table, vectors: np.ndarray, count: int) -> LanceVectorQueryBuilder:
    query = table.search(np.asarray(vectors, np.float32), vector_column_name="vector")
    query = query.distance_type("cosine").maximum_nprobes(0).minimum_nprobes(PARTITIONS)
    # Unless it is asked for, the distance comes with a warning.
    columns = [*Near._fields[:4], "_distance"]
    refinement = REFINEMENT if count < PLENTY else 1
    return query.refine_factor(refinement).select(columns).limit(count)


def _rows(found: pa.Table) -> list[Near]:
    columns = [found[name].to_pylist() for name in Near._fields[:4]]
    scores = [1 - distance for distance in found["_distance"].to_pylist()]
    return [Near(*values) for values in zip(*columns, scores, strict=True)]
