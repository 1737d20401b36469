"""Comparing the videos of a folder with those of an index, by names, sizes and times."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.search.indexing.walk import UNREADABLE, FoundFile, SkippedPath

if TYPE_CHECKING:  # importing the database takes long, and this does without it
    from tempme_jax.search.store.rows import FileRow


class Difference(NamedTuple):
    """The difference between a folder and an index of it.

    Attributes:
        unchanged: indexed files whose size and time have not changed.
        look_at: files that are new, have changed, or failed before and are to be tried again.
            Their content may prove to be indexed already, if they were moved, copied or touched.
        failed_before: files that failed before, have not changed, and are not tried again.
        gone: indexed files that are no longer there.
        unseen: indexed files in places that could not be read, so they may still be there.
        left_out: indexed files that are still there, and left out now.
    """

    unchanged: list["FileRow"]
    look_at: list[FoundFile]
    failed_before: list["FileRow"]
    gone: list["FileRow"]
    unseen: list["FileRow"]
    left_out: list["FileRow"]


def compare_with_index(
    found: Iterable[FoundFile],
    known: Iterable["FileRow"],
    *,
    root: str,
    retry_failed: bool,
    skipped: Iterable[SkippedPath] = (),
    left_out: Iterable[SkippedPath] = (),
) -> Difference:
    """Compare the result of `find_videos` with the rows of an index that have the given root.

    Files below a skipped path that could not be read count as unseen, not as gone. `retry_failed`
    says whether to try files again that failed before and have not changed.
    """
    rows = {row.path: row for row in known if row.root == root}
    difference = Difference([], [], [], [], [], [])
    for file in found:
        row = rows.pop(file.path, None)
        if row is None or (row.size, row.mtime_ns) != (file.size, file.mtime_ns):
            difference.look_at.append(file)
        elif row.reason and retry_failed:
            difference.look_at.append(file)
        else:
            (difference.failed_before if row.reason else difference.unchanged).append(row)
    unreadable = {path for path, reason in skipped if reason.startswith(UNREADABLE)}
    omitted = {path for path, _ in left_out}
    for row in rows.values():
        parents = set(_list_parents(row.path))
        if not unreadable.isdisjoint(parents):
            difference.unseen.append(row)
        elif not omitted.isdisjoint(parents):
            difference.left_out.append(row)
        else:
            difference.gone.append(row)
    return difference


def _list_parents(path: bytes) -> Iterable[bytes]:
    """Yield a path and all folders that it lies in."""
    while path:
        yield path
        path = os.path.dirname(path)
