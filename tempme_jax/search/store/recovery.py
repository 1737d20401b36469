"""Return a damaged index to its last whole state, as after a power cut.

LanceDB keeps earlier versions of its tables for a day or longer. The versions after the last whole
one are removed; then the numbers of versions go on above them, so readers notice the change.
"""

import os
import shutil
import tempfile
from pathlib import Path

import lancedb

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import lance, place
from tempme_jax.search.store.checksums import PARTS, Checksums, list_versions
from tempme_jax.search.store.failures import (
    explain_read_errors,
    explain_write_errors,
    find_errno,
    is_failure,
    summarize,
)
from tempme_jax.search.store.locking import find_local_folder


def recover(uri: str | os.PathLike[str]) -> list[str]:
    """Return the tables of an index to their last whole versions; no other process may write.

    Returns:
        What was damaged; nothing if all is whole, or for an index in an object store.

    Raises:
        VideoIndexError: no whole version of a table is left, or the index cannot be written.
    """
    folder = find_local_folder(uri)
    if folder is None:
        return []
    checksums, damage = Checksums(folder), []
    with explain_read_errors(uri):
        checks = {table: _check_versions(checksums, table) for table in lance.TABLES}
    for table, (whole, found) in checks.items():
        damage += found
        if whole is None:
            raise VideoIndexError(
                f"the index {uri} is damaged ({found[0] if found else f'{table} is missing'}), and "
                "no earlier state of it is left; rebuild it with `tempme index FOLDER --rebuild`"
            )
    with explain_write_errors(uri, "what is whole is intact"):
        for table, (whole, found) in checks.items():
            if found and whole is not None:
                _return_to(checksums, table, whole)
        if damage:
            checksums.prune()
            for table in lance.TABLES:
                checksums.note(table)
    return damage


def _check_versions(checksums: Checksums, table: str) -> tuple[int | None, list[str]]:
    """Return the last whole version of a table, and what is wrong with later ones."""
    versions = list_versions(checksums.folder, table)
    found = checksums.find_lost(table, versions)
    for number in sorted(versions, reverse=True):
        wrong = checksums.check_version(table, versions[number], thorough=True)
        wrong = wrong or _try_to_read(checksums.folder, table, versions[number])
        if not wrong:
            return number, found
        found += wrong
    return None, found


def _try_to_read(folder: Path, table: str, manifest: Path) -> list[str]:
    """Return why a version cannot be read, unless that is no damage: then the error is raised.

    LanceDB reads the newest version first. So the version is read in a folder of its own, where it
    is the only one.
    """
    with tempfile.TemporaryDirectory() as alone:
        top = Path(alone) / f"{table}.lance"
        (top / "_versions").mkdir(parents=True)
        shutil.copy(manifest, top / "_versions")
        for part in PARTS[:-1]:
            (top / part).symlink_to(folder / f"{table}.lance" / part)
        try:
            opened = lancedb.connect(alone).open_table(table)
            opened.search().select(
                ["end"] if table == "windows" else opened.schema.names
            ).to_arrow()
        except BaseException as error:
            if not is_failure(error) or find_errno(error) is not None:
                raise
            return [f"{manifest.name} of {table}: {summarize(error)}"]
    return []


def _return_to(checksums: Checksums, table: str, whole: int) -> None:
    """Remove the versions after a whole one, and make new ones like it, above all numbers used."""
    folder = checksums.folder
    versions = list_versions(folder, table)
    newest = max(versions.keys() | checksums.list_noted_versions(table))
    for number, path in versions.items():
        if number > whole:
            path.unlink()
    (folder / f"{table}.lance" / "_versions" / "latest_version_hint.json").unlink(missing_ok=True)
    linked = place.has_hard_links(folder)
    connection = lance.connect(folder if linked else place.make_write_address(folder))
    opened = connection.open_table(table)
    while opened.version <= newest:
        opened.restore(whole)
