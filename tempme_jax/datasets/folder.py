"""Your own videos: any folder with captions.csv or captions.jsonl in it."""

import dataclasses
import functools
import os
import pathlib

from tempme_jax.checks import suggest
from tempme_jax.datasets.annotations import Entry, digest, read_csv, read_jsonl, wrong
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText

FIELDS = ("file", "video", "caption", "split", "start", "end", "id", "group")
READERS = {"captions.csv": read_csv, "captions.jsonl": read_jsonl}


class Folder(VideoText):
    """A folder of videos, and what is said of them in captions.csv or captions.jsonl.

    A row, or an object on a line, is one caption; a video may have several. Its fields are

        file or video: the path of the video from this folder, within it
        caption:       what is said
        split:         train, validation or test; in all rows or in none
        start, end:    seconds of the file that belong to the video; all of it if left out
        id:            a name of the video; its path (and seconds) if left out
        group:         videos of one group are hard negatives of one another

    and only the first two are needed. Without splits a file goes to one of them by a hash of its
    path: 80 % to train, 10 % to validation, 10 % to test, whatever other files there are.
    """

    def videos(self, split: str) -> list[Video]:
        """The videos of a split; see `VideoText.videos`."""
        file, entries = self._captions()
        clips: dict[str, tuple[str, tuple[str, Video], list[str]]] = {}
        for entry in entries:
            if entry.given("split") != entries[0].given("split"):
                raise entry.error("split must be filled in in all rows or in none")
            path = self._path(entry)
            said = self._split(entry, path), self._video(entry, path)
            place, known, captions = clips.setdefault(said[1].id, (entry.place, said, []))
            if said != known:
                advice = f"give it another id, or say the same as {place}"
                raise entry.error(f"{said[1].id!r} is not the video of {place}", advice)
            captions.append(entry.text("caption"))
        videos = [
            dataclasses.replace(video, captions=tuple(captions))
            for _, (where, video), captions in clips.values()
            if where == split
        ]
        if not videos:
            advice = "fill in the field split of every row, so that each split has videos"
            raise wrong(file, f"none of {len(clips)} videos is in split {split!r}", "", advice)
        return videos

    @functools.cached_property
    def _home(self) -> str:
        """The root without links."""
        return os.path.realpath(self.root)

    def _captions(self) -> tuple[pathlib.Path, list[Entry]]:
        files = [self.root / name for name in READERS if (self.root / name).is_file()]
        if len(files) != 1:
            problem = "has both" if files else "has none of"
            advice = "see data/README.md" if not files else "remove one of them"
            raise wrong(self.root, f"{problem} {' and '.join(READERS)}", "", advice)
        return files[0], list(READERS[files[0].name](files[0], ["caption"], FIELDS))

    def _split(self, entry: Entry, path: pathlib.PurePath) -> str:
        if entry.given("split"):
            split = entry.text("split")
            if split not in self.SPLITS:
                hint = suggest(split, self.SPLITS)
                raise entry.error(f"unknown split {split!r}{hint}", f"use {', '.join(self.SPLITS)}")
            return split
        # By the path, not the id: clips of one file look alike, and must not be parted.
        tenth = int(digest(str(path))[:8], 16) % 10
        return {0: "test", 1: "validation"}.get(tenth, "train")

    def _video(self, entry: Entry, path: pathlib.PurePath) -> Video:
        start, end = entry.seconds("start"), entry.seconds("end")
        if end is not None and end <= (start or 0.0):
            raise entry.error(f"end={end} must be after start={start or 0.0}")
        whole = start is None and end is None
        default = str(path) if whole else f"{path}@{start or 0.0}-{'' if end is None else end}"
        file = self.root / path
        return Video(
            id=entry.text("id") if entry.given("id") else default,
            file=file if os.path.isfile(file) else None,
            captions=(),
            start=start or 0.0,
            end=end,
            group=entry.text("group") if entry.given("group") else "",
            looked_for="" if os.path.isfile(file) else str(file),
        )

    def _path(self, entry: Entry) -> pathlib.PurePath:
        """The path that an entry gives, from the root, if it does not lead out of it."""
        if entry.given("file") == entry.given("video"):
            raise entry.error("there must be either a file or a video", "give the path in one")
        name = entry.text("file" if entry.given("file") else "video")
        path = pathlib.PurePath(name)
        if "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts:
            raise entry.error(f"{name!r} is no path within {self.root}", "write it from there")
        if os.path.commonpath([self._home, os.path.realpath(self.root / path)]) != self._home:
            advice = "put the file itself there, or set root to the folder that holds both"
            raise entry.error(f"{name!r} is a link that leads out of {self.root}", advice)
        return path
