"""Embedding: windows become vectors, in full batches that may mix windows of several videos."""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8

from tempme_jax.encoding import choose_video_batch, encode_each_frame, encode_frames
from tempme_jax.late_interaction import scale_to_unit
from tempme_jax.model import Model
from tempme_jax.search.indexing.frame_rows import join_frames
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.reading import FailedVideo, Piece, read_windows
from tempme_jax.search.indexing.unfinished import UnfinishedVideos, Windows
from tempme_jax.two_towers import TwoTowers
from tempme_jax.vectors import normalize
from tempme_jax.video.windows import Sampling

# What is done of unfinished videos is kept after so many seconds.
SECONDS_A_PART = 15.0

Encode = Callable[[UInt8[np.ndarray, "b f s s 3"]], Float[np.ndarray, "b e"]]


class EmbeddedVideo(NamedTuple):
    """All w windows of one video.

    Attributes:
        key: key of its source.
        seconds: length of the video in seconds.
        spans: start and end of each window, in seconds from the video's start.
        vectors: unit vectors, float32 [w, e]; with vectors of frames, rows of `join_frames`.
        thumbnails: one JPEG file per window.
        whole: 64 hexadecimal digits, the SHA-256 of the file.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    vectors: Float[np.ndarray, "w e"]
    thumbnails: list[bytes]
    whole: str = ""


class Advance(NamedTuple):
    """The first seconds of a video have been embedded.

    Attributes:
        key: key of its source.
        seconds: up to where, in seconds from the video's start.
        length: length of the video in seconds.
        is_resumed: whether an earlier run embedded them.
    """

    key: str
    seconds: float
    length: float
    is_resumed: bool = False


class Embedder:
    """Embeds the windows of videos as they are read.

    Attributes:
        waited: seconds spent waiting for windows to be read.
        encoded: seconds spent embedding.
        known: for some videos, by key, first windows that an earlier run embedded.
        partial: the videos that have been read in part or embedded in part, by key.
    """

    def __init__(self, encode: Encode, batch: int, known: Mapping[str, Windows] | None = None):
        """Use `encode`, which is always called with exactly `batch` windows."""
        self.encode, self.batch, self.known = encode, batch, known or {}
        self.waited = self.encoded = 0.0
        self._windows: list[tuple[str, UInt8[np.ndarray, "f s s 3"]]] = []
        self.partial: dict[str, _PartialVideo] = {}

    def __call__(
        self, items: Iterable[Piece | FailedVideo]
    ) -> Generator[EmbeddedVideo | FailedVideo | Advance, None, None]:
        """Yield each video as soon as its last window has a vector, or has failed.

        In between, yield how far others have come.
        """
        items = iter(items)
        while (item := self._take_next(items)) is not None:
            if isinstance(item, FailedVideo):  # its earlier pieces are discarded
                self.partial.pop(item.key, None)
                self._windows = [window for window in self._windows if window[0] != item.key]
                yield item
                continue
            video = self.partial.setdefault(item.key, _PartialVideo())
            if item.first and not video.spans:
                video.take_known(self.known[item.key], item.first)
                yield Advance(item.key, video.spans[-1][1], item.seconds, is_resumed=True)
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

    def _embed(self) -> Iterator[EmbeddedVideo | FailedVideo | Advance]:
        """Embed the next batch of windows; yield the videos that it completes or advances."""
        windows, self._windows = self._windows[: self.batch], self._windows[self.batch :]
        frames = np.stack([frames for _, frames in windows])
        # With one batch size, only one program is compiled, and a video's vectors are the same to
        # the last bit whatever other videos were embedded with it.
        lacking = self.batch - len(windows)
        started = time.perf_counter()
        vectors = self.encode(np.pad(frames, [(0, lacking)] + [(0, 0)] * 4))
        self.encoded += time.perf_counter() - started
        for (key, _), vector in zip(windows, vectors, strict=False):
            video = self.partial[key]
            video.vectors.append(vector)
            if video.is_complete:
                del self.partial[key]
                yield video.finish(key)
        for key in dict.fromkeys(key for key, _ in windows):
            if (video := self.partial.get(key)) is not None:
                yield Advance(key, video.spans[len(video.vectors) - 1][1], video.seconds)


class _PartialVideo:
    """The windows and vectors of a video that is not complete yet."""

    def __init__(self):
        self.seconds, self.all_read, self.whole = 0.0, False, ""
        self.spans: list[tuple[float, float]] = []
        self.thumbnails: list[bytes] = []
        self.vectors: list[Float[np.ndarray, " e"]] = []

    def take_known(self, known: Windows, count: int) -> None:
        """Begin with the first `count` windows that an earlier run embedded."""
        self.spans, self.thumbnails = known.spans[:count], known.thumbnails[:count]
        self.vectors = list(known.vectors[:count])

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


def make_embedder(model: Model, *, per_frame: bool = False) -> Embedder:
    """Make an embedder for a model, on all devices of this process.

    With `per_frame`, vectors have length e + t * e + t: those of `join_frames`.
    """
    if model.is_exported:
        return make_exported_embedder(model)
    mesh = Mesh(np.array(jax.local_devices()), ("data",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    network, params = model.folded
    params = jax.device_put(params, whole)
    batch = choose_video_batch() * mesh.size
    mask = jax.device_put(np.ones((batch, model.num_frames), bool), split)

    def encode(frames: UInt8[np.ndarray, "b f s s 3"]) -> Float[np.ndarray, "b e"]:
        vectors = encode_frames(network, params, jax.device_put(frames, split), mask)
        return np.asarray(vectors if network.unit_videos else normalize(vectors))

    def encode_each(frames: UInt8[np.ndarray, "b f s s 3"]) -> Float[np.ndarray, "b n"]:
        found = encode_each_frame(network, params, jax.device_put(frames, split), mask)
        return join_frames(scale_to_unit(found))

    return Embedder(encode_each if per_frame else encode, batch)


def make_exported_embedder(model: TwoTowers) -> Embedder:
    """Make an embedder for a model that another runtime runs."""
    mask = np.ones((model.video_batch, model.num_frames), bool)

    def encode(frames: UInt8[np.ndarray, "b f s s 3"]) -> Float[np.ndarray, "b e"]:
        vectors = model.encode_frames([(frames, mask)])
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    return Embedder(encode, model.video_batch)


def embed_locally(
    work: Work,
    model: Model,
    sampling: Sampling,
    *,
    workers: int,
    per_frame: bool = False,
    unfinished: UnfinishedVideos | None = None,
    progress: IndexProgress | None = None,
) -> Generator[EmbeddedVideo | FailedVideo | Advance, None, None]:
    """Embed the videos of `work` in this process; child processes decode them.

    Args:
        work: the videos.
        model: the model that embeds.
        sampling: the way in which videos are cut into windows.
        workers: number of processes that decode.
        per_frame: whether vectors hold those of the frames, see `make_embedder`.
        unfinished: keeps what is done of a video every few seconds, and however this ends; None to
            keep nothing.
        progress: says what lasts; None to say nothing.

    Yields:
        Each video as soon as it is done, and how far others have come.
    """
    progress = progress or IndexProgress(quiet=True)
    size, resize = model.arch.image_size, model.arch.resize
    sources = [unfinished.mark(source) for source in work.sources] if unfinished else work.sources
    items = read_windows(sources, sampling, image_size=size, resize=resize, workers=workers)
    with contextlib.closing(items):
        embedder = make_embedder(model, per_frame=per_frame)
        embedder.known = unfinished.known if unfinished else {}
        embedder.encode = progress.show_first("Compiling the model (once)", embedder.encode)
        first = progress.show_first("Reading the first frames", lambda: next(items, None))()
        videos = embedder(itertools.chain([first] if first else [], items))
        yield from keep_unfinished(videos, embedder, unfinished, progress) if unfinished else videos


def keep_unfinished(
    videos: Iterable[EmbeddedVideo | FailedVideo | Advance],
    embedder: Embedder,
    unfinished: UnfinishedVideos,
    progress: IndexProgress,
) -> Generator[EmbeddedVideo | FailedVideo | Advance, None, None]:
    """Yield what an embedder yields; keep what it has done of videos, however this ends."""
    kept = time.monotonic()
    try:
        for video in videos:
            yield video
            if time.monotonic() - kept > SECONDS_A_PART:
                unfinished.keep(embedder.partial)
                kept = time.monotonic()
    finally:
        unfinished.keep(embedder.partial)
        if unfinished.problem:
            progress.say(f"What is done of a video could not be kept: {unfinished.problem}")
