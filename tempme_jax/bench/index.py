"""Speed of indexing videos, and of its two parts: decoding and embedding."""

import contextlib
import dataclasses
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tempme_jax.building import create
from tempme_jax.loading import load
from tempme_jax.model import Model
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.search.indexing import run as indexing
from tempme_jax.search.indexing.embedding import Embedder, make_embedder
from tempme_jax.search.indexing.plan import VideoFolder, Work
from tempme_jax.search.indexing.reading import FailedVideo, Piece, Source, read_windows
from tempme_jax.search.indexing.report import IndexReport
from tempme_jax.search.indexing.unfinished import UnfinishedVideos
from tempme_jax.search.store.store import Store
from tempme_jax.video.windows import Sampling
from tempme_jax.video.writing import write_video

# Size in pixels, frames per second and length in seconds of the videos that are made.
WIDTH, HEIGHT, RATE, SECONDS = 320, 240, 30, 10
# Calls that are timed of the embedder, after the one that compiles; their median counts.
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class IndexSpeed:
    """Speed of indexing videos.

    Attributes:
        videos, failed: numbers of videos that were indexed, and that could not be.
        windows: number of windows that were indexed.
        minutes: length of the videos.
        workers: number of processes that decode.
        seconds: seconds of the whole run, from listing the folder to the last write.
        videos_per_second, minutes_per_minute, windows_per_second: speed of the whole run.
        first_seconds: seconds until the first windows were read; mostly the start of processes.
        waited_seconds: seconds in which embedding waited for windows after that.
        embed_seconds: seconds of embedding.
        waited: share of `waited_seconds` in the whole run.
        decode_cpu_seconds: CPU seconds of all child processes.
        read_windows_per_second: speed of decoding by itself, after the first windows.
        embed_windows_per_second: speed of embedding by itself, in full batches.
        ratio: speed of decoding over speed of embedding; below 1 embedding has to wait.
    """

    videos: int
    failed: int
    windows: int
    minutes: float
    workers: int
    seconds: float
    videos_per_second: float
    minutes_per_minute: float
    windows_per_second: float
    first_seconds: float
    waited_seconds: float
    embed_seconds: float
    waited: float
    decode_cpu_seconds: float
    read_windows_per_second: float
    embed_windows_per_second: float
    ratio: float


def measure_indexing(
    folder: str | os.PathLike,
    model: Model,
    *,
    workers: int | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> IndexSpeed:
    """Index a folder into a temporary index; time decoding and embedding by themselves, too.

    Args:
        folder: folder of videos, with subfolders; nothing is written to it.
        model: the model that embeds.
        workers: number of processes that decode; None for the default of `tempme index`.
        report: called with a message before each part of the work.

    Raises:
        VideoIndexError: if there is no such folder, or no video in it.
        ValueError: if none of its videos can be read.
    """
    options, sampling = indexing.IndexOptions(workers=workers), Sampling(frames=model.num_frames)
    report("compiling")
    embedder = make_embedder(model)
    alone = measure_embedding(embedder, model)
    report("indexing")
    before = read_children_seconds()
    run, items = index_videos(Path(folder), model, embedder, options, sampling)
    cpu = read_children_seconds() - before
    if not run.windows:
        raise ValueError(f"no video in {folder} can be read; `tempme index` says why")
    report("decoding alone")
    read = measure_decoding(items.sources, model, options, sampling)
    waited = embedder.waited - items.first
    return IndexSpeed(
        run.embedded, len(run.failures), run.windows, 60 * run.hours, options.processes,
        run.seconds, run.embedded / run.seconds, 3600 * run.hours / run.seconds,
        run.windows / run.seconds, items.first, waited, embedder.encoded, waited / run.seconds,
        cpu, read, alone, read / alone,
    )  # fmt: skip


def open_model(name: str, method: str | None) -> Model:
    """Return a backbone such as ViT-B/32 with random weights, or else what `load` opens."""
    if name in ARCHITECTURES:
        return create(name, method=method or "tempme")
    return load(name, method=method)


class _TimedReader:
    """A reader of windows that notes its sources and the time of the first windows.

    Attributes:
        sources: the videos that were read.
        first: seconds until the first windows were read.
    """

    def __init__(self):
        self.sources: list[Source] = []
        self.first = 0.0

    def read(self, work: Work, **options) -> Iterator[Piece | FailedVideo]:
        self.sources, started = work.sources, time.perf_counter()
        with contextlib.closing(read_windows(work.sources, **options)) as items:
            for item in items:
                self.first = self.first or time.perf_counter() - started
                yield item


def index_videos(
    folder: Path,
    model: Model,
    embedder: Embedder,
    options: indexing.IndexOptions,
    sampling: Sampling,
) -> tuple[IndexReport, _TimedReader]:
    """Do what `tempme index` does, except opening the model."""
    items = _TimedReader()
    reading = {
        "image_size": model.arch.image_size,
        "resize": model.arch.resize,
        "workers": options.processes,
    }
    embedder.waited = embedder.encoded = 0.0

    def embed(work: Work, _: UnfinishedVideos) -> indexing.Embedded:
        yield from embedder(items.read(work, sampling=sampling, **reading))

    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as made:
        store = Store.create(made, {}, [], np.zeros((0, model.arch.embed_dim), np.float32))
        videos = VideoFolder(folder, str(folder))
        return indexing.update_index(store, videos, embed, options), items


def measure_decoding(
    sources: list[Source], model: Model, options: indexing.IndexOptions, sampling: Sampling
) -> float:
    """Return the windows per second of decoding by itself, after the first ones."""
    reading = {"image_size": model.arch.image_size, "resize": model.arch.resize}
    times, windows = [time.perf_counter()], [0]
    for item in read_windows(sources, sampling, workers=options.processes, **reading):
        if isinstance(item, Piece):
            times.append(time.perf_counter())
            windows.append(len(item.spans))
    # Up to the first piece processes start, so the clock starts there, if there is a second one.
    since = 1 if len(times) > 2 else 0
    return sum(windows[since + 1 :]) / (times[-1] - times[since])


def measure_embedding(embedder: Embedder, model: Model) -> float:
    """Return the windows per second of embedding by itself, in full batches."""
    size = model.arch.image_size
    frames = np.zeros((embedder.batch, model.num_frames, size, size, 3), np.uint8)
    embedder.encode(frames)
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        embedder.encode(frames)
        taken.append(time.perf_counter() - started)
    return embedder.batch / statistics.median(taken)


def read_children_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_videos(folder: Path, count: int) -> Iterator[Path]:
    """Make `count` different videos; yield the path of each when it is written."""
    files = [folder / f"{number:05d}.mp4" for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, _ in zip(files, pool.map(make_video, files, range(count)), strict=True):
            yield file


def make_video(file: Path, seed: int) -> None:
    """Write a video of a swaying camera, with as few keyframes as x264 makes by default."""
    rng = np.random.default_rng(seed)
    scene = make_random_scene(rng)
    margins = np.subtract(scene.shape[:2], (HEIGHT, WIDTH))
    sways = rng.uniform(0.05, 0.3, 2)
    swings = (1 + np.sin(2 * np.pi * sways * np.arange(RATE * SECONDS)[:, None] / RATE)) / 2
    frames = (
        np.ascontiguousarray(scene[top : top + HEIGHT, left : left + WIDTH])
        for top, left in (swings * margins).astype(int)
    )
    write_video(file, frames, fps=RATE, options={"preset": "faster"})


def make_random_scene(rng: np.random.Generator) -> np.ndarray:
    """Return random colours, coarse and fine: uint8 [480, 640, 3], twice the size of a video."""
    scene = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    for side, most in ((80, 128), (16, 80), (4, 48)):
        shape = (2 * HEIGHT // side, 2 * WIDTH // side, 3)
        colours = rng.integers(most, size=shape, dtype=np.uint8)
        scene += colours.repeat(side, axis=0).repeat(side, axis=1)
    return scene
