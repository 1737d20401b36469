"""Your own videos: any folder that has a captions.csv or captions.jsonl."""

import dataclasses
import functools
import os
import pathlib
import unicodedata

from tempme_jax.checks import suggest
from tempme_jax.datasets.annotated import hash_name
from tempme_jax.datasets.annotations import Annotation, make_error
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import read_captions, read_csv, read_jsonl
from tempme_jax.datasets.video_files import VideoFiles, find_twins

FIELDS = ("file", "video", "caption", "split", "start", "end", "id", "group")
READERS = {
    "captions.csv": lambda file: read_csv(file, ["caption"], FIELDS),
    "captions.jsonl": lambda file: read_jsonl(file, ["caption"], FIELDS),
    "captions.json": lambda file: read_captions(file, FIELDS),
}


class Folder(VideoText):
    """A folder of videos with their captions in captions.csv, captions.jsonl or captions.json.

    Each row, or each object in a line or a list, is one caption; a video may have several. The
    fields are

        file or video: path of the video, from this folder and within it
        caption:       text of the caption
        split:         train, validation or test; in all rows or in none
        start, end:    part of the file, in seconds; the whole file if left out
        id:            name of the video; its path (and seconds) if left out
        group:         videos of one group are hard negatives of one another

    Only the first two are required. Without `split`, a hash of its path assigns each file: 80 % to
    train, 10 % to validation, 10 % to test. Adding files does not move others.
    """

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; see `VideoSet.list_videos`."""
        captions_file, entries = self._read_captions()
        paths = [self._read_path(entry) for entry in entries]
        twins = find_twins(map(str, paths))
        rows: dict[str, tuple[str, tuple[str, Video], list[str]]] = {}
        for entry, path in zip(entries, paths, strict=True):
            if entry.has("split") != entries[0].has("split"):
                raise entry.make_error("split must be filled in in all rows or in none")
            path, file = self._find_file(entry, path, exact=str(path) in twins)
            said = self._choose_split(entry, path), self._make_video(entry, path, file)
            place, known, captions = rows.setdefault(said[1].id, (entry.place, said, []))
            if said != known:
                advice = f"give it another id, or say the same as {place}"
                raise entry.make_error(f"{said[1].id!r} is not the video of {place}", advice)
            captions.append(entry.get_text("caption"))
        videos = [
            dataclasses.replace(video, captions=tuple(captions))
            for _, (where, video), captions in rows.values()
            if where == split
        ]
        if not videos:
            advice = "fill in the field split in every row, and give each split some videos"
            problem = f"none of {len(rows)} videos is in split {split!r}"
            raise make_error(captions_file, problem, "", advice)
        return videos

    @functools.cached_property
    def _home(self) -> str:
        """Path of the root with all links resolved."""
        return os.path.realpath(self.root)

    @functools.cached_property
    def _files(self) -> VideoFiles:
        """Files below the root, walked only if a listed one is not there."""
        return VideoFiles(self.root, by_path=True)

    def _find_file(
        self, entry: Annotation, path: pathlib.PurePath, *, exact: bool
    ) -> tuple[pathlib.PurePath, pathlib.Path | None]:
        """Find the file of a path from the root, or unless `exact` one with another suffix.

        Returns:
            The path, written as the file system writes it, and the file; None if there is none.
        """
        if os.path.isfile(self.root / path):
            return path, self.root / path
        if exact:
            return path, None
        file = self._files.find(str(path))
        if file:
            self._require_within(entry, file.relative_to(self.root))
            if file.suffix == path.suffix:  # so accents are written in another way
                path = file.relative_to(self.root)
        return path, file

    def _read_captions(self) -> tuple[pathlib.Path, list[Annotation]]:
        if not self.root.is_dir():
            raise make_error(self.root, "no such folder", "", "give the folder of your videos")
        files = [self.root / name for name in READERS if (self.root / name).is_file()]
        if len(files) != 1:
            names = [file.name for file in files] or READERS
            problem = "has both" if files else "has none of"
            advice = "see data/README.md" if not files else "keep one of them"
            raise make_error(self.root, f"{problem} {' and '.join(names)}", "", advice)
        return files[0], list(READERS[files[0].name](files[0]))

    def _choose_split(self, entry: Annotation, path: pathlib.PurePath) -> str:
        if entry.has("split"):
            split = entry.get_text("split")
            if split not in self.SPLITS:
                hint = suggest(split, self.SPLITS) or (
                    " (did you mean 'validation'?)" if split in ("val", "valid", "dev") else ""
                )
                raise entry.make_error(
                    f"unknown split {split!r}{hint}", f"use {', '.join(self.SPLITS)}"
                )
            return split
        # By the path, not the id: parts of one file look alike, so they belong in one split. In
        # the composed form, as macOS decomposes accents when files are copied.
        tenth = int(hash_name(unicodedata.normalize("NFC", str(path)))[:8], 16) % 10
        return {0: "test", 1: "validation"}.get(tenth, "train")

    def _make_video(
        self, entry: Annotation, path: pathlib.PurePath, file: pathlib.Path | None
    ) -> Video:
        start, end = entry.get_seconds("start"), entry.get_seconds("end")
        if end is not None and end <= (start or 0.0):
            raise entry.make_error(f"end={end} must be after start={start or 0.0}")
        whole = start is None and end is None
        default = str(path) if whole else f"{path}@{start or 0.0}-{'' if end is None else end}"
        looked_for = "" if file else f"{self.root / path}{self._files.suggest(str(path))}"
        return Video(
            id=entry.get_text("id") if entry.has("id") else default,
            file=file,
            captions=(),
            start=start or 0.0,
            end=end,
            group=entry.get_text("group") if entry.has("group") else "",
            looked_for=looked_for,
            listed=str(path) if file and file.name != path.name else "",
        )

    def _read_path(self, entry: Annotation) -> pathlib.PurePath:
        """Read the path of a video relative to the root; it must not lead out of the root."""
        if entry.has("file") == entry.has("video"):
            raise entry.make_error("there must be either a file or a video", "give the path in one")
        name = entry.get_text("file" if entry.has("file") else "video")
        # A name from Windows, unless this system has a file that is named so.
        if not os.path.lexists(self.root / name.replace("\0", "")):
            name = name.replace("\\", "/")
        path = pathlib.PurePath(name)
        if "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts:
            raise entry.make_error(
                f"{name!r} is not a path within {self.root}", "write it from there"
            )
        self._require_within(entry, path)
        return path

    def _require_within(self, entry: Annotation, path: pathlib.PurePath) -> None:
        """Raise an AnnotationError if a path from the root is a link that leads out of it."""
        if os.path.commonpath([self._home, os.path.realpath(self.root / path)]) != self._home:
            advice = "put the file itself there, or set root to the folder that holds both"
            raise entry.make_error(f"{str(path)!r} is a link that leads out of {self.root}", advice)
