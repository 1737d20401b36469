"""The order of texts and their videos in training, planned ahead from ids alone.

It follows from the seed and the number of the step, so a stopped run resumes with the batch that
it would have seen.
"""

import collections
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The texts of a split, each with its video.

    Attributes:
        texts: the text of each pair.
        video: int [pairs], the video of each pair.
        groups: the group of each video. Videos of one group are hard negatives; "" is no group.
    """

    texts: tuple[str, ...]
    video: np.ndarray
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def make_pairs(captions: list[tuple[str, ...]], groups: list[str]) -> Pairs:
    """Return every caption of every video as a pair of its own."""
    texts = tuple(text for of_video in captions for text in of_video)
    video = np.repeat(np.arange(len(captions)), [len(of_video) for of_video in captions])
    return Pairs(texts, video, tuple(groups))


class Order:
    """The pairs of every step of an endless training, epoch after epoch.

    Args:
        pairs: the pairs of the training split.
        batch_size: pairs of a step; an epoch has whole batches only.
        kind: "shuffle", or "distinct": no text and no video twice in a batch, and the videos of a
            group, if their texts differ, in one batch.
        seed: the seed of all epochs.

    Raises:
        ValueError: if there are too few pairs for one such batch.
    """

    def __init__(self, pairs: Pairs, *, batch_size: int, kind: str, seed: int):
        self.pairs, self.batch_size, self.kind, self.seed = pairs, batch_size, kind, seed
        self._planned: dict[int, np.ndarray] = {}
        self.steps_of_epoch = len(self._get_epoch(0))
        if not self.steps_of_epoch:
            raise ValueError(
                f"the training split has {len(pairs)} texts, of which no batch of {batch_size} "
                f"{kind!r} pairs can be made; choose a smaller train.batch_size"
                + (" or train.batches='shuffle'" if kind == "distinct" else "")
            )

    def get_batch(self, step: int) -> np.ndarray:
        """Return the pairs of a step, int [batch_size]."""
        epoch, place = divmod(step, self.steps_of_epoch)
        batches = self._get_epoch(epoch)
        # With "distinct", an epoch may have a few batches fewer than the first.
        return batches[place % len(batches)]

    def _get_epoch(self, epoch: int) -> np.ndarray:
        """Return an epoch; the last two are kept, as threads may read around a boundary."""
        planned = self._planned
        if epoch not in planned:
            batches = self._plan_epoch(epoch)
            # A new dictionary: other threads may be reading the old one.
            planned = dict([*self._planned.items(), (epoch, batches)][-2:])
            self._planned = planned
        return planned[epoch]

    def _plan_epoch(self, epoch: int) -> np.ndarray:
        """Draw an epoch, int [steps, batch_size]."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.kind == "shuffle":
            order = rng.permutation(len(self.pairs))
            steps = len(order) // self.batch_size
            return order[: steps * self.batch_size].reshape(steps, self.batch_size)
        batches = make_distinct_batches(self.pairs, self.batch_size, rng)
        while epoch and not len(batches):  # rare; it ends, as the first epoch had some
            batches = make_distinct_batches(self.pairs, self.batch_size, rng)
        return batches


def make_distinct_batches(pairs: Pairs, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw batches without a text or a video twice, int [steps, batch_size]."""
    # A unit that is too large for one batch goes into several.
    units = [
        unit[start : start + batch_size]
        for unit in group_hard_negatives(pairs, rng)
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


def group_hard_negatives(pairs: Pairs, rng: np.random.Generator) -> list[list[int]]:
    """Group pairs that belong into one batch: one for each video of a group, or one alone."""
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
