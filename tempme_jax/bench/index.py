"""How fast videos are indexed, and whether decoding or embedding is what takes the time."""

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

import av
import numpy as np

from tempme_jax.building import create
from tempme_jax.loading import load
from tempme_jax.model import Model
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.search.indexing import run as indexing
from tempme_jax.search.indexing.embedding import Embedder, embedder_of
from tempme_jax.search.indexing.plan import Place, Work
from tempme_jax.search.indexing.progress import Progress
from tempme_jax.search.indexing.reading import Failed, Piece, Source, read_windows
from tempme_jax.search.indexing.report import Report
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.store.store import Store

# Of the videos that are made.
WIDTH, HEIGHT, RATE, SECONDS = 320, 240, 30, 10
# Calls of which the median tells how fast embedding alone is, after the one that compiles.
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class IndexSpeed:
    """How fast videos are indexed.

    Attributes:
        videos, failed, windows: that were indexed, and videos that could not be.
        minutes: of video.
        workers: processes that decode.
        seconds: of the whole run, from looking into the folder to the last write.
        videos_per_second, minutes_per_minute, windows_per_second: of the whole run.
        first_seconds: until the first windows were read, when the run came to that: mostly
            the start of processes.
        waited_seconds: in which embedding waited for windows after that.
        embed_seconds: in which it embedded.
        waited: the share of `waited_seconds` in the whole run.
        decode_cpu_seconds: of processors, in all child processes: started, opened, decoded.
        read_windows_per_second: of decoding alone, from the first windows on.
        embed_windows_per_second: of embedding alone, in full batches.
        ratio: of the two; below 1 decoding is what embedding waits for.
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


def measure(
    folder: str | os.PathLike,
    model: Model,
    *,
    workers: int | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> IndexSpeed:
    """Indexes a folder of videos into a temporary index, then decodes and embeds alone.

    Args:
        folder: with videos, and folders of videos; nothing is written to it.
        model: that embeds.
        workers: processes that decode; None: as `tempme index`.
        report: is told what is being done.

    Raises:
        VideoIndexError: no such folder, or no video in it.
        ValueError: none of its videos can be read.
    """
    options, sampling = indexing.Options(workers=workers), Sampling(frames=model.num_frames)
    report("compiling")
    embedder = embedder_of(model)
    alone = embed_alone(embedder, model)
    report("indexing")
    before = children_seconds()
    run, items = index(Path(folder), model, embedder, options, sampling)
    cpu = children_seconds() - before
    if not run.windows:
        raise ValueError(f"no video in {folder} can be read; `tempme index` says why")
    report("decoding alone")
    read = read_alone(items.sources, model, options, sampling)
    waited = embedder.waited - items.first
    return IndexSpeed(
        run.embedded, len(run.failures), run.windows, 60 * run.hours, options.processes,
        run.seconds, run.embedded / run.seconds, 3600 * run.hours / run.seconds,
        run.windows / run.seconds, items.first, waited, embedder.encoded, waited / run.seconds,
        cpu, read, alone, read / alone,
    )  # fmt: skip


def model_of(name: str, method: str | None) -> Model:
    """A backbone with random weights, such as ViT-B/32, or what `load` opens by this name."""
    if name in ARCHITECTURES:
        return create(name, method=method or "tempme")
    return load(name, method=method)


class _Items:
    """What is read while it is embedded, and how long the first took.

    Attributes:
        sources: that were read.
        first: seconds until the first windows were there.
    """

    def __init__(self):
        self.sources: list[Source] = []
        self.first = 0.0

    def read(self, work: Work, **options) -> Iterator[Piece | Failed]:
        self.sources, started = work.sources, time.perf_counter()
        with contextlib.closing(read_windows(work.sources, **options)) as items:
            for item in items:
                self.first = self.first or time.perf_counter() - started
                yield item


def index(
    folder: Path, model: Model, embedder: Embedder, options: indexing.Options, sampling: Sampling
) -> tuple[Report, _Items]:
    """What `tempme index` does, but for opening the model."""
    items = _Items()
    reading = {"image_size": model.arch.image_size, "workers": options.processes}
    embedder.waited = embedder.encoded = 0.0
    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as made:
        store = Store.create(made, {}, [], np.zeros((0, model.arch.embed_dim), np.float32))
        report = indexing.run(
            store,
            Place(folder, str(folder)),
            lambda work: embedder(items.read(work, sampling=sampling, **reading)),
            options,
            progress=Progress(quiet=True),
        )
    return report, items


def read_alone(
    sources: list[Source], model: Model, options: indexing.Options, sampling: Sampling
) -> float:
    """Windows a second that are read from videos if nothing else is done, after the first."""
    size, workers = model.arch.image_size, options.processes
    moments, windows = [time.perf_counter()], [0]
    for item in read_windows(sources, sampling, image_size=size, workers=workers):
        if isinstance(item, Piece):
            moments.append(time.perf_counter())
            windows.append(len(item.spans))
    # Processes start until the first piece is there; of a single one nothing else is known.
    since = 1 if len(moments) > 2 else 0
    return sum(windows[since + 1 :]) / (moments[-1] - moments[since])


def embed_alone(embedder: Embedder, model: Model) -> float:
    """Windows a second that are embedded in full batches if nothing else is done."""
    size = model.arch.image_size
    frames = np.zeros((embedder.batch, model.num_frames, size, size, 3), np.uint8)
    embedder.encode(frames)
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        embedder.encode(frames)
        taken.append(time.perf_counter() - started)
    return embedder.batch / statistics.median(taken)


def children_seconds() -> float:
    """Seconds of processors that child processes took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def made_videos(folder: Path, count: int) -> Iterator[Path]:
    """Makes so many videos, no two of which show the same; gives each when it is written."""
    files = [folder / f"{number:05d}.mp4" for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, _ in zip(files, pool.map(write_video, files, range(count)), strict=True):
            yield file


def write_video(file: Path, seed: int) -> None:
    """Writes H.264 with keyframes as rare as x264 has them by itself; a camera sways."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    margins = np.subtract(scene.shape[:2], (HEIGHT, WIDTH))
    sways = rng.uniform(0.05, 0.3, 2)
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "faster"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(RATE * SECONDS):
            swing = (1 + np.sin(2 * np.pi * sways * number / RATE)) / 2
            top, left = (swing * margins).astype(int)
            pixels = np.ascontiguousarray(scene[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def random_scene(rng: np.random.Generator) -> np.ndarray:
    """Random colours, coarse and fine: uint8 [480, 640, 3], twice the size of a video."""
    scene = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    for side, most in ((80, 128), (16, 80), (4, 48)):
        shape = (2 * HEIGHT // side, 2 * WIDTH // side, 3)
        colours = rng.integers(most, size=shape, dtype=np.uint8)
        scene += colours.repeat(side, axis=0).repeat(side, axis=1)
    return scene
