"""What every model does, whatever runs its towers: files, frames and texts become vectors."""

import abc
import functools
import os
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import inputs
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.text.base import BaseTokenizer
from tempme_jax.text.tokenizers import make_tokenizer

# Frames and their masks, or ids and theirs.
Batches = Iterable[tuple[np.ndarray, ...]]


class TwoTowers(abc.ABC):
    """Embeds videos and texts into one space.

    Attributes:
        arch: the sizes of the backbone.
        num_frames: frames of every video.
        max_words: ids of every text, start and end included; longer texts are cut with a warning.
        is_exported: whether it was opened from an exported file, which holds no parameters.
    """

    is_exported = False

    arch: Architecture
    num_frames: int
    max_words: int

    @property
    @abc.abstractmethod
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once."""

    @abc.abstractmethod
    def encode_frames(self, batches: Batches) -> Float[np.ndarray, "b e"]:
        """Return the vectors of batches of frames, uint8 [b, f, s, s, 3], and masks [b, f]."""

    @abc.abstractmethod
    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Embed texts that are already token ids, see `Model.embed_tokens`."""

    def embed_video(
        self, videos: str | os.PathLike | Sequence[str | os.PathLike] | UInt8[np.ndarray, "..."]
    ) -> Float[np.ndarray, "b e"]:
        """Embed videos.

        Files are decoded in the calling process, without limits of time and memory. Open files
        that you do not trust with `VideoIndex`, which decodes them in child processes.

        Args:
            videos: a path or a list of paths, of which `num_frames` frames each are sampled
                uniformly; or frames, uint8 [t, h, w, 3] or [b, t, h, w, 3] in RGB, of any size. Of
                more than `num_frames` frames, so many are taken uniformly; fewer are filled up
                with masked ones.

        Returns:
            Vectors of unit length, float32 [b, e], one for each video; shorter ones where the
            network compares means of unit vectors (UMT).

        Raises:
            VideoError: if a file is not a video that can be read; it says why.
            ValueError: if frames have another shape or dtype.
            TypeError: if `videos` is, or holds, something else.

        >>> import numpy as np, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> model.embed_video(np.zeros((2, 20, 90, 160, 3), np.uint8)).shape
        (2, 64)
        """
        if isinstance(videos, np.ndarray) or hasattr(videos, "__array__"):  # also one of JAX
            return self.encode_frames(self.split_frames(np.asarray(videos)))
        paths, size = inputs.list_paths(videos), self.video_batch
        # Read while they are encoded, since the frames of all might not fit into memory.
        shape = self.num_frames, self.arch.image_size, self.arch.resize
        parts = (paths[i : i + size] for i in range(0, len(paths), size))
        return self.encode_frames(inputs.read_videos(part, *shape) for part in parts)

    def embed_text(self, texts: str | Sequence[str]) -> Float[np.ndarray, "b e"]:
        """Embed a text or a list of texts.

        Returns:
            Vectors of unit length, float32 [b, e], one for each text.

        Raises:
            TypeError: if `texts` is, or holds, something other than `str`.
            ValueError: if the model's vocabulary is too small for texts; `embed_tokens` takes ids.

        >>> import tempme_jax
        >>> tempme_jax.load("tiny-tempme").embed_text("a red circle").shape
        (1, 64)
        """
        return self.embed_tokens(*self.tokenizer(texts))

    def warm_up(self, *, videos: int = 1, texts: int = 1) -> None:
        """Compile ahead, so the first calls of `embed_video` and `embed_text` do not wait for it.

        Programs are compiled for each number of rows, filled up to a power of two. They are kept in
        the user's cache, from which later processes read them.

        Args:
            videos: number of videos of the calls to come; 0 for none.
            texts: number of texts; 0 for none.

        >>> import tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> model.warm_up(videos=2)
        """
        require_whole("videos", videos, least=0)
        require_whole("texts", texts, least=0)
        side = self.arch.image_size
        if videos:
            self.embed_video(np.zeros((videos, self.num_frames, side, side, 3), np.uint8))
        if texts:
            self.embed_tokens(np.ones((texts, self.max_words), np.int32))

    @functools.cached_property
    def tokenizer(self) -> BaseTokenizer:
        """The tokenizer that turns texts into this model's ids."""
        arch = self.arch
        return make_tokenizer(arch.tokenizer, self.max_words, arch.context_length, arch.vocab_size)

    def split_frames(self, videos: UInt8[np.ndarray, "..."]) -> Batches:
        """Return batches of frames and masks that fit the model."""
        shape = self.num_frames, self.arch.image_size, self.arch.resize
        return inputs.split_rows(self.video_batch, *inputs.fit_frames(videos, *shape))
