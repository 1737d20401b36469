"""What the data sets share: videos with captions, stored as TFDS records of JPEG frames."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tempme_jax.video import workers


class AnnotationError(ValueError):
    """Annotation files that cannot be read as what they should be: which file and line, what was
    expected there, and what to do."""


@dataclasses.dataclass(frozen=True)
class Video:
    """One video of a split, with what is said of it.

    Attributes:
        id: its name, distinct within the split.
        file: where it lies; None if it was not found.
        captions: each is one training pair, and one query.
        start: where it begins, in seconds of the file.
        end: where it ends, in seconds of the file; None for the end of the file.
        group: videos of one group are hard negatives of one another; "" for none.
        looked_for: the file name, or names, that were looked for if `file` is None.
    """

    id: str
    file: Path | None
    captions: tuple[str, ...]
    start: float = 0.0
    end: float | None = None
    group: str = ""
    looked_for: str = ""


@dataclasses.dataclass(kw_only=True)
class Storage(tfds.core.BuilderConfig):
    """Which frames are stored, and of which variant of the set.

    Attributes:
        variant: one of the builder's VARIANTS, such as "9k".
        size: side of the stored frames in pixels, resized and cropped as CLIP does.
        fps: the frames on screen every 1 / fps seconds are stored; None for `least` frames,
            evenly spread, whatever the length.
        least: a shorter video has this many frames evenly spread, as far as it has distinct ones.
        most: a longer video has this many frames evenly spread.
        quality: of the JPEG, 1 to 100.
        name: follows from all of these; the name of the folder on disk.
    """

    name: str = dataclasses.field(init=False, default="")
    variant: str = "default"
    size: int = 224
    fps: float | None = 1.0
    least: int = 12
    most: int = 64
    quality: int = 95

    def __post_init__(self):
        if self.size < 1 or not 1 <= self.quality <= 100:
            raise ValueError(f"size={self.size} must be at least 1, quality={self.quality} 1..100")
        if not 1 <= self.least <= self.most or (self.fps is not None and not self.fps > 0):
            raise ValueError(
                f"fps={self.fps}, least={self.least}, most={self.most}: fps must be positive or "
                "None, and 1 <= least <= most"
            )
        if self.fps is None:
            frames = f"{self.least}even"
        else:
            frames = f"{self.fps:g}fps-{self.least}to{self.most}"
        quality = "" if self.quality == 95 else f"-q{self.quality}"
        self.name = f"{self.variant}-{self.size}px-{frames}{quality}"


class VideoSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set of videos with captions, which `prepare` decodes and stores.

    A subclass sets the attributes below and defines `videos`. `download_and_prepare()` decodes
    the videos once; `tfds.builder_from_directory(builder.data_dir).as_data_source(split)` and
    `datasets.prepared.Prepared` read the result, without TensorFlow.

    Attributes:
        VARIANTS: names for `Storage.variant`; the first is the default.
        SPLITS: names of the splits.
        EXPECTED: the published number of videos of a (variant, split).
        PUBLIC_URLS: file name to address, where the set can be had without asking.
        root: the folder that the user filled: root/annotations and root/videos.
    """

    VERSION = tfds.core.Version("1.0.0")
    VARIANTS: ClassVar[tuple[str, ...]] = ("default",)
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    EXPECTED: ClassVar[dict[tuple[str, str], int]] = {}
    PUBLIC_URLS: ClassVar[dict[str, str]] = {}
    HOMEPAGE: ClassVar[str] = ""
    CITATION: ClassVar[str] = ""

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str],
        root: str | os.PathLike[str],
        config: Storage | None = None,
        version: str | None = None,
    ):
        config = config or Storage(variant=self.VARIANTS[0])
        if config.variant not in self.VARIANTS:
            raise ValueError(
                f"{self.name} has no variant {config.variant!r}; it has {', '.join(self.VARIANTS)}"
            )
        self.root = Path(root)
        home = Path(data_dir).absolute()
        super().__init__(data_dir=home, config=config, version=version, file_format="array_record")
        # What TFDS pickles a builder by.
        self._original_state = dict(data_dir=home, root=self.root, config=config, version=version)

    def videos(self, split: str) -> list[Video]:
        """All videos that the annotation files list for a split, in a fixed order.

        Raises:
            AnnotationError: an annotation file is missing or cannot be understood.
        """
        raise NotImplementedError

    def is_prepared(self) -> bool:
        """Whether all splits are stored; dataset_info.json is written last."""
        return (Path(self.data_dir) / "dataset_info.json").exists()

    def example(self, video: Video, decoded: workers.Decoded) -> dict[str, Any]:
        """The record of a video, as `info.features` takes it."""
        return {
            "video_id": video.id,
            "captions": list(video.captions),
            "group": video.group,
            "times": decoded.times,
            "frames": decoded.frames,
        }

    def request(self, video: Video) -> workers.Request:
        """What a child process is told to decode."""
        storage = self.builder_config
        return workers.Request(
            file=str(video.file),
            start=video.start,
            end=video.end,
            size=storage.size,
            fps=storage.fps,
            least=storage.least,
            most=storage.most,
            quality=storage.quality,
        )

    def _create_builder_config(self, builder_config: Storage, version: str | None) -> Storage:
        return builder_config  # TFDS would warn that it is not one of a fixed list

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "video_id": tfds.features.Text(),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "group": tfds.features.Text(),
            # Seconds from the start of the file.
            "times": tfds.features.Sequence(np.float32),
            # JPEG; as tfds.features.Image they would be decoded at every reading.
            "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or self.name).strip(),
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(self.videos(split)) for split in self.SPLITS}

    def _generate_examples(self, videos: Iterable[Video]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The records; unlike `prepare` this stops with a VideoError at a bad one."""
        videos = list(videos)
        results = workers.decode_all([self.request(video) for video in videos])
        for video, result in zip(videos, results, strict=True):
            if isinstance(result, Exception):
                raise result
            yield video.id, self.example(video, result)
