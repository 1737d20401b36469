"""Checks of an index of videos."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator

from tempme_jax.doctor.finding import Finding, State
from tempme_jax.words import pluralize, printable_name


def check_index(place: str | None = None) -> Iterator[Finding]:
    """Look for files of an index that are to be looked at again; change nothing.

    Args:
        place: path or address of the index, or its folder of videos; None for the index of the
            current folder or of one above it, and nothing is said if there is none.
    """
    from tempme_jax.search import paths
    from tempme_jax.search.stats import compute_stats, is_outdated
    from tempme_jax.search.store.store import Store

    uri = paths.find_place(place).uri
    if not Store.exists(uri):
        if place is not None:
            text = f"there is no index at {printable_name(os.fsencode(uri))}"
            yield Finding("index", State.PROBLEM, text, "tempme index FOLDER", {"index": uri})
        return
    store = Store.open(uri)
    stats = compute_stats(store)
    outdated = Counter(row.root for row in store.read_files() if is_outdated(row))
    text = (
        f"{printable_name(os.fsencode(uri))}: {pluralize(stats.videos, 'video')}, "
        f"{pluralize(stats.windows, 'window')}, {stats.failed} failed"
    )
    values = {"index": uri, "videos": stats.videos, "outdated": stats.outdated}
    if not outdated:
        yield Finding("index", State.OK, text, values=values)
    for root, count in outdated.items():
        folder = str(paths.decode_root(uri, root))
        where = "" if root == paths.BESIDE else f" --index {shlex.quote(uri)}"
        why = f"{pluralize(count, 'file')} of {printable_name(os.fsencode(folder))}"
        yield Finding(
            "index",
            State.PROBLEM,
            f"{text}; {why} were read by an older version, which may have read them otherwise",
            f"tempme index {shlex.quote(folder)}{where}",
            values,
        )
