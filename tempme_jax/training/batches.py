"""The input pipeline: from prepared frames to batches in memory, in a fixed order.

Grain reads ahead, in threads or in worker processes. The order and everything that is drawn depend
only on the seed and the place, not on the number of threads or workers.
"""

import contextlib
import dataclasses
import operator
from collections.abc import Iterator
from typing import SupportsIndex

import grain
import numpy as np
from absl import flags

from tempme_jax.datasets.prepared import Prepared, decode_jpeg
from tempme_jax.text.bpe import Tokenizer
from tempme_jax.training.order import Order
from tempme_jax.video.positions import pick_evenly

# Batches that are kept ready, and threads that each read one of them.
AHEAD = THREADS = 2


def sample_frames(
    sampling: str, stored: int, num_frames: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose frames of a video for training or evaluation.

    Args:
        sampling: "uniform": the middles of equal spans, or all frames if there are no more;
            "repeat": from the first to the last in equal steps, some of them repeatedly if there
            are too few, as the published code does (https://github.com/LunarShen/TempMe);
            "random_segment": a random frame of each of equal spans, or all.
        stored: how many frames there are.
        num_frames: how many frames are wanted.
        rng: what random frames are drawn with.

    Returns:
        Indices in ascending order, int [num_frames], or fewer.
    """
    if sampling == "repeat":
        return np.linspace(0, stored - 1, num_frames).astype(int)
    if sampling == "uniform" or stored <= num_frames:
        return np.array(pick_evenly(stored, num_frames))
    edges = np.linspace(0, stored, num_frames + 1).astype(int)
    return rng.integers(edges[:-1], edges[1:])


@dataclasses.dataclass(frozen=True)
class FrameReader:
    """Reads the frames of a video of a prepared split.

    Attributes:
        prepared: the split.
        num_frames: frames of a video.
        frame_sampling: how they are chosen, see `sample_frames`.
        seed: seed of the frames drawn for a video at a place of the order.
    """

    prepared: Prepared
    num_frames: int
    frame_sampling: str
    seed: int = 0

    def __call__(self, video: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 [num_frames, s, s, 3], and a mask that is True where a frame is real."""
        encoded, _ = self.prepared[video]
        rng = np.random.default_rng((self.seed, place))
        chosen = sample_frames(self.frame_sampling, len(encoded), self.num_frames, rng)
        decoded = {i: decode_jpeg(encoded[i]) for i in set(chosen.tolist())}
        real = np.stack([decoded[i] for i in chosen.tolist()])
        frames = np.zeros((self.num_frames, *real.shape[1:]), np.uint8)
        frames[: len(real)] = real
        return frames, np.arange(self.num_frames) < len(real)


@dataclasses.dataclass(frozen=True)
class TrainingRows:
    """The rows of all training batches by their place in the order; a source for Grain.

    Attributes:
        order: the pair at each place.
        reader: reads a video's frames.
        tokenizer: turns a text into ids.
        steps: steps of the training.
    """

    order: Order
    reader: FrameReader
    tokenizer: Tokenizer
    steps: int

    def __len__(self) -> int:
        return self.steps * self.order.batch_size

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Return one row: frames, frame_mask, ids, text_mask, and its place."""
        place = operator.index(index)
        step, row = divmod(place, self.order.batch_size)
        pairs = self.order.pairs
        pair = self.order.get_batch(step)[row]
        frames, frame_mask = self.reader(int(pairs.video[pair]), place)
        ids, text_mask = self.tokenizer(pairs.texts[pair])
        return {
            "frames": frames,
            "frame_mask": frame_mask,
            "ids": ids[0],
            "text_mask": text_mask[0],
            "place": np.asarray(place % 2**31, np.int32),
        }


@dataclasses.dataclass(frozen=True)
class VideoRows:
    """All videos of a split, filled up to whole batches; a source for Grain.

    Attributes:
        reader: reads a video's frames.
        batch_size: videos of a batch.
    """

    reader: FrameReader
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.reader.prepared) // self.batch_size) * self.batch_size

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Return one row: frames, frame_mask, and the video's number, -1 if it only fills up."""
        place, last = operator.index(index), len(self.reader.prepared) - 1
        frames, mask = self.reader(min(place, last), place)
        number = place if place <= last else -1
        return {"frames": frames, "frame_mask": mask, "video": np.asarray(number, np.int32)}


@contextlib.contextmanager
def read_batches(
    source: TrainingRows | VideoRows,
    batch_size: int,
    *,
    first: int = 0,
    workers: int = 0,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Read ahead the rows that one process needs of every batch; stop reading at the block's end.

    Args:
        source: the rows.
        batch_size: rows of a batch, over all processes.
        first: the batch to begin with.
        workers: worker processes that read; 0 = threads of this process.
        process, processes: this process reads the `process`-th of `processes` blocks of a batch.
    """
    if not flags.FLAGS.is_parsed():  # Grain wants absl's flags parsed, even without workers
        flags.FLAGS.mark_as_parsed()
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
