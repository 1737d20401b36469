"""The file of the subtitles of an index, beside its tables.

All of it comes from files that are still there. So one that is lost, damaged or of another version
is begun anew, and the next run reads the subtitles again. An index in an object store has none.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.search.store.subtitles import SCHEMA, Subtitles

if TYPE_CHECKING:  # a search in an index without subtitles does without it
    import sqlite3

NAME = "subtitles.sqlite"
# Version of the tables; a file of another one is not read.
FORMAT = 1
# Seconds to wait for another process that writes, and attempts to begin a file anew.
PATIENCE, ATTEMPTS = 30.0, 2


def locate_subtitles(uri: str) -> Path | None:
    """Return the path of the file; None for an index in an object store."""
    folder = find_local_folder(uri)
    return folder / NAME if folder else None


@contextlib.contextmanager
def open_subtitles(uri: str) -> Iterator[Subtitles | None]:
    """Open the subtitles of an index for reading; None if it has none.

    Raises:
        VideoIndexError: they cannot be read.
    """
    place = locate_subtitles(uri)
    if place is None or not place.is_file():
        yield None
        return
    import sqlite3

    try:
        # What a process left half done that was killed is taken back, for which SQLite writes.
        mode = "rw" if Path(f"{place}-journal").exists() else "ro"
        with contextlib.closing(_connect(place, mode)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
                yield None
                return
            yield Subtitles(connection)
    except sqlite3.Error as error:
        raise VideoIndexError(
            f"the subtitles in {place} cannot be read ({error}); `tempme index FOLDER --verify` "
            "repairs them"
        ) from error


@contextlib.contextmanager
def write_subtitles(uri: str) -> Iterator[Subtitles]:
    """Open the subtitles of an index in a folder for a run; damaged ones are begun anew.

    Raises:
        VideoIndexError: they cannot be written, such as on a full disk.
    """
    import sqlite3

    place = locate_subtitles(uri)
    assert place is not None
    try:
        with contextlib.closing(_open_for_writing(place)) as connection:
            subtitles = Subtitles(connection)
            yield subtitles
            subtitles.commit()
    except sqlite3.Error as error:
        if type(error) is sqlite3.DatabaseError:  # damaged
            remove_subtitles(uri)
        _take_back(place)
        raise VideoIndexError(
            f"subtitles cannot be written to {place} ({error}); the next run reads them again"
        ) from error


def purge_subtitles(uri: str, owners: set[str]) -> None:
    """Remove the subtitles of all but some owners, also from the disk."""
    place = locate_subtitles(uri)
    if place is not None and place.exists():
        with write_subtitles(uri) as subtitles:
            subtitles.purge(owners)


def check_subtitles(uri: str, *, repair: bool) -> tuple[int, str]:
    """Return how many passages there are, and what is damaged; "" if nothing is.

    With `repair` damaged ones are removed, so the next run reads them again.
    """
    try:
        with open_subtitles(uri) as subtitles:
            if subtitles is None:
                return 0, ""
            damage = subtitles.find_damage()
            count = 0 if damage else subtitles.count_lines()
        if repair and not damage:  # only then words are compared with their index
            with write_subtitles(uri) as subtitles:
                damage = subtitles.find_damage()
    except VideoIndexError as error:
        count, damage = 0, str(error)
    if damage and repair:
        remove_subtitles(uri)
    return count, damage


def remove_subtitles(uri: str) -> None:
    """Remove the file."""
    if place := locate_subtitles(uri):
        _remove(place)


def _take_back(place: Path) -> None:
    """Take back what is half done, as of a disk that was full, which has room again by that."""
    import sqlite3

    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(place, "rw")) as opened:
        opened.execute("SELECT 1 FROM sqlite_master").fetchone()


def _remove(place: Path) -> None:
    for suffix in ("", "-journal"):
        Path(f"{place}{suffix}").unlink(missing_ok=True)


def _open_for_writing(place: Path) -> "sqlite3.Connection":
    """Open the file, and make it if it is missing; one of another version is removed first.

    So is one that is damaged. Several shards may begin at once.
    """
    import sqlite3

    for _ in range(ATTEMPTS):
        connection = _connect(place, "rwc")
        try:
            connection.execute("BEGIN IMMEDIATE")  # waits for others
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            is_new = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            if is_new:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            if is_new or version == FORMAT:
                connection.commit()
                return connection
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # not damaged
                connection.close()
                raise
        connection.close()
        _remove(place)
    raise sqlite3.OperationalError("another program changes them")


def _connect(place: Path, mode: str) -> "sqlite3.Connection":
    import sqlite3

    address = f"{place.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, check_same_thread=False)
    connection.execute("PRAGMA secure_delete = ON")
    return connection
