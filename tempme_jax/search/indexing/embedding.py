"""Windows of videos to vectors, in full batches, whatever video they are of."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8

from tempme_jax.model import Model, encode_frames, video_batch
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.reading import Failed, Piece, read_windows
from tempme_jax.search.indexing.windows import Sampling

Encode = Callable[[UInt8[np.ndarray, "b f s s 3"]], Float[np.ndarray, "b e"]]


class Finished(NamedTuple):
    """All windows of one video.

    Attributes:
        key: of its source.
        seconds: its length.
        spans: start and end of each window, in seconds.
        vectors: float32 [w, e], unit vectors.
        thumbnails: a JPEG file for each.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    vectors: Float[np.ndarray, "w e"]
    thumbnails: list[bytes]


class Embedder:
    """Embeds the windows of videos as they are read.

    Attributes:
        waited: seconds spent waiting for windows to be read.
        encoded: seconds spent embedding.
    """

    def __init__(self, encode: Encode, batch: int):
        """Takes what makes vectors of `batch` windows at once: of exactly as many, always."""
        self.encode, self.batch = encode, batch
        self.waited = self.encoded = 0.0
        self._windows: list[tuple[str, UInt8[np.ndarray, "f s s 3"]]] = []
        self._videos: dict[str, _Video] = {}

    def __call__(self, items: Iterable[Piece | Failed]) -> Iterator[Finished | Failed]:
        """Videos, each as soon as its last window has a vector, and those that failed."""
        items = iter(items)
        while (item := self._next(items)) is not None:
            if isinstance(item, Failed):  # what was read of it before does not count
                self._videos.pop(item.key, None)
                self._windows = [window for window in self._windows if window[0] != item.key]
                yield item
                continue
            video = self._videos.setdefault(item.key, _Video())
            video.add(item)
            self._windows += [(item.key, frames) for frames in item.frames]
            while len(self._windows) >= self.batch:
                yield from self._embed()
        while self._windows:
            yield from self._embed()

    def _next(self, items: Iterator[Piece | Failed]) -> Piece | Failed | None:
        started = time.perf_counter()
        item = next(items, None)
        self.waited += time.perf_counter() - started
        return item

    def _embed(self) -> Iterator[Finished | Failed]:
        """Embeds the first windows that wait; gives the videos that are complete by that."""
        windows, self._windows = self._windows[: self.batch], self._windows[self.batch :]
        frames = np.stack([frames for _, frames in windows])
        # Always of one size: only one program is compiled, and a video's vectors are the same
        # bits whatever other videos were embedded with it.
        lacking = self.batch - len(windows)
        started = time.perf_counter()
        vectors = self.encode(np.pad(frames, [(0, lacking)] + [(0, 0)] * 4))
        self.encoded += time.perf_counter() - started
        for (key, _), vector in zip(windows, vectors, strict=False):
            video = self._videos[key]
            video.vectors.append(vector)
            if video.is_complete:
                del self._videos[key]
                yield video.finished(key)


class _Video:
    """What is known of a video so far."""

    def __init__(self):
        self.seconds, self.all_read = 0.0, False
        self.spans: list[tuple[float, float]] = []
        self.thumbnails: list[bytes] = []
        self.vectors: list[Float[np.ndarray, " e"]] = []

    def add(self, piece: Piece) -> None:
        self.seconds, self.all_read = piece.seconds, piece.last
        self.spans += piece.spans
        self.thumbnails += piece.thumbnails

    def finished(self, key: str) -> Finished | Failed:
        """The video, if the model makes anything of it."""
        vectors = np.stack(self.vectors)
        if not np.isfinite(vectors).all():
            return Failed(key, "embed", "the model gives vectors for it that are not finite")
        return Finished(key, self.seconds, self.spans, vectors, self.thumbnails)

    @property
    def is_complete(self) -> bool:
        return self.all_read and len(self.vectors) == len(self.spans)


def embedder_of(model: Model, devices: list[jax.Device] | None = None) -> Embedder:
    """Embeds with a model, on some devices or on all of this process."""
    mesh = Mesh(np.array(devices or jax.local_devices()), ("data",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    network, params = model.folded
    params = jax.device_put(params, whole)
    batch = video_batch() * mesh.size
    mask = jax.device_put(np.ones((batch, model.num_frames), bool), split)

    def encode(frames: UInt8[np.ndarray, "b f s s 3"]) -> Float[np.ndarray, "b e"]:
        return np.asarray(encode_frames(network, params, jax.device_put(frames, split), mask))

    return Embedder(encode, batch)


def embed_here(
    work: Work, model: Model, sampling: Sampling, *, workers: int
) -> Iterator[Finished | Failed]:
    """Embeds what is to be read, in this process; child processes decode it."""
    size = model.arch.image_size
    items = read_windows(work.sources, sampling, image_size=size, workers=workers)
    with contextlib.closing(items):
        yield from embedder_of(model)(items)
