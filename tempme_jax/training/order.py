"""In which order texts and their videos come in training: planned ahead, from ids alone.

Everything follows from the seed and the number of the step, so that a run that was stopped goes
on with the batch that it would have seen.
"""

import collections
import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The texts of a split, each with its video.

    Attributes:
        texts: one for each pair.
        video: int [pairs], the video of each.
        groups: for each video; videos of one group are hard negatives, "" is none.
    """

    texts: tuple[str, ...]
    video: np.ndarray
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def pairs_of(captions: list[tuple[str, ...]], groups: list[str]) -> Pairs:
    """Every caption of every video as a pair of its own."""
    texts = tuple(text for of_video in captions for text in of_video)
    video = np.repeat(np.arange(len(captions)), [len(of_video) for of_video in captions])
    return Pairs(texts, video, tuple(groups))


class Order:
    """The pair at each place of an endless training, epoch after epoch.

    Args:
        pairs: of the training split.
        batch_size: pairs of a step; an epoch has whole batches only.
        kind: "shuffle", or "distinct": no text and no video twice in a batch, and the videos of a
            group, if their texts differ, in one batch.
        seed: of every epoch.

    Raises:
        ValueError: if there are too few pairs for one such batch.
    """

    def __init__(self, pairs: Pairs, *, batch_size: int, kind: str, seed: int):
        self.pairs, self.batch_size, self.kind, self.seed = pairs, batch_size, kind, seed
        self.epoch = functools.lru_cache(maxsize=2)(self._epoch)
        self.steps_of_epoch = len(self.epoch(0))
        if not self.steps_of_epoch:
            raise ValueError(
                f"the training split has {len(pairs)} texts, of which no batch of {batch_size} "
                f"{kind!r} pairs can be made; choose a smaller train.batch_size"
                + (" or train.batches='shuffle'" if kind == "distinct" else "")
            )

    def batch(self, step: int) -> np.ndarray:
        """The pairs of a step, int [batch_size]."""
        epoch, place = divmod(step, self.steps_of_epoch)
        batches = self.epoch(epoch)
        # Of "distinct" batches another epoch may have a few less than the first.
        return batches[place % len(batches)]

    def _epoch(self, epoch: int) -> np.ndarray:
        """int [steps, batch_size]."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.kind == "shuffle":
            order = rng.permutation(len(self.pairs))
            steps = len(order) // self.batch_size
            return order[: steps * self.batch_size].reshape(steps, self.batch_size)
        batches = distinct_batches(self.pairs, self.batch_size, rng)
        while epoch and not len(batches):  # rare, and the first epoch says that there are some
            batches = distinct_batches(self.pairs, self.batch_size, rng)
        return batches

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k != "epoch"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.epoch = functools.lru_cache(maxsize=2)(self._epoch)


def distinct_batches(pairs: Pairs, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Batches without a text or a video twice, int [steps, batch_size]."""
    # What is too much for one batch goes into several.
    units = [
        unit[start : start + batch_size]
        for unit in hard_units(pairs, rng)
        for start in range(0, len(unit), batch_size)
    ]
    waiting = collections.deque(units[i] for i in rng.permutation(len(units)))
    batches = []
    while True:
        batch, texts, videos, later = [], set(), set(), []
        while waiting and len(batch) < batch_size:
            unit = waiting.popleft()
            its_texts, its_videos = {pairs.texts[i] for i in unit}, set(pairs.video[unit].tolist())
            fits = len(batch) + len(unit) <= batch_size
            if fits and not (its_texts & texts or its_videos & videos):
                batch += unit
                texts |= its_texts
                videos |= its_videos
            else:
                later.append(unit)
        waiting.extendleft(reversed(later))
        if len(batch) < batch_size:
            return np.array(batches, np.int64).reshape(-1, batch_size)
        batches.append(batch)


def hard_units(pairs: Pairs, rng: np.random.Generator) -> list[list[int]]:
    """Pairs that go into one batch together: one for each video of a group, or one alone."""
    by_video = collections.defaultdict(list)
    for pair in rng.permutation(len(pairs)).tolist():
        by_video[int(pairs.video[pair])].append(pair)
    by_group = collections.defaultdict(list)
    for video in sorted(by_video):
        by_group[pairs.groups[video] or f"\0{video}"].append(by_video[video])
    units = []
    for videos in by_group.values():
        for turn in range(max(map(len, videos))):
            unit = {pairs.texts[v[turn]]: v[turn] for v in videos if turn < len(v)}
            units.append(list(unit.values()))
    return units
