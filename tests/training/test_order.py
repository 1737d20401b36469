"""Batches come in a planned order: no false negatives, hard negatives together, nothing twice."""

import pickle

import numpy as np
import pytest

from tempme_jax.training.order import (
    Order,
    Pairs,
    group_hard_negatives,
    make_distinct_batches,
    make_pairs,
)


def twins(takes, kinds=12):
    """Videos of few texts, two of them hard negatives of one another, as in `moving_shapes`."""
    captions = [(f"text {kind}",) for _ in range(takes) for kind in range(kinds)]
    groups = [f"{take}-{kind // 2}" for take in range(takes) for kind in range(kinds)]
    return make_pairs(captions, groups)


def several_captions(videos, texts=4):
    """Videos with one caption of their own and some that others have, too."""
    captions = [
        (f"only {v}", *(f"text {(v + i) % (videos // 2)}" for i in range(texts)))
        for v in range(videos)
    ]
    return make_pairs(captions, [""] * videos)


PAIRS = {"twins": twins(10), "several captions": several_captions(24), "one": twins(1, 8)}


def epoch_of(order, epoch=0):
    steps = order.steps_of_epoch
    return np.array([order.get_batch(epoch * steps + step) for step in range(steps)])


def test_pairs():
    pairs = make_pairs([("a", "b"), ("a",), ("c", "d", "e")], ["", "g", "g"])
    assert len(pairs) == 6
    assert pairs.texts == ("a", "b", "a", "c", "d", "e")
    assert pairs.video.tolist() == [0, 0, 1, 2, 2, 2]
    assert pairs.groups == ("", "g", "g")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("seed", range(5))
def test_distinct_batches(name, seed):
    pairs = PAIRS[name]
    batches = make_distinct_batches(pairs, 8, np.random.default_rng(seed))
    assert batches.shape[1] == 8
    assert len(np.unique(batches)) == batches.size  # no pair twice
    for batch in batches:
        assert len({pairs.texts[i] for i in batch}) == 8
        assert len(set(pairs.video[batch].tolist())) == 8
    assert batches.size >= 0.75 * len(pairs)  # and few are left out


@pytest.mark.parametrize("seed", range(5))
def test_twins_are_in_one_batch(seed):
    pairs = twins(10)
    for batch in make_distinct_batches(pairs, 8, np.random.default_rng(seed)):
        groups = [pairs.groups[pairs.video[i]] for i in batch]
        assert all(groups.count(group) == 2 for group in groups)


def test_videos_of_a_group_go_together_caption_by_caption():
    pairs = make_pairs([("a", "b"), ("c", "d"), ("e",)], ["g", "g", ""])
    units = [sorted(unit) for unit in group_hard_negatives(pairs, np.random.default_rng(0))]
    assert sorted(len(unit) for unit in units) == [1, 2, 2]
    assert sorted(pair for unit in units for pair in unit) == list(range(5))
    assert all({0, 1} & set(unit) and {2, 3} & set(unit) for unit in units if len(unit) == 2)


def test_the_same_text_in_a_group_is_no_negative():
    pairs = make_pairs([("a",), ("a",), ("b",)], ["g"] * 3)
    (unit,) = group_hard_negatives(pairs, np.random.default_rng(0))
    assert sorted(pairs.texts[i] for i in unit) == ["a", "b"]


def test_a_group_larger_than_a_batch_is_cut():
    pairs = make_pairs([(str(v),) for v in range(8)], ["g"] * 8)
    batches = make_distinct_batches(pairs, 4, np.random.default_rng(0))
    assert batches.shape == (2, 4)
    assert len(np.unique(batches)) == 8


def test_shuffle_is_a_permutation():
    order = Order(several_captions(20), batch_size=10, kind="shuffle", seed=3)
    first, second = epoch_of(order), epoch_of(order, 1)
    assert first.shape == (10, 10)
    for epoch in (first, second):
        assert sorted(epoch.ravel().tolist()) == list(range(100))
    assert (first != second).any()


@pytest.mark.parametrize("kind", ["shuffle", "distinct"])
def test_the_seed_and_the_step_say_all(kind):
    """In whatever order batches are asked for, and in whatever process."""
    make = lambda seed: Order(twins(4), batch_size=8, kind=kind, seed=seed)  # noqa: E731
    order = make(0)
    steps = 3 * order.steps_of_epoch
    expected = [order.get_batch(step).tolist() for step in range(steps)]
    again = pickle.loads(pickle.dumps(make(0)))
    for step in np.random.default_rng(0).permutation(steps):
        assert again.get_batch(int(step)).tolist() == expected[step]
    assert [make(1).get_batch(step).tolist() for step in range(steps)] != expected


@pytest.mark.parametrize("kind", ["shuffle", "distinct"])
def test_too_few_pairs(kind):
    with pytest.raises(ValueError, match="has 12 texts.*batch of 13.*train.batch_size"):
        Order(twins(1), batch_size=13, kind=kind, seed=0)


def test_too_few_distinct_texts():
    Order(twins(2), batch_size=13, kind="shuffle", seed=0)
    with pytest.raises(ValueError, match="train.batches='shuffle'"):
        Order(twins(2), batch_size=13, kind="distinct", seed=0)


def test_an_epoch_of_which_no_batch_can_be_made_is_drawn_again():
    """Groups of 3 and 2 make 4 pairs only if the two smaller ones come first."""
    sizes = {"a": 3, "b": 2, "c": 2}
    groups = [group for group, size in sizes.items() for _ in range(size)]
    pairs = make_pairs([(str(v),) for v in range(7)], groups)
    draws = [len(make_distinct_batches(pairs, 4, np.random.default_rng((s, 0)))) for s in range(20)]
    assert set(draws) == {0, 1}
    order = Order(pairs, batch_size=4, kind="distinct", seed=draws.index(1))
    for step in range(30):
        assert len(set(order.get_batch(step).tolist())) == 4


def test_every_epoch_is_planned_once(monkeypatch):
    """Also while threads read the end of one and the beginning of the next at the same time."""
    planned = []
    plan = make_distinct_batches

    def counted(pairs, batch_size, rng):
        planned.append(1)
        return plan(pairs, batch_size, rng)

    monkeypatch.setattr("tempme_jax.training.order.make_distinct_batches", counted)
    order = Order(twins(4), batch_size=8, kind="distinct", seed=0)
    boundary = 5 * order.steps_of_epoch
    for _ in range(10):
        order.get_batch(boundary - 1)
        order.get_batch(boundary)
    assert len(planned) == 3  # the first, whose length counts, and these two


class Counting(tuple):
    """Texts that count how often one was looked at."""

    looks = 0

    def __getitem__(self, index):
        Counting.looks += 1
        return tuple.__getitem__(self, index)


@pytest.mark.parametrize("videos", [500, 2000])
def test_the_work_grows_with_the_pairs(videos):
    pairs = several_captions(videos)
    pairs = Pairs(Counting(pairs.texts), pairs.video, pairs.groups)
    Counting.looks = 0
    batches = make_distinct_batches(pairs, 32, np.random.default_rng(0))
    assert len(batches) > 0.9 * len(pairs) / 32
    assert Counting.looks < 6 * len(pairs)
