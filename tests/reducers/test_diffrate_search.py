"""The search for DiffRate's rates: what it finds is what it computed, and training moves it."""

import dataclasses
import itertools
import shlex

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_weights import make_random_tree

from tempme_jax import costs
from tempme_jax.adapters.base import Adapter
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, initialise, join, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.diffrate_search import (
    DiffRateSearch,
    Rate,
    compress_in_place,
    compute_chance,
    count_kept_patches,
    list_choices,
)
from tempme_jax.training import optim, result_tables
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.flags import parse_flags

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

TOY = Architecture(
    embed_dim=8, image_size=32, patch=8, width=16, depth=4, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4
# The toy costs 2e-4 of what the penalty is meant for.
SEARCH = DiffRateSearch(granularity=1, weight=1e10)
CLIP = Clip(TOY, Adapter(), SEARCH)
REAL = jnp.array([[True] * 4, [True, True, False, False]])


def test_a_choice_by_hand():
    """Of 3, 2 or 1 patches, chosen with 1/2, 1/4, 1/4: 2.25 are expected, and 3 kept."""
    logits = jnp.log(jnp.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(compute_chance(logits, 3, 1), [1, 0.75, 0.5], rtol=1e-6)
    kept, slope = jax.value_and_grad(
        lambda logits: count_kept_patches(compute_chance(logits, 3, 1))
    )(logits)
    assert kept == 3
    np.testing.assert_allclose(slope, [0.5 * 0.75, 0.25 * -0.25, 0.25 * -1.25], atol=1e-6)


def test_a_whole_expectation_is_not_rounded_up():
    assert count_kept_patches(jnp.array([1.0, 1.00002, 0.0])) == 2
    assert count_kept_patches(jnp.zeros(3)) == 1


def test_coarse_choices_begin_with_all():
    np.testing.assert_array_equal(list_choices(10, 4), [10, 6, 2])
    np.testing.assert_allclose(
        compute_chance(jnp.log(jnp.array([0.5, 0.25, 0.25])), 10, 4),
        [1, 1, 0.75, 0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5],
        rtol=1e-6,
    )


def test_one_frame_by_hand():
    """Patch 4 is pruned; patch 3 merges into 1, by a cosine of 0.6; nothing else changes.

    Patch 5 was removed before, by a probability of 0.5.
    """
    x = jnp.array([[9.0, 9.0], [3.0, 4.0], [0.0, 2.0], [1.0, 0.0], [5.0, 5.0], [7, 7], [8, 8]])
    size = jnp.array([1.0, 3.0, 1.0, 2.0, 1.0, 1.0, 0.0])
    score = jnp.array([0.3, 0.2, 0.4, 0.1, 0, 0, 0])

    @jax.jit
    def compress(prune, merge, removed):
        mask = jnp.ones(7).at[5].set(removed)
        changed = compress_in_place(
            x, size, mask, score,
            prune=Rate(jnp.float32(4), prune), merge=Rate(jnp.float32(3), merge), n_cls=1,
        )  # fmt: skip
        return changed[3], changed

    arguments = jnp.full(7, 0.9), jnp.full(7, 0.8), jnp.float32(0)
    slopes, (merged, sizes, position, mask) = jax.jacrev(compress, (0, 1, 2), has_aux=True)(
        *arguments
    )
    expected = [[9, 9], [2, 2], [0, 2], [1, 0], [5, 5], [7, 7], [8, 8]]
    np.testing.assert_allclose(merged, expected, rtol=1e-6)
    np.testing.assert_allclose(sizes, [1, 3 + 2 * 0.6, 1, 2 * 0.6, 1, 1, 0], rtol=1e-6)
    np.testing.assert_array_equal(position, [0, 1, 2, 1, -1, 5, 6])
    np.testing.assert_array_equal(mask, [1, 1, 1, 0, 0, 0, 1])
    by_prune, by_merge, by_removed = map(np.array, slopes)
    ranks = [0, 2, 1, 3, 4]  # of class token and patches 1 to 4
    expected = np.zeros((7, 7))
    expected[[0, 1, 2, 4], [0, 2, 1, 4]] = 1  # patch 3 is the first that merging removed
    np.testing.assert_array_equal(by_prune[:5], expected[:5])
    expected = np.zeros((5, 7))
    expected[range(4), ranks[:4]] = 1  # patch 4 is pruned before
    np.testing.assert_array_equal(by_merge[:5], expected)
    assert by_removed[5] == 1 and not by_prune[5].any() and not by_merge[5].any()


def test_a_token_that_merges_adds_at_least_1():
    """As the authors' training code, unlike their test code, has it."""
    x, size = jnp.array([[9.0, 9.0], [3.0, 4.0], [1.0, 0.0]]), jnp.ones(3)
    all_of_it = Rate(jnp.float32(3), jnp.ones(3))
    _, sizes, _, mask = compress_in_place(
        x, size, size, jnp.arange(3.0)[::-1], prune=all_of_it,
        merge=Rate(jnp.float32(2), jnp.ones(3)), n_cls=1,
    )  # fmt: skip
    np.testing.assert_array_equal(sizes, [1, 2, 1])
    np.testing.assert_array_equal(mask, [1, 1, 0])


def make_random_params(seed, scale=2.0):
    """Of the toy; the rates are anything."""
    params = make_random_tree(CLIP, FRAMES)
    rng = np.random.default_rng(seed)
    for layer in range(1, TOY.depth):
        params["video"][f"block_{layer}"]["rates"] = {
            name: jnp.asarray(scale * rng.standard_normal(16, dtype=np.float32))
            for name in ("prune", "merge")
        }
    return params


def remove_rates(params):
    flat = flax.traverse_util.flatten_dict(params)
    return flax.traverse_util.unflatten_dict({p: a for p, a in flat.items() if "rates" not in p})


def make_pixels(seed=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, FRAMES, 32, 32, 3), dtype=np.float32))


def encode(network, params, pixels, mask):
    return network.apply({"params": params}, pixels, mask, trace=True, method="encode_video")


ENCODE = jax.jit(encode, static_argnums=0)


def keep_all(params, *names):
    """Let some rates keep all tokens."""
    certain = jnp.full(16, -50.0).at[0].set(0)
    for layer in range(1, TOY.depth):
        params["video"][f"block_{layer}"]["rates"] |= dict.fromkeys(names, certain)
    return params


def test_what_is_found_computes_the_same():
    """Pruned tokens are as good as gone: DiffRate with these rates gives the same vectors."""
    params = keep_all(make_random_params(1), "merge")
    found = SEARCH.read_found_options(params)
    assert found == {"prune": (17, 13, 10, 10), "merge": (17, 13, 10, 10)}
    fixed = Clip(TOY, Adapter(), DiffRate(**found))
    ours, tokens = ENCODE(CLIP, params, make_pixels(), REAL)
    theirs, fixed_tokens = ENCODE(fixed, remove_rates(params), make_pixels(), REAL)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (tokens.real.sum(axis=2) == np.where(REAL, found["merge"][-1], 0)).all()
    compare_sources(tokens, fixed_tokens)


def compare_sources(tokens, others):
    """Check that the patches of a video are in the same tokens, which are elsewhere."""
    at, there = np.asarray(tokens.source[0]), np.asarray(others.source[0])
    np.testing.assert_array_equal(at < 0, there < 0)
    np.testing.assert_allclose(
        tokens.x[0].reshape(-1, TOY.width)[at[at >= 0]],
        others.x[0].reshape(-1, TOY.width)[there[there >= 0]],
        atol=1e-5,
    )


def test_merging_differs_by_the_sizes_of_merged_tokens_alone():
    """In the first block that merges, where no attention has seen their sizes."""
    params = make_random_params(1)
    last = dict(params["video"]["block_3"]["rates"])
    keep_all(params, "prune", "merge")["video"]["block_3"]["rates"] = last
    found = SEARCH.read_found_options(params)
    assert found == {"prune": (17, 17, 17, 12), "merge": (17, 17, 17, 5)}
    fixed = Clip(TOY, Adapter(), DiffRate(**found))
    ours, tokens = ENCODE(CLIP, params, make_pixels(), REAL)
    theirs, fixed_tokens = ENCODE(fixed, remove_rates(params), make_pixels(), REAL)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    compare_sources(tokens, fixed_tokens)
    total = np.where(tokens.real, tokens.size, 0).sum(axis=2)
    np.testing.assert_array_equal(total, np.where(REAL, 12, 0))  # each counts as 1
    assert (np.asarray(fixed_tokens.size).sum(axis=2) < total)[REAL].all()


def test_masks_of_one_are_plain_clip():
    params = keep_all(make_random_params(0), "prune", "merge")
    assert SEARCH.read_found_options(params) == {"prune": (17,) * 4, "merge": (17,) * 4}
    ours, tokens = ENCODE(CLIP, params, make_pixels(), REAL)
    network = Clip(TOY, Adapter(), Reducer())
    plain, _ = ENCODE(network, remove_rates(params), make_pixels(), REAL)
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    np.testing.assert_array_equal(tokens.real, np.broadcast_to(REAL[:, :, None], (2, 4, 17)))


def test_the_start_is_of_zeros():
    paths = {path for path in find_shapes(CLIP, FRAMES) if "rates" in path}
    assert len(paths) == 6
    assert not any(a.any() for a in initialise(CLIP, FRAMES, paths, seed=0).values())


def count_gmacs(reducer):
    return macs.count_macs(Clip(TOY, Adapter(), reducer), FRAMES)[0] / 1e9


def test_what_is_found_is_shown_as_flags(capsys):
    """Which a training of DiffRate takes."""
    found = {"prune": (17, 13, 10, 10, 9, 9), "merge": (17, 10, 10, 5, 5, 5)}
    result_tables.print_found_options(found)
    flags = shlex.split(capsys.readouterr().out.split(": ", 1)[1])
    config = parse_flags(["--config=configs/moving_shapes.py:diffrate", *flags])
    assert {name: config.model.options[name] for name in found} == found
    result_tables.print_found_options({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", range(6))
def test_what_is_found_fits_and_costs_what_the_penalty_says(seed):
    params = make_random_params(seed, scale=3.0)
    found = SEARCH.read_found_options(params)
    reducer = DiffRate(**found)  # checks itself
    reducer.check(TOY.depth)
    for before, after in itertools.pairwise(zip(*found.values(), strict=True)):
        assert before[1] >= after[0] >= after[1]
    np.testing.assert_allclose(
        SEARCH.compute_cost(params, TOY, FRAMES), count_gmacs(reducer), rtol=1e-5
    )
    on_target = DiffRateSearch(granularity=1, target=count_gmacs(reducer))
    assert on_target.compute_penalty(params, TOY, FRAMES) == pytest.approx(0, abs=1e-12)


def test_the_target_is_that_of_fixed_rates():
    params = make_random_params(0)
    fixed = DiffRate().resolve(patches=16, frames=FRAMES, depth=TOY.depth)
    difference = SEARCH.compute_cost(params, TOY, FRAMES) - count_gmacs(fixed)
    np.testing.assert_allclose(
        SEARCH.compute_penalty(params, TOY, FRAMES), 1e10 * difference**2, rtol=1e-3
    )


@pytest.mark.parametrize(("target", "sign"), [(1e-5, 1), (1.0, -1)])
def test_the_penalty_pushes_every_block_towards_its_target(target, sign):
    """The slope along keeping more: positive above the target, negative below."""
    params = make_random_params(0)
    search = DiffRateSearch(granularity=1, target=target)
    slopes = jax.grad(search.compute_penalty)(params, TOY, FRAMES)
    for layer in range(1, TOY.depth):
        for name in ("prune", "merge"):
            logits = params["video"][f"block_{layer}"]["rates"][name]
            more = jax.grad(lambda logits: compute_chance(logits, 16, 1).sum())(logits)
            slope = slopes["video"][f"block_{layer}"]["rates"][name]
            assert sign * (slope @ more) > 0


def test_training_goes_to_the_target():
    """From the start, with the contrastive loss, which reaches the rates that remove something."""
    params = make_random_params(0)
    for layer in range(1, TOY.depth):
        params["video"][f"block_{layer}"]["rates"] = dict.fromkeys(
            ("prune", "merge"), jnp.zeros(16)
        )
    target = 1.25 * float(SEARCH.compute_cost(params, TOY, FRAMES))
    search = dataclasses.replace(SEARCH, target=target)
    trainable, frozen = split(CLIP, params)
    ids = jnp.asarray([[28, 3, 5, 29], [28, 4, 29, 0]], jnp.int32)
    optimizer = optim.make_optimizer(TrainSettings(weight_decay=0.0), lambda count: 0.1)

    def loss(trainable, with_penalty):
        params = join(trainable, frozen)
        video, text = CLIP.apply({"params": params}, make_pixels(), REAL, ids, ids > 0)
        task = compute_contrastive_loss(
            compute_similarity(text, video, jnp.exp(params["logit_scale"]))
        )
        penalty = search.compute_penalty(params, TOY, FRAMES)
        return task + with_penalty * penalty, SEARCH.compute_cost(params, TOY, FRAMES)

    @jax.jit
    def step(trainable, state, with_penalty):
        (value, cost), slopes = jax.value_and_grad(loss, has_aux=True)(trainable, with_penalty)
        updates, state = optimizer.update(slopes, state, trainable)
        return optax.apply_updates(trainable, updates), state, value, cost, slopes

    state = optimizer.init(trainable)
    *_, of_task = step(trainable, state, 0.0)
    for path, slope in flax.traverse_util.flatten_dict(of_task).items():
        assert path[-2:] in {("rates", "prune"), ("rates", "merge")}
        # At the start all rates are alike, so pruning in block 1 is all that removes anything; only
        # the penalty moves the others.
        assert (np.abs(slope).max() > 0) == (path[1:] == ("block_1", "rates", "prune")), path
    apart = []
    for _ in range(80):
        trainable, state, value, cost, _ = step(trainable, state, 1.0)
        assert np.isfinite(value)
        apart.append(float(cost) / target - 1)
    assert apart[0] < -0.15 and max(map(abs, apart[-5:])) < 0.05, apart


@pytest.mark.parametrize(
    ("backbone", "granularity", "kept"), [("ViT-B/32", 1, 25), ("ViT-B/16", 4, 100)]
)
def test_the_start_keeps_half(backbone, granularity, kept):
    """Two logits for each of 49 choices, all alike."""
    patches = ARCHITECTURES[backbone].patches
    search = DiffRateSearch().resolve(patches=patches, frames=12, depth=12)
    assert search.granularity == granularity
    assert len(list_choices(patches, granularity)) == 49
    start = jnp.zeros(49)
    assert count_kept_patches(compute_chance(start, patches, granularity)) == kept
    rates = {f"block_{layer}": {"rates": {"prune": start, "merge": start}} for layer in range(12)}
    left = (1 + patches, *11 * [1 + kept])
    network = Clip(ARCHITECTURES[backbone], Adapter(), DiffRate(prune=left, merge=left))
    cost = jax.jit(lambda rates: search.compute_cost({"video": rates}, network.arch, 64))(rates)
    assert cost == pytest.approx(macs.count_macs(network, 64)[0] / 1e9, rel=1e-6)


def test_counts():
    """All tokens to the end; 49 choices of 11 blocks, in pruning and in merging."""
    arch = ARCHITECTURES["ViT-B/32"]
    search = DiffRateSearch().resolve(patches=49, frames=12, depth=12)
    counted = costs.count_costs(Clip(arch, Adapter(), search), 12)
    assert counted.trainable == 11 * 2 * 49
    assert counted.tokens == 12 * 50
    assert counted.mac == pytest.approx(52.906, abs=5e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DiffRateSearch(granularity=0), "granularity=0 must be a whole number of 1"),
        (lambda: DiffRateSearch(target=-1), "target=-1 must be a positive number"),
        (lambda: DiffRateSearch(weight=0), "weight=0 must be a positive number"),
        (lambda: DiffRateSearch(granularity=1).check(1), "needs a model of 2 blocks or more"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
