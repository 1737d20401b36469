"""The base of all data sets: videos with captions, stored as TFDS records of JPEG frames.

This module must not import `prepare`, which imports it.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tempme_jax.checks import require_one_of
from tempme_jax.video import workers
from tempme_jax.video.pixels import SQUARES


class AnnotationError(ValueError):
    """An annotation file is missing or malformed; the message says where, and what to do."""


@dataclasses.dataclass(frozen=True)
class Video:
    """A video of a split, with its captions.

    Attributes:
        id: name of the video, unique within the split.
        file: path of its file; None if it was not found.
        captions: captions of the video; each is a training pair, or a query of the test.
        start: start of the video within its file, in seconds.
        end: end of the video within its file, in seconds; None for the end of the file.
        group: name of its group; videos of one group are hard negatives of one another, and ""
            stands for no group.
        looked_for: name of the file, or names, that were looked for if `file` is None.
        listed: name of the file as the annotations give it, if `file` has another suffix.
    """

    id: str
    file: Path | None
    captions: tuple[str, ...]
    start: float = 0.0
    end: float | None = None
    group: str = ""
    looked_for: str = ""
    listed: str = ""


@dataclasses.dataclass(kw_only=True)
class Storage(tfds.core.BuilderConfig):
    """The variant of a data set, and the frames to store of each video.

    Attributes:
        variant: one of the builder's VARIANTS, such as "9k".
        size: side of the stored frames in pixels.
        resize: how a frame becomes a square: "crop", "squash" or "squash_bilinear", see
            `Architecture`.
        fps: frames per second; None for `least` evenly spread frames of every video.
        least: smallest number of frames, evenly spread, as far as the video has distinct ones.
        most: largest number of frames, evenly spread.
        quality: quality of the JPEG files, 1 to 100.
        name: name of the folder on disk, made of all the others.
    """

    name: str = dataclasses.field(init=False, default="")
    variant: str = "default"
    size: int = 224
    resize: str = "crop"
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
        require_one_of(self.resize, SQUARES, "resize")
        rate = f"{self.least}even"
        if self.fps is not None:
            rate = f"{self.fps:g}fps-{self.least}to{self.most}"
        quality = "" if self.quality == 95 else f"-q{self.quality}"
        resize = "" if self.resize == "crop" else f"-{self.resize}"
        self.name = f"{self.variant}-{self.size}px-{rate}{quality}{resize}"


class VideoSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set of videos with captions, which `prepare` decodes and stores.

    A subclass sets the attributes below and defines `list_videos`. `download_and_prepare()` decodes
    the videos once; `tfds.builder_from_directory(builder.data_dir).as_data_source(split)` and
    `datasets.prepared.Prepared` read the result, without TensorFlow.

    Attributes:
        VARIANTS: values of `Storage.variant`; the first is the default.
        SPLITS: names of the splits.
        EXPECTED: published number of videos of each (variant, split).
        MAKES_ITSELF: whether the set renders its own videos, the same below every root.
        PUBLIC_URLS: addresses of the files that anybody may download, by file name.
        HOMEPAGE: address of the page that the set comes from.
        root: folder with the user's files, in root/annotations and root/videos.
    """

    VERSION = tfds.core.Version("1.0.0")
    VARIANTS: ClassVar[tuple[str, ...]] = ("default",)
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    EXPECTED: ClassVar[dict[tuple[str, str], int]] = {}
    MAKES_ITSELF: ClassVar[bool] = False
    PUBLIC_URLS: ClassVar[dict[str, str]] = {}
    HOMEPAGE: ClassVar[str] = ""

    def __init_subclass__(cls, skip_registration: bool = True, **kwargs: Any):
        # In TFDS's register a name stays taken when the plugin that defined it has failed.
        super().__init_subclass__(skip_registration=skip_registration, **kwargs)

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
        # TFDS pickles a builder as these arguments.
        self._original_state = dict(data_dir=home, root=self.root, config=config, version=version)

    @property
    def storage(self) -> Storage:
        """The variant of the data set, and the frames that are stored."""
        assert isinstance(self.builder_config, Storage)
        return self.builder_config

    def list_videos(self, split: str) -> list[Video]:
        """List all videos that the annotation files name for a split, in a fixed order.

        Raises:
            AnnotationError: an annotation file is missing or malformed.
        """
        raise NotImplementedError

    @classmethod
    def list_negatives(cls, variant: str, split: str) -> dict[str, dict[str, str]]:
        """Return the video of a split that differs from each other one in one thing, if known.

        Returns:
            For each kind of difference, such as "order", the id of the hard negative of each id;
            {} if the set does not know such kinds.
        """
        return {}

    def is_prepared(self) -> bool:
        """Return whether all splits are stored."""
        return (Path(self.data_dir) / "dataset_info.json").exists()  # which is written last

    def make_example(self, video: Video, decoded: workers.Decoded) -> dict[str, Any]:
        """Make the record of a video, with the fields of `info.features`."""
        return {
            "video_id": video.id,
            "captions": list(video.captions),
            "group": video.group,
            "times": decoded.times,
            "frames": decoded.frames,
        }

    def make_request(self, video: Video) -> workers.Request:
        """Make the request to decode the frames of a video that are to be stored."""
        storage = self.storage
        return workers.Request(
            file=str(video.file),
            start=video.start,
            end=video.end,
            size=storage.size,
            resize=storage.resize,
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
            # JPEG files; tfds.features.Image would decode all of them at every reading.
            "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or self.name).strip(),
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE or None,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(self.list_videos(split)) for split in self.SPLITS}

    def _generate_examples(self, videos: Iterable[Video]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the records; unlike `prepare`, raise a VideoError at the first bad video."""
        videos = list(videos)
        pairs = workers.decode_all([self.make_request(video) for video in videos])
        for video, (_, result) in zip(videos, pairs, strict=True):
            if isinstance(result, Exception):
                raise result
            yield video.id, self.make_example(video, result)
