"""What every model does, whatever runs its towers: files, frames and texts become vectors."""

import abc
import functools
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import inputs
from tempme_jax.checks import require_whole
from tempme_jax.embedded import EmbeddedSources, EmbeddedWindows
from tempme_jax.frame_embedding import Batches, FrameEmbedding
from tempme_jax.networks.architecture import Architecture
from tempme_jax.sources import (
    FrameArrays,
    FrameShape,
    OnError,
    Progress,
    Seconds,
    Source,
    SourceReader,
    check_progress,
    hold_source,
    is_array,
    list_sources,
    name_source,
)
from tempme_jax.text.base import BaseTokenizer
from tempme_jax.text.tokenizers import make_tokenizer


class TwoTowers(FrameEmbedding):
    """Embeds videos and texts into one space.

    Attributes:
        arch: the sizes of the backbone.
        num_frames: frames of every video.
        max_words: ids of every text, start and end included; longer texts are cut with a warning.
        is_exported: whether it was opened from an exported file, which holds no parameters.
        vocabulary: content of a tokenizer that lies with the weights, see `text.from_json`; empty
            for those that come with the package.
    """

    is_exported = False
    vocabulary: str = ""

    arch: Architecture
    num_frames: int
    max_words: int

    @abc.abstractmethod
    def encode_frames(self, batches: Batches) -> Float[np.ndarray, "b e"]:
        """Return the vectors of batches of frames, uint8 [b, f, s, s, 3], and masks [b, f]."""

    @abc.abstractmethod
    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Embed texts that are already token ids, see `Model.embed_tokens`."""

    @overload
    def embed_video(
        self, videos: Any, *, start: Seconds = ..., end: Seconds = ...,
        on_error: Literal["raise"] = ..., progress: Progress | None = ...,
    ) -> Float[np.ndarray, "b e"]: ...  # fmt: skip

    @overload
    def embed_video(
        self, videos: Any, *, start: Seconds = ..., end: Seconds = ...,
        on_error: Literal["skip"], progress: Progress | None = ...,
    ) -> EmbeddedSources: ...  # fmt: skip

    def embed_video(
        self,
        videos: Source | Sequence[Source],
        *,
        start: Seconds = None,
        end: Seconds = None,
        on_error: OnError = "raise",
        progress: Progress | None = None,
    ) -> Float[np.ndarray, "b e"] | EmbeddedSources:
        """Embed videos.

        Files are decoded in the calling process, without limits of time and memory. Open files
        that you do not trust with `VideoIndex`, which decodes them in child processes.

        Args:
            videos: a path, the content of a file as bytes, or a file that is open for reading, of
                which `num_frames` frames are sampled uniformly; or frames, uint8 [t, h, w, 3] in
                RGB, of any size. Of more than `num_frames` frames, so many are taken uniformly;
                fewer are filled up with masked ones. Or a list of such, of any kinds and sizes, or
                one array of several, [b, t, h, w, 3].
            start, end: the part of the files to embed, in seconds: one number for all, or one for
                each. Default: from the start to the end.
            on_error: "raise" for an error if a video cannot be read; "skip" to leave it out.
            progress: a function that is called as `progress(done, total)` after each batch.

        Returns:
            Vectors of unit length, float32 [b, e], one for each video; shorter ones where the
            network compares means of unit vectors (UMT). With `on_error="skip"` these are the
            `vectors` of an `EmbeddedSources`, which also says which videos they are of (`rows`),
            and which were `skipped`, and why.

        Raises:
            VideoError: if a file is not a video that can be read, or ends before `start`.
            ValueError: if frames have another shape or dtype, or `end` is not after `start`.
            TypeError: if `videos` is, or holds, something else.

        >>> import numpy as np, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> model.embed_video(np.zeros((2, 20, 90, 160, 3), np.uint8)).shape
        (2, 64)
        >>> found = model.embed_video([b"no video", np.zeros((3, 64, 64, 3), np.uint8)],
        ...                           on_error="skip")
        >>> found.rows, [one.name for one in found.skipped]
        (array([1]), ['video 1'])
        """
        reader = self.open_videos(videos, start, end, on_error, progress)
        return reader.make_result(self.encode_frames(reader.read_batches(self.video_batch)))

    @overload
    def embed_image(
        self, images: Any, *, on_error: Literal["raise"] = ..., progress: Progress | None = ...
    ) -> Float[np.ndarray, "b e"]: ...

    @overload
    def embed_image(
        self, images: Any, *, on_error: Literal["skip"], progress: Progress | None = ...
    ) -> EmbeddedSources: ...

    def embed_image(
        self,
        images: Source | Sequence[Source],
        *,
        on_error: OnError = "raise",
        progress: Progress | None = None,
    ) -> Float[np.ndarray, "b e"] | EmbeddedSources:
        """Embed pictures: each as a video that stands still.

        Args:
            images: a path, the content of a file as bytes, a file that is open for reading (JPEG,
                PNG, WebP, GIF, BMP or TIFF), a picture of PIL, or pixels, uint8 [h, w, 3] in RGB;
                or a list of such, or one array of several, [b, h, w, 3].
            on_error, progress: as for `embed_video`.

        Returns:
            Vectors as of `embed_video`, which compare with those of videos and of texts.

        Raises:
            VideoError: if a file is not a picture that can be read.
            ValueError: if pixels have another shape or dtype.
            TypeError: if `images` is, or holds, something else.

        >>> import numpy as np, tempme_jax
        >>> model = tempme_jax.load("tiny-tempme")
        >>> model.embed_image([np.zeros((90, 160, 3), np.uint8)]).shape
        (1, 64)
        """
        listed = list_sources(images, "picture")

        def read(row: int, name: str) -> FrameArrays:
            return self.frame_shape.read_picture(listed[row], name)

        reader = SourceReader(listed, read, kind="picture", on_error=on_error, progress=progress)
        return reader.make_result(self.encode_frames(reader.read_batches(self.video_batch)))

    def embed_windows(
        self,
        video: Source,
        *,
        fps: float = 1.0,
        overlap: float = 0.5,
        progress: Progress | None = None,
    ) -> EmbeddedWindows:
        """Embed one video of any length, window by window, as `tempme index` cuts it.

        It is decoded in the calling process, see `embed_video`.

        Args:
            video: a path, the content of a file as bytes, or a file that is open for reading.
            fps: frames per second of video; each window has `num_frames` of them.
            overlap: share of a window that the next one repeats.
            progress: a function that is called as `progress(done, total)` with numbers of windows.

        Returns:
            The vectors of the windows, and where each window starts and ends, in seconds.

        Raises:
            VideoError: if the file is not a video that can be read.
            ValueError: if `fps` or `overlap` is out of its range.
            TypeError: if `video` is something else.
        """
        from tempme_jax.video.windows import Sampling, WindowReader

        sampling, shape = (
            Sampling(frames=self.num_frames, fps=fps, overlap=overlap),
            self.frame_shape,
        )
        check_progress(progress)
        if is_array(video):
            raise TypeError("embed_windows takes a file; frames of an array go to embed_video")
        with hold_source(video, name_source(video, 0, "video"), "video") as path:
            reader = WindowReader(path, sampling)
            count, done = len(reader.windows), 0

            def read_batches() -> Batches:
                nonlocal done
                for frames in reader.read_pieces(image_size=shape.size, resize=shape.resize):
                    mask = np.ones(frames.shape[:2], bool)
                    for batch in inputs.split_rows(self.video_batch, frames, mask):
                        yield batch
                        done += len(batch[0])
                        if progress:
                            progress(done, count)

            vectors = self.encode_frames(read_batches())
        spans = np.array([(window.start, window.end) for window in reader.windows], np.float64)
        return EmbeddedWindows(vectors, spans[:, 0], spans[:, 1])

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
        return make_tokenizer(*self.tokenizer_arguments)

    @property
    def tokenizer_arguments(self) -> tuple[Any, ...]:
        """The arguments of `make_tokenizer`."""
        arch, own = self.arch, (self.vocabulary,) if self.vocabulary else ()
        return arch.tokenizer, self.max_words, arch.context_length, arch.vocab_size, *own

    @property
    def frame_shape(self) -> FrameShape:
        """The number and the size of the frames that it takes of a video."""
        return FrameShape(self.num_frames, self.arch.image_size, self.arch.resize)

    def split_frames(self, videos: UInt8[np.ndarray, "..."]) -> Batches:
        """Return batches of frames and masks that fit the model."""
        shape = self.num_frames, self.arch.image_size, self.arch.resize
        return inputs.split_rows(self.video_batch, *inputs.fit_frames(videos, *shape))
