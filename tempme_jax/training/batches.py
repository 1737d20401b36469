"""The input pipeline: from prepared frames to batches in memory, in a fixed order.

Grain reads ahead, in threads or in worker processes; the order and all that is drawn depend on
the seed and the place alone, not on how many of them there are.
"""

import contextlib
import dataclasses
import io
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags
from PIL import Image

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.text.bpe import Tokenizer
from tempme_jax.training.order import Order

# Batches that are kept ready, and threads that each read one of them.
AHEAD = THREADS = 2


def uniform(stored: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """The middles of equal spans; all, if there are no more."""
    if stored <= num_frames:
        return np.arange(stored)
    return ((np.arange(num_frames) + 0.5) * stored / num_frames).astype(int)


def repeat(stored: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """From the first to the last in equal steps, again and again if there are too few.

    As the published code does (specification section 7.2).
    """
    return np.linspace(0, stored - 1, num_frames).astype(int)


def random_segment(stored: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One at random of each of equal spans; all, if there are no more."""
    if stored <= num_frames:
        return np.arange(stored)
    edges = np.linspace(0, stored, num_frames + 1).astype(int)
    return rng.integers(edges[:-1], edges[1:])


FRAME_SAMPLING = {"uniform": uniform, "repeat": repeat, "random_segment": random_segment}


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a video of a prepared split is read.

    Attributes:
        prepared: the split.
        num_frames: frames of a video.
        frame_sampling: a name of `FRAME_SAMPLING`.
        seed: of what is drawn for a video at a place of the order.
    """

    prepared: Prepared
    num_frames: int
    frame_sampling: str
    seed: int = 0

    def __call__(self, video: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [num_frames, s, s, 3], and a mask that is True where a frame is real."""
        encoded, _ = self.prepared[video]
        rng = np.random.default_rng((self.seed, place))
        chosen = FRAME_SAMPLING[self.frame_sampling](len(encoded), self.num_frames, rng)
        decoded = {i: decode(encoded[i]) for i in set(chosen.tolist())}
        real = np.stack([decoded[i] for i in chosen.tolist()])
        frames = np.zeros((self.num_frames, *real.shape[1:]), np.uint8)
        frames[: len(real)] = real
        return frames, np.arange(self.num_frames) < len(real)


def decode(jpeg: bytes) -> np.ndarray:
    """uint8 [h, w, 3]."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB"))


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The rows of training batches, by their place in the order; a source for Grain."""

    order: Order
    reading: Reading
    tokenizer: Tokenizer
    steps: int

    def __len__(self) -> int:
        return self.steps * self.order.batch_size

    def __getitem__(self, place: int) -> dict[str, np.ndarray]:
        """One row: frames, frame_mask, ids, text_mask, and its place."""
        step, row = divmod(int(place), self.order.batch_size)
        pairs = self.order.pairs
        pair = self.order.batch(step)[row]
        frames, frame_mask = self.reading(int(pairs.video[pair]), int(place))
        ids, text_mask = self.tokenizer(pairs.texts[pair])
        return {
            "frames": frames,
            "frame_mask": frame_mask,
            "ids": ids[0],
            "text_mask": text_mask[0],
            "place": np.int32(place % 2**31),
        }


@dataclasses.dataclass(frozen=True)
class Videos:
    """All videos of a split, filled up to whole batches; a source for Grain."""

    reading: Reading
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.reading.prepared) // self.batch_size) * self.batch_size

    def __getitem__(self, place: int) -> dict[str, np.ndarray]:
        """One row: frames, frame_mask, and the number of the video, -1 where it only fills up."""
        last = len(self.reading.prepared) - 1
        frames, mask = self.reading(min(int(place), last), int(place))
        return {
            "frames": frames,
            "frame_mask": mask,
            "video": np.int32(place if place <= last else -1),
        }


@contextlib.contextmanager
def batches(
    source: TrainingBatches | Videos,
    batch_size: int,
    *,
    first: int = 0,
    workers: int = 0,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Reads ahead what one process needs of every batch, and stops reading on leaving.

    Args:
        source: of rows.
        batch_size: over all processes.
        first: the batch to begin with.
        workers: processes that read; 0 = threads of this one.
        process, processes: which rows are its own: the `process`-th block of each batch.
    """
    allow_workers()
    rows = grain.MapDataset.source(source).batch(batch_size // processes)
    mine = rows[first * processes + process :: processes]
    if not len(mine):
        yield iter(())
        return
    threads = grain.ReadOptions(num_threads=0 if workers else THREADS, prefetch_buffer_size=AHEAD)
    ahead = mine.to_iter_dataset(threads)
    if workers:
        ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(workers, per_worker_buffer_size=1))
    reader = iter(ahead)
    try:
        yield reader
    finally:
        reader.close()


def allow_workers() -> None:
    """Grain's worker processes want absl's flags parsed, also where there are none."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
