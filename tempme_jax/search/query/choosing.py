"""How an index is searched: by all vectors in memory, coded ones, or the database."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.search.query.candidates import (
    Candidates,
    DatabaseCandidates,
    InMemoryCandidates,
)
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.coded_candidates import CodedCandidates
from tempme_jax.search.query.wording import explain_damage
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.sidefile import SideFile

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store


class ChosenCandidates(NamedTuple):
    """What can be found, how, and which part of the index is damaged: a sentence; "" if none is."""

    catalogue: Catalogue
    candidates: Candidates
    damage: str


def choose_candidates(
    store: "Store | SideFile", rows: Iterable[FileRow], paths: Mapping[str, Path]
) -> ChosenCandidates:
    """Choose how to search; the arguments are those of `Searcher`."""
    rows = list(rows)
    catalogue, damage = Catalogue(rows, paths), ""
    if not store.is_large:
        found = InMemoryCandidates(store, catalogue)
        if damaged := found.find_damaged(catalogue, store.read_checksums()):
            whole = [row for row in rows if row.content not in damaged]
            damage = explain_damage(len(damaged), "video")
            catalogue = Catalogue(whole, paths)
            found = InMemoryCandidates(store, catalogue)
        return ChosenCandidates(catalogue, found, damage)
    if isinstance(store, SideFile):
        return ChosenCandidates(catalogue, CodedCandidates(store, catalogue), "")
    missing = int(catalogue.windows.sum()) - store.count_windows()
    damage = explain_damage(missing, "window") if missing > 0 else ""
    return ChosenCandidates(catalogue, DatabaseCandidates(store, catalogue), damage)
