"""Each reducer gives what the authors' own code gave on the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import check_close, draw_normal, load_golden, map_timm_block

from tempme_jax.adapters.base import Adapter
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import Block
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.base import merge_tokens
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.diffrate_search import (
    DiffRateSearch,
    compute_chance,
    count_kept_patches,
)
from tempme_jax.reducers.evit import EViT
from tempme_jax.reducers.sta import drop_repeated
from tempme_jax.reducers.testa import TESTA, merge_frames

HEADS = 4


def run_blocks(x, blocks, reducers, source=None):
    """Run the blocks on one clip for each row of x [b, n, d]; return the tokens behind each."""
    b, n, _ = x.shape
    outputs, tokens = [], Tokens(x[:, None], jnp.ones((b, 1, n)), source)
    stage = Stage(clips=1, n_cls=1, attention=n, mlp=n)
    for layer, (params, reducer) in enumerate(zip(blocks, reducers, strict=True)):
        stage = reducer.stage(layer, stage)
        block = Block("video", layer, HEADS, "quick_gelu", Adapter(), reducer)
        tokens = block.apply({"params": params}, tokens, stage)
        outputs.append(tokens)
    return outputs


def differentiate(run, x, blocks, upstream):
    """Return the gradients by x and by the blocks of the last output times `upstream`."""

    def weigh(x, blocks):
        return (run(x, blocks)[-1].x[:, 0] * upstream).sum()

    return jax.jit(jax.grad(weigh, argnums=(0, 1)))(x, blocks)


@pytest.mark.parametrize("name", ["evit", "evit_nofuse"])
def test_evit(name):
    golden = load_golden(name)
    fuse = name == "evit"
    reducers = [EViT(keep=0.7, layers=(1, 2), fuse=fuse)] * 3
    reducers.append(EViT(keep=0.5, layers=(3,), fuse=fuse))
    run = functools.partial(run_blocks, reducers=reducers)
    blocks = [map_timm_block(golden.weights, f"evit.blocks.{i}.") for i in range(4)]
    x = jnp.asarray(draw_normal("evit.x", golden.values["x"].shape))
    for i, tokens in enumerate(jax.jit(run)(x, blocks)):
        golden.check(tokens.x[:, 0], f"out_{i}")
    upstream = draw_normal("evit.g", golden.values["out_3"].shape)
    by_x, by_blocks = differentiate(run, x, blocks, upstream)
    golden.check(by_x, "grad_x")
    golden.check(by_blocks[0]["attn"]["qkv"]["kernel"], "grad_qkv0")
    golden.check(by_blocks[3]["mlp"]["fc"]["kernel"], "grad_fc3")


def map_diffrate(golden):
    return [map_timm_block(golden.weights, f"diffrate.blocks.{i}.") for i in range(4)]


def test_diffrate():
    """The authors' first block, which removes nothing, is sorted, and ours is not."""
    golden = load_golden("diffrate")
    # A block with fewer tokens than its number prunes nothing.
    prune = tuple(np.minimum.accumulate(golden.values["prune"]).tolist())
    reducer = DiffRate(prune=prune, merge=tuple(golden.values["merge"].tolist()))
    x, blocks = jnp.asarray(golden.values["x"]), map_diffrate(golden)
    b, n, _ = x.shape
    source = jnp.broadcast_to(jnp.arange(1, n), (b, n - 1))
    run = functools.partial(run_blocks, reducers=[reducer] * 4, source=source)
    outputs = jax.jit(run)(x, blocks)
    for i in (1, 2, 3):
        golden.check(outputs[i].x[:, 0], f"out_{i}")
        golden.check(outputs[i].size[:, 0], f"size_{i}")
    # [b, token, patch], 1 where the patch is in the token
    held = golden.values["source_3"][:, :, 1:]
    np.testing.assert_array_equal(
        outputs[-1].source, np.where(held.max(axis=1) > 0, held.argmax(axis=1), -1)
    )
    upstream = draw_normal("diffrate.g", golden.values["out_3"].shape)
    by_x, by_blocks = differentiate(run, x, blocks, upstream)
    golden.check(by_x, "grad_x")
    golden.check(by_blocks[1]["attn"]["qkv"]["kernel"], "grad_qkv1")


@pytest.fixture(params=["prune_only", "both"])
def search(request):
    """The blocks and the rates of a search."""
    golden = load_golden(f"diffrate_search_{request.param}")
    blocks = map_diffrate(golden)
    for i in (1, 2, 3):
        blocks[i]["rates"] = {
            name: jnp.asarray(golden.values[f"logits_{name}_{i}"]) for name in ("prune", "merge")
        }
    return golden, jnp.asarray(golden.values["x"]), blocks


SEARCH = DiffRateSearch(granularity=1)


def test_diffrate_search(search):
    """Every token, removed ones too, and the gradients by the rates."""
    golden, x, blocks = search
    run = functools.partial(run_blocks, reducers=[SEARCH] * 4)
    outputs = jax.jit(run)(x, blocks)
    for i in (1, 2, 3):
        theirs = golden.values[f"out_{i}"]  # sorted; ours stay in place
        apart = np.abs(np.asarray(outputs[i].x[:, 0])[:, :, None] - theirs[:, None]).max(axis=3)
        place = apart.argmin(axis=2)
        for row in place:
            assert sorted(row) == list(range(theirs.shape[1]))
        for ours, name in ((outputs[i].size, "size"), (outputs[i].mask, "mask")):
            values = np.take_along_axis(golden.values[f"{name}_{i}"], place, axis=1)
            np.testing.assert_array_equal(ours[:, 0], values)
        check_close(
            outputs[i].x[:, 0], np.take_along_axis(theirs, place[:, :, None], axis=1), f"out_{i}"
        )
    for i in (1, 2, 3):
        for name, theirs in zip(("prune", "merge"), golden.values[f"kept_{i}"], strict=True):
            chance = compute_chance(blocks[i]["rates"][name], x.shape[1] - 1, 1)
            assert 1 + count_kept_patches(chance) == theirs
    b, n, d = x.shape
    upstream = np.zeros((b, n, d), np.float32)
    upstream[:, 0] = draw_normal("search.g", (b, d))
    by_x, by_blocks = differentiate(run, x, blocks, upstream)
    golden.check(by_x, "grad_x")
    for i in (1, 2, 3):
        for name in ("prune", "merge"):
            golden.check(by_blocks[i]["rates"][name], f"grad_{name}_{i}")


def test_the_cost_in_diffrate_search(search):
    """They embed a patch more than there is, and leave out the projection."""
    golden, x, blocks = search
    patches, d = x.shape[1] - 1, x.shape[2]
    arch = Architecture(
        embed_dim=8, image_size=16, patch=4, width=d, depth=4, heads=HEADS, text_width=64,
        text_depth=1, text_heads=1, vocab_size=50, context_length=12,
    )  # fmt: skip
    rates = [block.get("rates", {}) for block in blocks]

    def compute_cost(rates):
        video = {f"block_{i}": {"rates": rate} for i, rate in enumerate(rates)}
        video["position_embedding"] = jnp.zeros((1 + patches, d))
        return SEARCH.compute_cost({"video": video}, arch, 1) * 1e9

    cost, slopes = jax.jit(jax.value_and_grad(compute_cost))(rates)
    for i in (1, 2, 3):
        for name in ("prune", "merge"):
            golden.check(slopes[i][name], f"costgrad_{name}_{i}")
    check_close(cost - d * arch.embed_dim + 3 * arch.patch**2 * d, golden.values["flops"], "flops")


@pytest.mark.parametrize("point", ["first", "reversed", "third"])
@pytest.mark.parametrize("n_cls", [0, 1])
def test_sta(point, n_cls):
    """Equal to the bit; class tokens change nothing."""
    golden = load_golden("sta").values
    x, keys, theirs = (golden[f"{point}_{name}"] for name in ("x", "metric", "out"))
    x, keys = (
        np.pad(a, [(0, 0), (0, 0), (n_cls, 0), (0, 0)], constant_values=7) for a in (x, keys)
    )
    tokens = Tokens(jnp.asarray(x), jnp.ones(x.shape[:3]), n_cls=n_cls)
    drop = functools.partial(
        drop_repeated, n_out=theirs.shape[2] + n_cls, backwards=point == "reversed"
    )
    np.testing.assert_array_equal(jax.jit(drop)(tokens, jnp.asarray(keys)).x[:, :, n_cls:], theirs)


def test_the_steps_of_testa():
    golden = load_golden("testa")
    values = {name: jnp.asarray(a) for name, a in golden.values.items()}
    tokens = Tokens(values["step_x"][:, :, 1:], values["step_size"], n_cls=0)
    merge = functools.partial(merge_frames, n_out=4, vote=TESTA().vote)
    merged = jax.jit(merge)(tokens, values["step_kt"])
    golden.check(merged.x, "frame_x")
    golden.check(merged.size, "frame_size")
    tokens = Tokens(values["step_px"], values["step_psize"])
    merged = jax.jit(functools.partial(merge_tokens, n_out=8))(tokens, values["step_ks"])
    golden.check(merged.x, "patch_x")
    golden.check(merged.size, "patch_size")


def test_a_block_of_testa():
    """The authors have one class token a video; ours, one a frame, are all that token."""
    golden = load_golden("testa")
    params = map_timm_block(golden.weights, "testa.")
    params["across_frames"] = {"gamma": jnp.asarray(golden.values["gamma"])}
    b, t, n = 2, 6, 10
    reducer = TESTA(r=2, layers=(0,), r_frame=2, r_patch=3)
    stage = reducer.stage(0, Stage(clips=t, n_cls=1, attention=n + 1, mlp=n + 1))
    block = Block("video", 0, HEADS, "quick_gelu", Adapter(), reducer)
    upstream = draw_normal("testa.g", golden.values["block_out"].shape)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(patches):
        classes = jnp.broadcast_to(golden.values["cls"][:, None], (b, t, 1, 64))
        tokens = Tokens(jnp.concatenate([classes, patches], axis=2), jnp.ones((b, t, n + 1)))
        patches = block.apply({"params": params}, tokens, stage).x[:, :, 1:]
        return (patches * upstream).sum(), patches

    (_, patches), slopes = run(jnp.asarray(draw_normal("testa.bx", (b, t, n, 64))))
    golden.check(patches, "block_out")
    golden.check(slopes, "block_grad_x")
