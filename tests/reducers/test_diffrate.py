"""DiffRate: what goes and merges by hand and by a slow loop, its laws in a model, its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from frame_tower import FRAMES, TOY, check_masked_frames, make_encoder, reduce_one_site

from tempme_jax import costs
from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Stage
from tempme_jax.reducers.base import keep_tokens
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.schedule import make_schedule

REDUCER = DiffRate(prune=(17, 15, 11, 7), merge=(17, 12, 11, 5))
CLIP = Clip(TOY, LoRA(rank=2), REDUCER)


def reduce_slowly(x, size, score, prune, merge):
    """Apply DiffRate (docs/methods/diffrate.md) to one frame, a token at a time."""
    order = [0, *sorted(range(1, len(x)), key=lambda i: -score[i])]  # a stable sort
    kept, going = order[:merge], order[merge:prune]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    total, count = [x[i].copy() for i in kept], [1] * merge
    sizes, held = [size[i] for i in kept], [-1] * len(x)
    for place, i in enumerate(kept):
        held[i] = place
    for i in going:
        alike = [-np.inf] + [unit[i] @ unit[j] for j in kept[1:]]
        place = int(np.argmax(alike))
        total[place] += x[i]
        count[place] += 1
        sizes[place] += size[i] * max(alike[place], 0)
        held[i] = place
    return np.stack(total) / np.array(count)[:, None], np.array(sizes), held[1:]


@pytest.mark.parametrize(("prune", "merge"), [(10, 6), (7, 7), (8, 2), (9, 8)])
def test_agrees_with_a_slow_loop(prune, merge):
    rng = np.random.default_rng(prune)
    x, score = rng.standard_normal((3, 10, 4)), rng.random((3, 10))
    size = rng.uniform(1, 4, (3, 10))
    reduced = reduce_one_site(DiffRate((prune,), (merge,)), x, size, score)
    assert reduced.x.shape[2] == merge
    held = np.asarray(reduced.source).reshape(3, 9)
    for frame in range(3):
        slow = reduce_slowly(x[frame], size[frame], score[frame], prune, merge)
        np.testing.assert_allclose(reduced.x[0, frame], slow[0], atol=1e-6)
        np.testing.assert_allclose(reduced.size[0, frame], slow[1], rtol=1e-5)
        here = np.where(held[frame] < 0, -1, held[frame] - frame * merge)
        np.testing.assert_array_equal(here, slow[2])


def test_one_frame_by_hand():
    """Patch 1 goes, as the least attended; patch 2 is most like patch 3, by 0.6, and joins it."""
    x = np.array([[[9.0, 9.0], [5.0, 0.0], [1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]])
    score = np.array([[0.5, 0.05, 0.1, 0.2, 0.15]])
    size = np.array([[1.0, 1.0, 2.0, 3.0, 1.0]])
    reduced = reduce_one_site(DiffRate((4,), (3,)), x, size, score)
    np.testing.assert_allclose(reduced.x[0, 0], [[9, 9], [2, 2], [0, 2]], rtol=1e-6)
    np.testing.assert_allclose(reduced.size[0, 0], [1, 3 + 2 * 0.6, 1], rtol=1e-6)
    np.testing.assert_array_equal(reduced.source, [[-1, 1, 1, 2]])


def test_the_unlike_add_nothing_to_a_size():
    """A negative similarity would make sizes that have no logarithm."""
    x = np.array([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.1]]])
    reduced = reduce_one_site(DiffRate((3,), (2,)), x, np.ones((1, 3)), np.array([[1.0, 0.5, 0.2]]))
    np.testing.assert_array_equal(reduced.size[0, 0], [1, 1])
    np.testing.assert_allclose(reduced.x[0, 0, 1], [0, 0.05], atol=1e-7)


def test_nothing_is_done_where_as_many_are_kept():
    stage = Stage(clips=2, n_cls=1, attention=17, mlp=17)
    assert REDUCER.after_attention(0, stage) is keep_tokens
    assert DiffRate((17, 17), (14, 14)).stage(1, Stage(1, 1, 14, 14)).mlp == 14


def test_of_kept_tokens_the_gradient_is_whole():
    """Of a mean of two it is a half each, of what is pruned nothing; sizes have none."""
    x = np.random.default_rng(0).standard_normal((1, 5, 3))
    score = np.array([[0.0, 0.5, 0.4, 0.3, 0.2]])

    def total(x, score):
        reduced = reduce_one_site(DiffRate((4,), (3,)), x, np.ones((1, 5)), score)
        return reduced.x.sum() + reduced.size.sum()

    of_x, of_score = jax.grad(total, argnums=(0, 1))(jnp.float32(x), jnp.float32(score))
    assert sorted(of_x[0, :, 0].tolist()) == [0, 0.5, 0.5, 1, 1]
    assert of_x[0, 3, 0] == 0.5 and of_x[0, 4, 0] == 0
    np.testing.assert_array_equal(of_score, np.zeros((1, 5)))


@pytest.fixture(scope="module")
def model():
    return make_encoder(REDUCER)


def test_masked_frames_change_nothing(model):
    check_masked_frames(*model)


def test_every_patch_is_somewhere_or_pruned(model):
    """Pruned go 17 - 15, 12 - 11 and 11 - 7 places, of one or more patches each."""
    encode, pixels = model
    _, (_, tokens) = encode(pixels, np.ones((2, FRAMES), bool))
    source = np.asarray(tokens.source).reshape(2, FRAMES, -1)
    network = np.arange(FRAMES)[None, :, None]
    assert tokens.x.shape[2] == 5
    assert ((source == -1) | (source // 5 == network)).all()
    assert ((source == -1).sum(axis=2) >= 7).all()
    for place in range(1, 5):
        assert (source == 5 * network + place).any(axis=2).all()
    assert not (source == 5 * network).any()


def list_kept(patches, depth):
    return DiffRate().resolve(patches=patches, frames=12, depth=depth)


def test_schedules_of_the_methods_page():
    assert list_kept(49, 12).prune == (50, 50, 46, 42, 39, 35, 32, 31, 29, 25, 22, 20)
    assert list_kept(49, 12).merge == (50, 48, 44, 40, 36, 33, 31, 30, 26, 24, 20, 20)
    assert list_kept(196, 12).prune == (197, 196, 182, 172, 162, 147, 131, 109, 101, 94, 70, 49)
    assert list_kept(196, 12).merge == (197, 192, 178, 164, 150, 133, 115, 101, 96, 82, 49, 49)


@pytest.mark.parametrize(("patches", "depth"), [(1, 1), (1, 3), (4, 2), (16, 4), (256, 24)])
def test_schedules_of_other_sizes(patches, depth):
    reducer, tokens = list_kept(patches, depth), 1 + patches
    stages = make_schedule(reducer, frames=2, tokens=tokens, depth=depth)
    assert stages[0].mlp == tokens
    assert stages[-1].out == (tokens if depth == 1 else max(2, round(0.4 * tokens)))


@pytest.mark.parametrize(
    ("backbone", "frames", "mac", "paper", "left"),
    [
        ("ViT-B/32", 12, 36.694, 36.770, 20),
        ("ViT-B/16", 12, 138.194, 138.512, 49),
        # Less the patch embedding of 52 frames, which the paper leaves out, 190.1.
        ("ViT-B/32", 64, 189.688 + 6.0113, 190.097 + 6.0113, 20),
    ],
)
def test_costs_of_the_methods_page(backbone, frames, mac, paper, left):
    arch = ARCHITECTURES[backbone]
    network = Clip(arch, LoRA(), list_kept(arch.patches, arch.depth))
    counted = macs.count_macs(network, frames)
    assert np.array(counted) / 1e9 == pytest.approx([mac, paper], abs=1e-3)
    assert costs.count_output_tokens(network, macs.list_stages(network, frames)) == frames * left


def test_nothing_is_learned_but_lora():
    arch = ARCHITECTURES["ViT-B/32"]
    assert costs.count_trainable(Clip(arch, LoRA(), list_kept(49, 12)), 1) == 491_520


def test_attention_counts_sizes():
    assert all(REDUCER.is_proportional(layer) for layer in range(TOY.depth))


def test_lists_become_tuples():
    assert DiffRate([9, 5], [9, 4]) == DiffRate((9, 5), (9, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DiffRate(prune=(5, 4)), r"prune=\(5, 4\) and merge=None: give both or neither"),
        (lambda: DiffRate((5, 6), (5, 5)), r"prune=\(5, 6\) must not increase"),
        (lambda: DiffRate((5, 4), (5, 1)), "one of merge=1 must be a whole number of 2 or more"),
        (lambda: DiffRate((5, 4), (5, 5)), r"merge=\(5, 5\) must nowhere be more than prune"),
        (lambda: DiffRate((5, 4), (5, 4)).check(3), "for each of the 3 blocks; they have 2 and 2"),
        (
            lambda: make_schedule(list_kept(196, 12), frames=1, tokens=50, depth=12),
            "begins with 197, and there are 50; begin with 50 or fewer",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
