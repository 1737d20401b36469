"""What every model does with each frame of a video, for late interaction."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tempme_jax.late_interaction import FrameVectors
from tempme_jax.sources import (
    FrameArrays,
    FrameShape,
    OnError,
    Progress,
    Seconds,
    Source,
    SourceReader,
    list_sources,
    spread_seconds,
)
from tempme_jax.video.positions import check_part

# Frames and their masks, or ids and theirs.
Batches = Iterable[tuple[np.ndarray, ...]]


class FrameEmbedding(abc.ABC):
    """The part of a model that reads videos, and that embeds each of their frames."""

    @property
    @abc.abstractmethod
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once."""

    @property
    @abc.abstractmethod
    def frame_shape(self) -> FrameShape:
        """The number and the size of the frames that it takes of a video."""

    @property
    def frame_problem(self) -> str:
        """Why there is no vector of each frame of a video; empty if there is."""
        return "an exported model returns vectors of whole videos alone; run it in JAX"

    @property
    def keeps_frames(self) -> bool:
        """Whether there is a vector of each frame of a video, see `embed_frames`."""
        return not self.frame_problem

    @property
    def tau(self) -> float:
        """The learned temperature of late interaction; 0 = trained with videos' mean vectors."""
        return 0.0

    def encode_each_frame(self, batches: Batches) -> FrameVectors:
        """Return the vectors of batches of frames and masks, and those of each frame.

        Raises:
            ValueError: if there are none of frames; it says which methods keep them.
        """
        raise ValueError(f"there are no vectors of frames: {self.frame_problem}")

    def embed_frames(
        self,
        videos: Source | Sequence[Source],
        *,
        start: Seconds = None,
        end: Seconds = None,
        progress: Progress | None = None,
    ) -> FrameVectors:
        """Embed videos and each of their frames, in one pass, for late interaction.

        Args:
            videos, start, end, progress: as for `embed_video`.

        Returns:
            The vectors of the videos, as of `embed_video`; of their frames, each of which has seen
            what its method lets it see of the others; and the weights of the frames, 0 where a
            video has fewer than `num_frames`.

        Raises:
            ValueError: if there are no vectors of frames; it says which methods keep them.
            VideoError, TypeError: as for `embed_video`.

        >>> import numpy as np, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> found = model.embed_frames(np.zeros((2, 20, 90, 160, 3), np.uint8))
        >>> found.vectors.shape, found.frames.shape, found.weights.shape
        ((2, 64), (2, 8, 64), (2, 8))
        """
        if self.frame_problem:  # before videos are decoded for nothing
            raise ValueError(f"there are no vectors of frames: {self.frame_problem}")
        reader = self.open_videos(videos, start, end, "raise", progress)
        return self.encode_each_frame(reader.read_batches(self.video_batch))

    def open_videos(
        self,
        videos: Any,
        start: Seconds,
        end: Seconds,
        on_error: OnError,
        progress: Progress | None,
    ) -> SourceReader:
        """Return the reader of videos; the arguments are those of `embed_video`."""
        listed = list_sources(videos, "video")
        starts, ends = (
            spread_seconds(name, given, len(listed))
            for name, given in (("start", start), ("end", end))
        )
        for first, last in zip(starts, ends, strict=True):
            check_part(first or 0.0, last)

        def read(row: int, name: str) -> FrameArrays:
            return self.frame_shape.read_video(listed[row], name, starts[row], ends[row])

        return SourceReader(listed, read, kind="video", on_error=on_error, progress=progress)
