"""The input pipeline: from prepared frames to batches in memory, in a fixed order.

Grain reads ahead, in threads or in worker processes. The order and everything that is drawn depend
only on the seed and the place, not on the number of threads or workers.
"""

import contextlib
import dataclasses
import operator
from collections.abc import Iterator
from typing import Protocol, SupportsIndex

import grain
import numpy as np
from absl import flags

from tempme_jax.datasets.prepared import Prepared, decode_jpeg
from tempme_jax.text.base import BaseTokenizer
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
            "random_segment": a random frame of each of equal spans, or all;
            "shuffled": those of "uniform", in random order;
            "umt", "umt_random": one of each of equal spans, see `sample_spans`.
        stored: how many frames there are.
        num_frames: how many frames are wanted.
        rng: what random frames are drawn with.

    Returns:
        Indices, int [num_frames], or fewer; in ascending order, unless they are shuffled.
    """
    if sampling in ("umt", "umt_random"):
        return sample_spans(stored, num_frames, rng if sampling == "umt_random" else None)
    if sampling == "shuffled":
        return rng.permutation(pick_evenly(stored, num_frames))
    if sampling == "repeat":
        return np.linspace(0, stored - 1, num_frames).astype(int)
    if sampling == "uniform" or stored <= num_frames:
        return np.array(pick_evenly(stored, num_frames))
    edges = np.linspace(0, stored, num_frames + 1).astype(int)
    return rng.integers(edges[:-1], edges[1:])


def sample_spans(stored: int, num_frames: int, rng: np.random.Generator | None) -> np.ndarray:
    """Choose frames as UMT does (https://github.com/OpenGVLab/unmasked_teacher).

    Args:
        stored: how many frames there are.
        num_frames: how many frames are wanted.
        rng: draws a frame of each span, but never its last one; if a span has only one, all frames
            are drawn from the whole video. None: the middle of each span is taken.

    Returns:
        Indices in ascending order, int [num_frames]; if there are too few, the last is repeated.

    >>> sample_spans(300, 12, None).tolist()
    [12, 37, 62, 87, 112, 137, 162, 187, 212, 237, 262, 287]
    >>> sample_spans(2, 4, None).tolist()
    [0, 1, 1, 1]
    """
    spans = min(stored, num_frames)
    edges = np.linspace(0, stored, spans + 1).astype(int)
    first, end = edges[:-1], edges[1:]
    if rng is None:
        chosen = (first + end - 1) // 2
    elif (end - first > 1).all():
        chosen = rng.integers(first, end - 1)
    else:
        chosen = np.sort(rng.permutation(stored)[:spans])
    return np.pad(chosen, (0, num_frames - spans), mode="edge")


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
    tokenizer: BaseTokenizer
    steps: int

    def __len__(self) -> int:
        return self.steps * self.order.batch_size

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Return one row: frames, frame_mask, ids, text_mask, the video's number, and its place."""
        place = operator.index(index)
        step, row = divmod(place, self.order.batch_size)
        pairs = self.order.pairs
        pair = self.order.get_batch(step)[row]
        video = int(pairs.video[pair])
        frames, frame_mask = self.reader(video, place)
        ids, text_mask = self.tokenizer(pairs.texts[pair])
        return {
            "frames": frames,
            "frame_mask": frame_mask,
            "ids": ids[0],
            "text_mask": text_mask[0],
            "video": np.asarray(video, np.int32),
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


class Rows(Protocol):
    """A source for Grain: rows by their places, of which every `batch_size` make a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]: ...


@contextlib.contextmanager
def read_batches(
    source: Rows,
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
