"""The side file of an index: all that a search needs, read without the database.

To import LanceDB and to read its tables takes longer than everything else in a search. So after a
run, what the tables hold, apart from thumbnails, is also written to one file that is mapped into
memory. It belongs to one state of the tables, which its stamp tells; in any other state, and if it
is missing or damaged, the tables are read. An index in an object store has none.
"""

import contextlib
import functools
import hashlib
import json
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from tempme_jax.files import write_whole
from tempme_jax.mapped import map_arrays
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.checksums import Checksums, list_versions
from tempme_jax.search.store.coded import CodedVectors, refuse_changed
from tempme_jax.search.store.frame_codes import FrameScores, find_changed
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.search.store.rows import FileRow, Vectors

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

NAME = "search.safetensors"
# Files of another format are not read.
FORMAT = "1"
TABLES = ("header", "unrelated", "files", "windows")
# Unfinished files of this age are those of processes that were killed.
OLD_SECONDS = 3600


class SideFile:
    """One state of an index, as its side file holds it: the reading half of `Store`.

    Attributes:
        uri: address of the index.
        header: description of the index.
        unrelated: texts, and their vectors, float32 [m, d].
        version: the stamp of the state.
        is_large: whether it is to be searched by its coded vectors, and not by all vectors in
            memory.
    """

    def __init__(self, uri: str, arrays: dict[str, np.ndarray], metadata: dict[str, str]):
        """Take what `map_arrays` returned; call `read_side_file` instead."""
        self.uri, self._arrays, self.version = uri, arrays, metadata["stamp"]
        self.header: dict[str, Any] = json.loads(metadata["header"])
        self.unrelated = _unpack(arrays["texts"]), arrays["unrelated"]
        self.is_large = "codes" in arrays
        if self.is_large:
            self.coded = CodedVectors(Path(uri) / NAME, arrays, metadata)

    def count_windows(self) -> int:
        """Count the windows."""
        return len(self._arrays["vectors"])

    def read_files(self) -> list[FileRow]:
        """Read the rows of all files, in the order of their ids."""
        rows = _unpack(self._arrays["files"])
        return [FileRow(row[0], row[1], bytes.fromhex(row[2]), *row[3:]) for row in rows]

    def read_checksums(self) -> dict[str, int]:
        """Return nothing: the file was checked as a whole."""
        return {}

    def read_vectors(self) -> Vectors:
        """Return all windows, in the order of their ids."""
        arrays = self._arrays
        return Vectors(
            ids=self.read_ids(slice(None)),
            contents=arrays["contents"],
            names=self.names,
            starts=arrays["starts"],
            ends=arrays["ends"],
            matrix=arrays["vectors"],
        )

    @functools.cached_property
    def names(self) -> list[str]:
        """The contents, in the order of their windows."""
        return _unpack(self._arrays["names"])

    def read_ids(self, rows: slice | np.ndarray) -> list[str]:
        """Return the ids of some windows."""
        ids = np.ascontiguousarray(self._arrays["ids"][rows])
        return ids.view(f"S{ids.shape[1]}")[:, 0].astype(str).tolist() if ids.size else []

    def read_times(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return starts and ends of some windows in seconds, float64 [n]."""
        starts, ends = (self._arrays[name][rows].astype(np.float64) for name in ("starts", "ends"))
        return starts, ends

    @property
    def text_scores(self) -> np.ndarray:
        """The best scores of the unrelated texts, float32 [m]; only of a large index."""
        return self._arrays["text_scores"]

    @property
    def has_frames(self) -> bool:
        """Whether windows keep vectors of their frames."""
        return "frames" in self._arrays

    def read_frames(self, ids: Sequence[str]) -> np.ndarray:
        """Return the `frame_codes` of windows, uint8 [n, size], in the order of their ids.

        Raises:
            VideoIndexError: they have changed since they were written.
        """
        known = self._arrays["ids"]
        table = known.view(f"S{known.shape[1]}")[:, 0]  # ascending
        places = np.searchsorted(table, np.array(list(ids), table.dtype))
        rows = self._arrays["frames"][places]
        if find_changed(ids, rows):
            refuse_changed(Path(self.uri) / NAME)
        return rows

    def read_text_frames(self) -> FrameScores:
        """Return how the unrelated texts fit the frames of their nearest windows."""
        return FrameScores(self._arrays["text_frames"], self._arrays["text_weights"])


def read_side_file(uri: str) -> SideFile | None:
    """Return the newest state of an index, if its side file holds it and nothing is damaged."""
    folder = find_local_folder(uri)
    if folder is None or not (folder / NAME).is_file():
        return None
    try:
        stamp = compute_stamp(folder)
        arrays, metadata = map_arrays(folder / NAME)
        if (metadata.get("format"), metadata.get("stamp")) != (FORMAT, stamp):
            return None
        computed = _compute_checksums(arrays, metadata["header"])
        if any(metadata[name] != crc for name, crc in computed.items()):
            return None
        checksums = Checksums(folder)
        if any(checksums.find_damage(table) for table in TABLES):
            return None
        return SideFile(uri, arrays, metadata)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None  # the tables say what is wrong


def is_newest(side: SideFile) -> bool:
    """Return whether no process has written to the index since, or removed the file."""
    folder = find_local_folder(side.uri)
    if folder is None or not (folder / NAME).exists():
        return False
    try:
        return compute_stamp(folder) == side.version
    except OSError:  # another process has just removed what was listed
        return False


def write_side_file(store: "Store") -> bool:
    """Write the side file of an index, and return whether it belongs to the newest state now.

    It is not written for an index in an object store or one that is damaged, nor if another process
    writes at the same moment, or the disk is full.
    """
    folder = find_local_folder(store.uri)
    if folder is None:
        return False
    try:
        return _write_newest(store, folder)
    except (OSError, VideoIndexError):
        return False  # searches read the tables, and say what is wrong


def _write_newest(store: "Store", folder: Path) -> bool:
    from tempme_jax.search.store.sidewriter import pack, write_arrays  # it imports Arrow

    store.refresh()
    stamp = compute_stamp(folder)
    if _read_stamp(folder) == stamp:
        return True
    remove_unfinished(folder, OLD_SECONDS)
    rows, header = store.read_files(), json.dumps(store.header)
    arrays = {
        "files": pack([[*row[:2], row.path.hex(), *row[3:]] for row in rows]),
        "texts": pack(store.unrelated[0]),
    }
    metadata = {"format": FORMAT, "stamp": stamp, "header": header, "crc": "-" * 8}
    metadata["crc_vectors"] = metadata["crc"]
    with write_whole(folder / NAME) as unfinished:
        file = write_arrays(store, rows, unfinished, arrays, metadata)
        written = map_arrays(unfinished)[0]
        metadata |= _compute_checksums(written, header)
        file.write_metadata(metadata)
        if compute_stamp(folder) != stamp:
            raise VideoIndexError(f"{store.uri} was changed while it was read")
    if compute_stamp(folder) != stamp:  # what was written may have just been forgotten
        remove_side_file(folder)
        return False
    return True


def _compute_checksums(arrays: dict[str, np.ndarray], header: str) -> dict[str, str]:
    """Compute the checksums in the metadata; vectors that are read in parts have others."""
    others = {name: array for name, array in arrays.items() if name not in ("vectors", "frames")}
    found = {"crc": compute_checksum(others, header)}
    if "codes" not in arrays:
        found["crc_vectors"] = compute_checksum({"vectors": arrays["vectors"]})
    return found


def remove_side_file(folder: Path) -> None:
    """Remove the side file, as before something is removed that may stay nowhere on the disk."""
    (folder / NAME).unlink(missing_ok=True)
    remove_unfinished(folder)


def remove_unfinished(folder: Path, seconds: float = 0) -> None:
    """Remove what processes that were killed had written, if it is older than some seconds."""
    for path in folder.glob(f".{NAME}.*"):
        with contextlib.suppress(FileNotFoundError):
            if not seconds or time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def compute_stamp(folder: Path) -> str:
    """Return the hash of the newest manifests of the tables, which no two states share.

    Numbers of versions may return after a recovery; manifests name files whose names are random.
    """
    digest = hashlib.sha256()
    for table in TABLES:
        versions = list_versions(folder, table)
        newest = versions[max(versions)] if versions else None
        data = newest.read_bytes() if newest else b""
        digest.update(f"{table} {newest and newest.name} {len(data)} ".encode() + data)
    return digest.hexdigest()


def compute_checksum(arrays: dict[str, np.ndarray], header: str = "") -> str:
    """Compute the CRC-32 of a header and of arrays, in the order of their names."""
    crc = zlib.crc32(header.encode())
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).data, crc)
    return f"{crc:08x}"


def _read_stamp(folder: Path) -> str:
    """Return the stamp of the side file; "" if it is missing or damaged."""
    try:
        return map_arrays(folder / NAME)[1].get("stamp", "")
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return ""


def _unpack(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())
