"""UMT's networks: the published code's outputs on the same weights, and laws."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from umt_weights import (
    TINY_UMT,
    TINY_UMT_QA,
    answers,
    clip_positions,
    make_architecture,
    texts,
    umt_state_dict,
    video,
)

import tempme_jax
from tempme_jax import costs, methods
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.umt import make_sine_table
from tempme_jax.weights.layouts import fit_backbone, read_layout

GOLDEN = np.load(ROOT / "tests/fixtures/reference/umt/towers.npz")
MERGED = {"r": 2, "layers": (1, 2), "groups": (2, 2), "keep_cross": 0.6, "keep_intra": 0.9}
WAYS = {
    "tiny_umt": ("full+joined", {}),
    "tiny_umt4clip": ("full", {}),
    "tiny_umt4clip_tempme": ("full+tempme", MERGED),
}
ARCH = make_architecture(TINY_UMT)
NOT_FOR_UMT = {
    "plevu": "'sentence'", "vop-c": "contextual", "vop-fc": "contextual", "dgl": "class tokens",
    "dgl-transformer": "class tokens", "mv-adapter": "class tokens", "rap": "class tokens",
    "evit": "class token", "diffrate-search": "class token",
}  # fmt: skip


@pytest.fixture(autouse=True)
def exact():
    with jax.default_matmul_precision("highest"):
        yield


def make(method="full", options=None, arch=ARCH, frames=4):
    return make_network(arch, *methods.build(method, arch, frames, options or {}, max_words=12))


def read_params(sizes=TINY_UMT, backbone="umt", more=None):
    _, flat = read_layout(umt_state_dict(**sizes) | (more or {}))
    arch = make_architecture(sizes)
    return flax.traverse_util.unflatten_dict(fit_backbone(flat, arch, backbone))


def apply(network, params, method, *inputs, **options):
    call = jax.jit(lambda params, *inputs: network.apply(
        {"params": params}, *inputs, method=method, **options))  # fmt: skip
    return call(params, *inputs)


def read_video(tag, batch=4):
    return video(tag, batch, 4).transpose(0, 1, 3, 4, 2)


def assert_close(ours, golden, what):
    error = np.abs(np.asarray(ours) - golden).max() / np.abs(golden).max()
    assert np.shape(ours) == golden.shape and error < 1e-5, f"{what}: {error:.1e}"


@pytest.mark.parametrize("name", WAYS)
def test_retrieval_as_published(name):
    network = make(*WAYS[name])
    positions = clip_positions(TINY_UMT, 4, ((1, 2), (2, 2))) if "tempme" in name else {}
    params = read_params(more=positions)
    vectors, tokens = apply(network, params, "encode_video", read_video(name))
    ids, mask = texts(4, 12)
    text, words = apply(network, params, "read_text", ids, mask > 0)
    memory = apply(network, params, "remember", tokens)
    # Every text with every video: the rows of a video are neighbours.
    words = jax.tree.map(lambda a: jnp.tile(a, (4,) + (1,) * (a.ndim - 1)), words)
    fits = apply(network, params, "judge", words, memory)[:, 1].reshape(4, 4)
    unit = text / jnp.linalg.norm(text, axis=1, keepdims=True)
    found = {
        "vision_tokens": tokens.x.reshape(4, -1, 64)[0],
        "text_proj": text,
        "cosine_v2t": vectors @ unit.T,
        "itm_v2t": fits,
    }
    for what, ours in found.items():
        assert_close(ours, GOLDEN[f"{name}/{what}"], what)
    if positions:
        np.testing.assert_array_equal(tokens.size[:, 0], GOLDEN[f"{name}/final_sizes"])


@pytest.mark.parametrize("name", ["tiny_umt", "tiny_umt4clip"])
def test_answers_as_published(name):
    arch = make_architecture(TINY_UMT_QA, backbone="umt-qa")
    network, params = make(*WAYS[name], arch=arch), read_params(TINY_UMT_QA, "umt-qa")
    ids, mask = texts(2, 10, seed=17)
    _, tokens = apply(network, params, "encode_video", read_video(f"{name}_qa", 2))
    states = apply(network, params, "read_question", ids, mask > 0, tokens)
    ids, mask = answers(8)
    rows = np.tile(ids, (2, 1)), np.tile(mask > 0, (2, 1))
    logits = apply(network, params, "write_answers", *rows, states).reshape(2, 8, 5, -1)
    assert_close(logits[:, 0, 0], GOLDEN[f"{name}_qa/first_logits"], "first_logits")
    chosen = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits))[:, :, :-1], ids[None, :, 1:, None], axis=3
    )[..., 0]
    likelihood = (chosen * mask[None, :, 1:]).sum(axis=2)
    assert_close(likelihood, GOLDEN[f"{name}_qa/log_likelihood"], "log_likelihood")


def test_positions_as_published():
    frame, frames = GOLDEN["positions/frame"], GOLDEN["positions/frames_12"]
    np.testing.assert_array_equal(make_sine_table(16, 64), frame)
    np.testing.assert_array_equal(make_sine_table(192, 64)[::37], frames)


@pytest.mark.parametrize("backbone", ["UMT-B/16", "UMT-B/16-QA"])
def test_counts_of_the_paper(backbone):
    parameters = {"UMT-B/16": 202_411_267, "UMT-B/16-QA": 254_435_898}[backbone]
    rows = {
        "full+joined": ({}, parameters, 304.3, 2352),
        "full": ({}, parameters, 210.1, 2352),
        "full+tempme": ({}, parameters + 16_128, 111.5, 185),
    }
    arch = ARCHITECTURES[backbone]
    for method, (options, *expected) in rows.items():
        cost = costs.count_costs(make(method, options, arch, frames=12), 12)
        assert [cost.trainable, round(cost.paper, 1), cost.tokens] == expected, method


@pytest.mark.parametrize("name", [*methods.METHODS, "prompt+tome", "adapter+tempme"])
def test_every_method_works_or_says_why_not(name):
    def run():
        network = make(name, {"layers": (1, 2)} if "tempme" in name else {})
        given = jnp.zeros((2, 4, 64, 64, 3)), None, jnp.zeros((2, 8), jnp.int32), None
        return network.init_with_output(jax.random.key(0), *given)[0]

    if name in NOT_FOR_UMT:
        with pytest.raises(ValueError, match=NOT_FOR_UMT[name]):
            jax.eval_shape(run)
        return
    vectors, text = jax.eval_shape(run)
    assert vectors.shape == text.shape == (2, 32)


def test_nothing_merged_is_every_frame_by_itself():
    nothing = {"r": 0, "layers": (1, 2), "groups": (1, 1), "keep_cross": 1, "keep_intra": 1}
    params, pixels = read_params(), read_video("tiny_umt4clip")
    apart = apply(make("full"), params, "encode_video", pixels)
    options = nothing | {"clip_positions": False}
    unmerged = apply(make("full+tempme", options), params, "encode_video", pixels)
    np.testing.assert_array_equal(apart[0], unmerged[0])
    np.testing.assert_array_equal(apart[1].x, unmerged[1].x)


@pytest.mark.parametrize("way", ["tiny_umt", "tiny_umt4clip_tempme"])
def test_what_padded_frames_hold_changes_nothing(way):
    pixels, mask = read_video("tiny_umt"), np.arange(4) < 3
    mask = np.broadcast_to(mask, (4, 4))
    other = np.where(mask[..., None, None, None], pixels, 7.0)
    method, options = WAYS[way]
    network = make(method, options and {**options, "clip_positions": False})
    encode = jax.jit(lambda *given: network.apply(*given, method="encode_video")[0])
    params = {"params": read_params()}
    np.testing.assert_array_equal(*(encode(params, a, mask) for a in (pixels, other)))


def test_padding_of_texts_and_company_change_nothing():
    network, params = make("full+joined"), read_params()
    ids, mask = texts(4, 12)
    _, tokens = apply(network, params, "encode_video", read_video("tiny_umt"))
    memory = apply(network, params, "remember", tokens)

    def judge(ids, mask, memory):
        _, words = apply(network, params, "read_text", ids, mask)
        return np.asarray(apply(network, params, "judge", words, memory))

    together = judge(np.repeat(ids[:1], 4, axis=0), np.repeat(mask[:1] > 0, 4, axis=0), memory)
    used = int(mask[0].sum())
    last = jax.tree.map(lambda a: a[3:], memory)
    np.testing.assert_allclose(judge(ids[:1, :used], None, last)[0], together[3], atol=2e-6)


def test_dropout_needs_a_key_and_follows_it():
    network = make("full+tempme", MERGED | {"clip_positions": False}).copy(
        drop_path=0.5, dropout=0.3
    )
    params = read_params()
    ids, mask = texts(2, 12)
    arrays = read_video("tiny_umt", 2), np.ones((2, 4), bool), ids, mask > 0
    given = tuple(map(jnp.asarray, arrays))

    @jax.jit
    def run(key):
        return network.apply({"params": params}, *given, rngs={"dropout": key})

    first, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    calm = network.copy(drop_path=0.0, dropout=0.0)
    quiet, plain = (jax.jit(one.apply)({"params": params}, *given) for one in (network, calm))
    for half in range(2):  # of videos, of texts
        np.testing.assert_array_equal(first[half], again[half])
        np.testing.assert_array_equal(quiet[half], plain[half])
        assert np.abs(first[half] - other[half]).max() > 1e-3
        assert np.abs(first[half] - quiet[half]).max() > 1e-3


def test_clip_has_no_dropout():
    arch = dataclasses.replace(ARCHITECTURES["ViT-B/32"], depth=1, text_depth=1)
    with pytest.raises(ValueError, match="dropout"):
        jax.eval_shape(
            lambda: make_network(arch, dropout=0.1).init(
                jax.random.key(0), jnp.zeros((1, 1, 224, 224, 3)), None,
                jnp.zeros((1, 3), jnp.int32), None,
            )
        )  # fmt: skip


def test_padding_is_known_without_a_mask():
    """Also of a vocabulary that is not here."""
    sizes = {name: getattr(ARCH, name) for name in ("width", "depth", "heads", "image_size")}
    words = dict(text_width=48, text_depth=4, text_heads=3, first_cross=2, vocab_size=100)
    model = tempme_jax.create(
        "UMT-B/16", method="clip", num_frames=2, context_length=40, tokenizer="unknown",
        **sizes, **words,
    )  # fmt: skip
    ids, mask = texts(4, 12)
    np.testing.assert_array_equal(model.network.mark_words(ids), mask > 0)
    given = model.embed_tokens(ids.astype(np.int32), mask > 0)
    np.testing.assert_array_equal(model.embed_tokens(ids.astype(np.int32)), given)
