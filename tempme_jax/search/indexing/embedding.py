"""Embedding: windows become vectors, in full batches that may mix windows of several videos."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8

from tempme_jax.encoding import choose_video_batch, encode_frames
from tempme_jax.model import Model
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.reading import FailedVideo, Piece, read_windows
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.vectors import normalize

Encode = Callable[[UInt8[np.ndarray, "b f s s 3"]], Float[np.ndarray, "b e"]]


class EmbeddedVideo(NamedTuple):
    """All w windows of one video.

    Attributes:
        key: key of its source.
        seconds: length of the video in seconds.
        spans: start and end of each window, in seconds from the video's start.
        vectors: unit vectors, float32 [w, e].
        thumbnails: one JPEG file per window.
        whole: 64 hexadecimal digits, the SHA-256 of the file.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    vectors: Float[np.ndarray, "w e"]
    thumbnails: list[bytes]
    whole: str = ""


class Embedder:
    """Embeds the windows of videos as they are read.

    Attributes:
        waited: seconds spent waiting for windows to be read.
        encoded: seconds spent embedding.
    """

    def __init__(self, encode: Encode, batch: int):
        """Use `encode`, which is always called with exactly `batch` windows."""
        self.encode, self.batch = encode, batch
        self.waited = self.encoded = 0.0
        self._windows: list[tuple[str, UInt8[np.ndarray, "f s s 3"]]] = []
        self._videos: dict[str, _PartialVideo] = {}

    def __call__(
        self, items: Iterable[Piece | FailedVideo]
    ) -> Generator[EmbeddedVideo | FailedVideo, None, None]:
        """Yield each video as soon as its last window has a vector, or has failed."""
        items = iter(items)
        while (item := self._take_next(items)) is not None:
            if isinstance(item, FailedVideo):  # its earlier pieces are discarded
                self._videos.pop(item.key, None)
                self._windows = [window for window in self._windows if window[0] != item.key]
                yield item
                continue
            video = self._videos.setdefault(item.key, _PartialVideo())
            video.add(item)
            self._windows += [(item.key, frames) for frames in item.frames]
            while len(self._windows) >= self.batch:
                yield from self._embed()
        while self._windows:
            yield from self._embed()

    def _take_next(self, items: Iterator[Piece | FailedVideo]) -> Piece | FailedVideo | None:
        started = time.perf_counter()
        item = next(items, None)
        self.waited += time.perf_counter() - started
        return item

    def _embed(self) -> Iterator[EmbeddedVideo | FailedVideo]:
        """Embed the next batch of windows, and yield the videos that it completes."""
        windows, self._windows = self._windows[: self.batch], self._windows[self.batch :]
        frames = np.stack([frames for _, frames in windows])
        # With one batch size, only one program is compiled, and a video's vectors are the same to
        # the last bit whatever other videos were embedded with it.
        lacking = self.batch - len(windows)
        started = time.perf_counter()
        vectors = self.encode(np.pad(frames, [(0, lacking)] + [(0, 0)] * 4))
        self.encoded += time.perf_counter() - started
        for (key, _), vector in zip(windows, vectors, strict=False):
            video = self._videos[key]
            video.vectors.append(vector)
            if video.is_complete:
                del self._videos[key]
                yield video.finish(key)


class _PartialVideo:
    """The windows and vectors of a video that is not complete yet."""

    def __init__(self):
        self.seconds, self.all_read, self.whole = 0.0, False, ""
        self.spans: list[tuple[float, float]] = []
        self.thumbnails: list[bytes] = []
        self.vectors: list[Float[np.ndarray, " e"]] = []

    def add(self, piece: Piece) -> None:
        self.seconds, self.all_read, self.whole = piece.seconds, piece.last, piece.whole
        self.spans += piece.spans
        self.thumbnails += piece.thumbnails

    def finish(self, key: str) -> EmbeddedVideo | FailedVideo:
        """Return the video; it fails if a vector is not finite."""
        vectors = np.stack(self.vectors)
        if not np.isfinite(vectors).all():
            return FailedVideo(
                key, "embed", "the model returned vectors for it that are not finite"
            )
        return EmbeddedVideo(key, self.seconds, self.spans, vectors, self.thumbnails, self.whole)

    @property
    def is_complete(self) -> bool:
        return self.all_read and len(self.vectors) == len(self.spans)


def make_embedder(model: Model) -> Embedder:
    """Make an embedder for a model, on all devices of this process."""
    mesh = Mesh(np.array(jax.local_devices()), ("data",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    network, params = model.folded
    params = jax.device_put(params, whole)
    batch = choose_video_batch() * mesh.size
    mask = jax.device_put(np.ones((batch, model.num_frames), bool), split)

    def encode(frames: UInt8[np.ndarray, "b f s s 3"]) -> Float[np.ndarray, "b e"]:
        vectors = encode_frames(network, params, jax.device_put(frames, split), mask)
        return np.asarray(vectors if network.unit_videos else normalize(vectors))

    return Embedder(encode, batch)


def embed_locally(
    work: Work, model: Model, sampling: Sampling, *, workers: int
) -> Generator[EmbeddedVideo | FailedVideo, None, None]:
    """Embed the videos of `work` in this process; child processes decode them."""
    size, resize = model.arch.image_size, model.arch.resize
    items = read_windows(work.sources, sampling, image_size=size, resize=resize, workers=workers)
    with contextlib.closing(items):
        yield from make_embedder(model)(items)
