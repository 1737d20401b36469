"""Videos that a run did not finish: their windows are kept, so the next run resumes within them.

They lie beside the tables of an index, each video in a folder of its own, in parts. No search sees
them: half a video would look like a whole one. They are removed once the video is in the tables.
"""

import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tempme_jax.files import write_whole
from tempme_jax.search.indexing.probe import Source
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.video.reading import READING_VERSION

FOLDER = "unfinished"
# What reading a damaged part may raise.
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Windows(NamedTuple):
    """The first w windows of a video, or some after them.

    Attributes:
        whole: 64 hexadecimal digits, the SHA-256 of the file.
        spans: start and end of each window, in seconds.
        vectors: unit vectors, float32 [w, e]; with vectors of frames, rows of `join_frames`.
        thumbnails: one JPEG file per window.
    """

    whole: str
    spans: list[tuple[float, float]]
    vectors: np.ndarray
    thumbnails: list[bytes]

    def join(self, part: "Windows", common: int) -> "Windows":
        """Add the windows of a part but the first few, which are the last ones of these.

        Raises:
            ValueError: the part is of another file, or its vectors have another length.
        """
        if part.whole != self.whole:
            raise ValueError("these windows are of another file")
        return Windows(
            self.whole,
            self.spans + part.spans[common:],
            np.concatenate([self.vectors, part.vectors[common:]]),
            self.thumbnails + part.thumbnails[common:],
        )


class PartialVideo(Protocol):
    """The windows of a video that have been read, and the vectors of the first of them."""

    whole: str
    spans: list[tuple[float, float]]
    vectors: list[np.ndarray]
    thumbnails: list[bytes]


class UnfinishedVideos:
    """The unfinished videos of an indexed folder.

    Attributes:
        folder: where they are kept; None for an index in an object store, which keeps none.
        known: what `read` found, by key.
        problem: why some could not be kept; empty if all could.
    """

    def __init__(self, uri: str, header: Mapping[str, Any], root: str):
        """Use those of the index at an address.

        Args:
            uri: the address.
            header: its header, which describes the model and the windows. Parts that were made
                for another one are of no use.
            root: the name of the indexed folder in the index.
        """
        place = find_local_folder(uri)
        self.folder = place / FOLDER if place else None
        text = json.dumps([header, READING_VERSION], sort_keys=True)
        self._made_for, self._root = hashlib.sha256(text.encode()).hexdigest(), root
        self.known: dict[str, Windows] = {}
        # Number of windows that are kept of each video, and the end of the last one in seconds.
        self._kept: dict[str, tuple[int, float]] = {}
        self.problem = ""

    def mark(self, source: Source) -> Source:
        """Return the source of a video with the number of windows that are kept of it."""
        found = self.read(source.key)
        return (
            dataclasses.replace(source, known=(len(found.spans), found.whole)) if found else source
        )

    def read(self, key: str) -> Windows | None:
        """Return what is kept of a video, by the key of its source; None if that is nothing.

        Damaged parts, and those behind them, do not count.
        """
        found: Windows | None = None
        for file in self._list_parts(key):
            try:
                about, part = read_part(file)
                start, known = int(file.stem), len(found.spans) if found else 0
                if about["made_for"] != self._made_for or start > known:
                    break
                found = part if found is None else found.join(part, known - start)
            except DAMAGE:
                break
        if found:
            self.known[key] = found
            self._kept[key] = len(found.spans), found.spans[-1][1]
        return found

    def keep(self, videos: Mapping[str, PartialVideo]) -> None:
        """Keep the windows of videos that have vectors and are not kept yet, by key.

        If the disk is full, for example, they are not kept, and `problem` says why.
        """
        if self.folder is None:
            return
        for key, video in videos.items():
            start, end = self._kept.get(key, (0, 0.0))[0], len(video.vectors)
            if end <= start:
                continue
            vectors = np.stack(video.vectors[start:end])
            if not np.isfinite(vectors).all():  # the video will fail
                continue
            part = Windows(
                video.whole, video.spans[start:end], vectors, video.thumbnails[start:end]
            )
            file = self.folder / key / f"{start:08d}.npz"
            about = {"made_for": self._made_for, "root": self._root, "whole": video.whole}
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_part(file, about, part)
            except OSError as error:
                self.problem = f"{error.strerror or error}"
                return
            self._kept[key] = end, video.spans[end - 1][1]

    def measure(self, keys: Iterable[str]) -> tuple[int, float]:
        """Return of how many videos something is kept, and how many seconds of them."""
        kept = [self._kept[key][1] for key in keys if key in self._kept]
        return len(kept), sum(kept)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove what is kept of videos."""
        if self.folder is None:
            return
        for key in keys:
            shutil.rmtree(self.folder / key, ignore_errors=True)
            self._kept.pop(key, None)

    def clear(self) -> None:
        """Remove what is kept of all videos of the indexed folder, and what nobody can use."""
        if self.folder is None or not self.folder.is_dir():
            return
        for place in list(self.folder.iterdir()):
            roots = set()
            for file in self._list_parts(place.name):
                try:
                    roots.add(read_part(file)[0].get("root"))
                except DAMAGE:
                    continue
            if roots <= {self._root}:
                shutil.rmtree(place, ignore_errors=True)
        try:
            self.folder.rmdir()
        except OSError:  # those of other folders are left
            pass

    def _list_parts(self, key: str) -> list[Path]:
        return sorted((self.folder / key).glob("[0-9]*.npz")) if self.folder else []


def write_part(file: Path, about: Mapping[str, str], part: Windows) -> None:
    """Write windows to a file, whole or not at all."""
    with write_whole(file) as unfinished, unfinished.open("wb") as opened:
        np.savez(
            opened,
            about=np.frombuffer(json.dumps(dict(about)).encode(), np.uint8),
            spans=np.array(part.spans, np.float64),
            vectors=np.asarray(part.vectors, np.float32),
            sizes=np.array([len(picture) for picture in part.thumbnails], np.int64),
            pictures=np.frombuffer(b"".join(part.thumbnails), np.uint8),
        )


def read_part(file: Path) -> tuple[dict[str, Any], Windows]:
    """Read what `write_part` wrote; one of `DAMAGE` if that is not there, or damaged."""
    with np.load(file, allow_pickle=False) as arrays:  # a zip file, so it has checksums
        about = json.loads(arrays["about"].tobytes())
        spans = [(float(start), float(end)) for start, end in arrays["spans"]]
        vectors, sizes = arrays["vectors"], arrays["sizes"].tolist()
        pictures = arrays["pictures"].tobytes()
    ends = np.cumsum([0, *sizes])
    if not isinstance(about, dict) or vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"{file} is damaged")
    if not 0 < len(spans) == len(vectors) == len(sizes) or ends[-1] != len(pictures):
        raise ValueError(f"{file} is damaged")
    thumbnails = [pictures[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    return about, Windows(str(about.get("whole", "")), spans, vectors, thumbnails)
