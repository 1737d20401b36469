"""Checksums of the files of an index in a folder: damage is found when the index is opened.

LanceDB never changes a file once it is written. After each commit the new files are forced to the
disk, and their sizes and CRC-32 are noted in the file `checksums` of the index:

    made 0123...                        the index, since another may be made in its place
    files.lance/data/x.lance 512 9f...  size and CRC-32; each line ends with a CRC-32 of itself

What is not noted there, as files of an index of an earlier version, counts as whole if it ends as
LanceDB's files do.
"""

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tempme_jax.files import sync_to_disk, write_text

NAME = "checksums"
PARTS = ("data", "_deletions", "_indices", "_versions")
# The last bytes of LanceDB's own files.
MAGIC = b"LANC"
# These tables are small, so opening an index compares all their bytes. The windows have checksums
# of their own, which are compared when they are read.
COMPARED = ("header", "unrelated", "files")
BLOCK = 2**20


class Checksum(NamedTuple):
    """Size in bytes and CRC-32 of a file."""

    size: int
    crc: int


class Checksums:
    """The checksums of an index in a folder; several processes may add to them.

    Attributes:
        folder: the folder of the index.
    """

    def __init__(self, folder: Path):
        """Read the checksums, if there are any."""
        self.folder = folder
        self.known = self._read()

    def begin(self, made: str) -> None:
        """Begin anew, for the index with this id."""
        self.known = {}
        write_text(self.folder / NAME, _make_line(f"made {made}"))

    def note(self, table: str) -> None:
        """Force the files of a table's newest version to the disk, and note their checksums.

        Raises:
            OSError: the disk is full or broken.
        """
        self.known |= self._read()  # of other processes
        new = [path for path in self._find_used(table) if self._name(path) not in self.known]
        for path in new:
            sync_to_disk(path)
        for folder in sorted({path.parent for path in new}):
            sync_to_disk(folder)
            sync_to_disk(folder.parent)
        found = {self._name(path): compute_file_checksum(path) for path in new}
        if found and (self.folder / NAME).exists():
            lines = [f"{name} {size} {crc:08x}" for name, (size, crc) in found.items()]
            with (self.folder / NAME).open("a", encoding="utf-8") as file:
                file.write("".join(map(_make_line, lines)))
            sync_to_disk(self.folder / NAME)
        self.known |= found

    def prune(self) -> None:
        """Leave out files that are gone; no other process may write to the index."""
        first = _read_lines(self.folder / NAME)[:1]
        self.known = {
            name: one for name, one in self._read().items() if (self.folder / name).exists()
        }
        lines = [f"{name} {size} {crc:08x}" for name, (size, crc) in self.known.items()]
        if first:
            write_text(self.folder / NAME, "".join(map(_make_line, [*first, *lines])))

    def find_damage(self, table: str, *, thorough: bool = False) -> list[str]:
        """List what is wrong with the files of a table's newest version.

        Args:
            table: name of the table.
            thorough: compare all bytes, also those of windows.
        """
        while True:
            versions = list_versions(self.folder, table)
            found = self._list_damage(table, versions, thorough)
            # Another process may have replaced files in the meantime.
            if not found or versions == list_versions(self.folder, table):
                return found
            self.known = self._read()

    def check_version(self, table: str, manifest: Path, *, thorough: bool) -> list[str]:
        """List what is wrong with the files of one version of a table."""
        every = thorough or table in COMPARED
        found = [self._check_file(manifest, compares=True)]
        used = _read_bytes(manifest)
        for name in [name for name in self.known if name.startswith(f"{table}.lance/")]:
            path = self.folder / name
            if path.parent.name != "_versions" and is_used(path, used):
                found.append(self._check_file(path, compares=every or "_deletions" in name))
        for path in (self.folder / f"{table}.lance" / "data").glob("*.lance"):
            if self._name(path) not in self.known and is_used(path, used):
                found.append(self._check_file(path, compares=False))
        return [problem for problem in found if problem]

    def find_lost(self, table: str, versions: dict[int, Path]) -> list[str]:
        """Say that newer versions than those in the folder were noted, in a list; else []."""
        lost = self.list_noted_versions(table)
        newest = max(versions, default=0)
        return (
            [f"version {max(lost)} of {table} is missing"] if max(lost, default=0) > newest else []
        )

    def list_noted_versions(self, table: str) -> set[int]:
        """List the numbers of a table's versions that were noted."""
        names = [name for name in self.known if name.startswith(f"{table}.lance/_versions/")]
        return {number for number in map(parse_version, names) if number is not None}

    def _list_damage(self, table: str, versions: dict[int, Path], thorough: bool) -> list[str]:
        if not versions:
            return []
        wrong = self.check_version(table, versions[max(versions)], thorough=thorough)
        return self.find_lost(table, versions) + wrong

    def _check_file(self, path: Path, *, compares: bool) -> str:
        """Say what is wrong with a file; "" if nothing is."""
        name = self._name(path)
        try:
            size = path.stat().st_size
            noted = self.known.get(name)
            if noted is None:
                return "" if _read_end(path) == MAGIC else f"{name} is cut short"
            if size != noted.size:
                return f"{name} has {size} bytes, not {noted.size}"
            if compares and compute_file_checksum(path) != noted:
                return f"{name} has changed since it was written"
        except FileNotFoundError:
            return f"{name} is missing"
        return ""

    def _find_used(self, table: str) -> list[Path]:
        """List the files to note: those of a table's versions, and those that the newest uses."""
        versions = list_versions(self.folder, table)
        if not versions:
            return []
        manifest = _read_bytes(versions[max(versions)])
        top = self.folder / f"{table}.lance"
        paths = (path for part in PARTS[:3] for path in (top / part).rglob("*") if path.is_file())
        return [path for path in paths if is_used(path, manifest)] + list(versions.values())

    def _read(self) -> dict[str, Checksum]:
        lines = _read_lines(self.folder / NAME)
        if not lines or not lines[0].startswith("made ") or not self._is_of(lines[0][5:]):
            return {}
        rows = (line.rsplit(" ", 2) for line in lines[1:])
        return {name: Checksum(int(size), int(crc, 16)) for name, size, crc in rows}

    def _is_of(self, made: str) -> bool:
        """Return whether the index in the folder is the one with this id."""
        versions = list_versions(self.folder, "files").values()
        return any(made.encode() in _read_bytes(path) for path in versions)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def list_versions(folder: Path, table: str) -> dict[int, Path]:
    """List the versions of a table by their numbers, and the file that describes each."""
    versions = folder / f"{table}.lance" / "_versions"
    try:
        names = [name for name in os.listdir(versions) if name.endswith(".manifest")]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    numbered = ((parse_version(name), versions / name) for name in names)
    return {number: path for number, path in numbered if number is not None}


def parse_version(name: str) -> int | None:
    """Return the number of the version that a file describes; None if its name has none.

    >>> parse_version("18446744073709551613.manifest"), parse_version("7.manifest")
    (2, 7)
    """
    number = os.path.basename(name).removesuffix(".manifest")
    if not (number.isascii() and number.isdigit()):
        return None
    # In newer tables the name counts down, so the newest is listed first.
    return int(number) if len(number) < 20 else 2**64 - 1 - int(number)


def is_used(path: Path, manifest: bytes) -> bool:
    """Return whether the version that a manifest describes uses a file of its table.

    A manifest holds the names of data files, the ids of deletions (in their names: fragment,
    version, id) and those of indices, which have a folder each.
    """
    part = path.parent.name
    if part == "data":
        return path.name.encode() in manifest
    if part == "_deletions":
        number = path.stem.rpartition("-")[2]
        return number.isdigit() and b"\x18" + _encode_varint(int(number)) in manifest
    try:
        return bytes.fromhex(part.replace("-", "")) in manifest
    except ValueError:
        return False


def compute_file_checksum(path: Path) -> Checksum:
    """Compute the checksum of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return Checksum(size, crc)


def _encode_varint(number: int) -> bytes:
    """Encode a number as Protocol Buffers do, in which manifests are written."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _make_line(text: str) -> str:
    return f"{text} {zlib.crc32(text.encode()):08x}\n"


def _read_lines(path: Path) -> list[str]:
    """Read the lines that are whole, without their checksums."""
    pairs: Iterable[tuple[str, str, str]] = (
        line.decode("utf-8", "replace").rpartition(" ") for line in _read_bytes(path).splitlines()
    )
    return [text for text, _, crc in pairs if f"{zlib.crc32(text.encode()):08x}" == crc]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _read_end(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(MAGIC)))
        return file.read()
