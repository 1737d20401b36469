"""The base of the published data sets, whose files lie in root/annotations and root/videos."""

import collections
import functools
import hashlib
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

from tempme_jax.checks import suggest
from tempme_jax.datasets.annotations import Annotation, make_error
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.readers import read_captions, read_lines
from tempme_jax.datasets.video_files import VideoFiles, cut_suffix


class AnnotatedSet:
    """A mixin for the published data sets, with their folders root/annotations and root/videos.

    A set's own annotation files come first. If they are not there, the lists in JSON that VindLU
    and UMT use are read.

    Attributes:
        HELD_OUT: number of training videos that are held out for validation; 0 if the set has a
            validation split of its own.
        LISTS: names of the JSON lists, by split; "{variant}" stands for the variant.
        OWN: names of the set's own files that list the videos of a split, likewise.
        JOINED: whether all captions of a video are joined to a single one.
        SECONDS: end of the part that is read of each video, in seconds; None for all of it.
    """

    root: pathlib.Path
    storage: Any  # of the builder, a `Storage`
    HOMEPAGE: ClassVar[str]
    HELD_OUT: ClassVar[int] = 0
    LISTS: ClassVar[dict[str, str]] = {}
    OWN: ClassVar[dict[str, str]] = {}
    JOINED: ClassVar[bool] = False
    SECONDS: ClassVar[float | None] = None

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; see `VideoSet.list_videos`."""
        source = "train" if self.HELD_OUT and split == "validation" else split
        listed = self._find_list(source)
        captions = self._read_list(listed) if listed else self.read_captions(source)
        held_out = set()
        if self.HELD_OUT and source == "train":
            held_out = self.choose_held_out(captions, self.HELD_OUT)
        return [
            self.make_video(name, [" ".join(texts)] if self.JOINED else texts)
            for name, texts in captions.items()
            if (name in held_out) == (source != split)
        ]

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split from the set's own annotation files, by video.

        Raises:
            AnnotationError: an annotation file is missing or malformed.
        """
        raise NotImplementedError

    def select_listed(
        self, split: str, captions: Mapping[str, list[str]], source: pathlib.Path
    ) -> dict[str, list[str]]:
        """Return the captions of the videos that the set's own file lists, a name in each line.

        Args:
            split: the split, whose file is named in `OWN`.
            captions: captions of all videos.
            source: the file that they were read from, for errors.

        Raises:
            AnnotationError: the file is missing, or names a video twice or one without captions.
        """
        listed, videos = self.find_annotations(self.OWN[split]), {}
        for place, line in read_lines(listed):
            entry = Annotation(listed, place, {"the name": line})
            name = entry.get_unique("the name", videos)
            if not captions.get(name):
                raise entry.make_error(f"{name!r} has no caption in {source.name}")
            videos[name] = captions[name]
        return videos

    def list_other_names(self, name: str) -> list[str]:
        """Return further names, without a suffix, that the file of a video may have."""
        return []

    def _find_list(self, split: str) -> pathlib.Path | None:
        """Return the JSON list of a split if it is there and the set's own file is not."""
        own, listed = (
            self.root / "annotations" / names.get(split, "").format(variant=self.storage.variant)
            for names in (self.OWN, self.LISTS)
        )
        return listed if listed.is_file() and not own.is_file() else None

    def _read_list(self, file: pathlib.Path) -> dict[str, list[str]]:
        captions = collections.defaultdict(list)
        for entry in read_captions(file):
            name = entry.get_text("video").replace("\\", "/").rpartition("/")[2]
            captions[cut_suffix(name)].append(entry.get_text("caption"))
        if not captions:
            raise make_error(file, "holds no captions")
        return captions

    @functools.cached_property
    def files(self) -> VideoFiles:
        """Files below root/videos."""
        return VideoFiles(self.root / "videos")

    def find_annotations(self, name: str) -> pathlib.Path:
        """Return the path of an annotation file.

        Raises:
            AnnotationError: it does not exist.
        """
        folder = self.root / "annotations"
        advice = f"it comes from {self.HOMEPAGE}; data/README.md says how the files must lie"
        if not folder.is_dir():
            raise make_error(folder, f"no such folder, where {name} should be", "", advice)
        if not (folder / name).is_file():
            hint = suggest(name, [file.name for file in folder.iterdir()])
            raise make_error(folder / name, f"no such file{hint}", "", advice)
        return folder / name

    def make_video(self, name: str, captions: Iterable[str]) -> Video:
        """Make a video, and find its file by its name or one of `list_other_names`."""
        names = [name, *self.list_other_names(name)]
        file = self.files.find(*names)
        sought = name if cut_suffix(name) != name else " or ".join(f"{one}.*" for one in names)
        looked_for = "" if file else sought + self.files.suggest(name)
        listed = name if file and cut_suffix(name) != name and file.name != name else ""
        return Video(
            id=name,
            file=file,
            captions=tuple(captions),
            end=self.SECONDS,
            looked_for=looked_for,
            listed=listed,
        )

    @staticmethod
    def choose_held_out(names: Collection[str], count: int) -> set[str]:
        """Choose the `count` names with the smallest SHA-256; of a short list, a tenth."""
        return set(sorted(names, key=hash_name)[: min(count, max(1, len(names) // 10))])


def hash_name(name: str) -> str:
    """Return the SHA-256 of a name, in hexadecimal."""
    return hashlib.sha256(name.encode()).hexdigest()
