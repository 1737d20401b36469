"""Arrays by the names that people's files have: prefixes, buffers, other families."""

import dataclasses
import logging

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from random_weights import TOY, assert_same_params, make_random_params

from tempme_jax.adapters.base import Adapter
from tempme_jax.building import create
from tempme_jax.loading import load
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.block import Mlp
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, read_layout, write_layout

CAUSAL = np.triu(np.full((12, 12), -np.inf, np.float32), 1)


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(TOY))


def prefix(arrays, before):
    return {before + name: a for name, a in arrays.items()}


def move_text(arrays):
    """Put the text tower behind "text.", as open_clip's custom_text does."""
    outside = ("visual.", "logit_scale")
    return {n if n.startswith(outside) else f"text.{n}": a for n, a in arrays.items()}


@pytest.mark.parametrize("layout", ["openai", "huggingface", "published"])
@pytest.mark.parametrize(
    "before", ["model.", "module.", "net.", "clip_model.", "_orig_mod.module.model.", "student."]
)
def test_a_prefix_of_all_names_is_taken_off(layout, before, params):
    found, read = read_layout(prefix(write_layout(layout, params), before))
    assert found == layout
    assert_same_params(read, params)


def test_names_without_the_prefix_are_told(params):
    arrays = prefix(write_layout("openai", params), "model.") | {"loss.scale": np.zeros(3)}
    with pytest.raises(WeightsError, match="1 unexpected: loss.scale"):
        read_layout(arrays)
    assert_same_params(read_layout(arrays, ["loss"])[1], params)


@pytest.mark.parametrize("before", ["", "module."])
def test_a_text_tower_of_its_own_is_taken(before, params):
    arrays = move_text(write_layout("openai", params)) | {"text.attn_mask": CAUSAL}
    assert_same_params(read_layout(prefix(arrays, before))[1], params)


@pytest.mark.parametrize(
    "more",
    [
        {"logit_scale": np.full((1,), 2.0, np.float32)},
        {"logit_scale": np.full((1, 1), 2.0, np.float32)},
        {"logit_bias": np.array(-10.0, np.float32)},
        {"logit_bias": np.array([-10.0], np.float32)},
        {"attn_mask": CAUSAL},
        {"attn_mask": CAUSAL[None]},
    ],
)
def test_scalars_and_buffers_are_taken(more, params):
    read = read_layout(write_layout("openai", params) | more)[1]
    assert read["logit_scale",].shape == ()
    assert read["logit_scale",] == (2 if "logit_scale" in more else params["logit_scale",])


PREFIX = np.where(np.arange(12) < 6, 0, CAUSAL).astype(np.float32)  # the first see each other
RANDOM = np.random.default_rng(0).uniform(-1, 1, CAUSAL.shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("hidden", [-np.inf, -1e4])
def test_masks_of_the_causal_rule_are_taken(dtype, hidden, params):
    mask = np.where(np.tri(12), 0, hidden).astype(dtype)
    assert_same_params(read_layout(write_layout("openai", params) | {"attn_mask": mask})[1], params)


def test_a_mask_that_was_never_filled_in_is_taken(params):
    arrays = write_layout("openai", params) | {"attn_mask": RANDOM}
    assert_same_params(read_layout(arrays)[1], params)


def test_a_mask_in_the_video_tower_is_refused(params):
    arrays = write_layout("openai", params) | {"visual.attn_mask": CAUSAL}
    with pytest.raises(WeightsError, match="visual.attn_mask is a mask in the video tower"):
        read_layout(arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["tempme_jax", "openai", "huggingface"])
def test_numbers_that_are_none_are_refused(layout, value, params):
    arrays = write_layout(layout, params)
    name = next(n for n in arrays if "ln_final" in n or "final_layer_norm" in n)
    arrays[name] = arrays[name].astype(np.float16)
    arrays[name][3] = value
    with pytest.raises(WeightsError, match=f"1 with NaN or infinite numbers: {name}"):
        read_layout(arrays)


@pytest.mark.parametrize(
    "mask",
    [np.zeros((12, 12)), CAUSAL.T, np.tri(12, dtype=bool), PREFIX, CAUSAL + 0.5, 5 * RANDOM,
     CAUSAL - np.tri(12) * np.arange(12), np.where(np.tri(12, k=3), CAUSAL, 0),
     np.full((12, 12), np.nan)],
)  # fmt: skip
def test_a_mask_that_is_not_causal_is_refused(mask, params):
    with pytest.raises(WeightsError, match="attn_mask is not the mask of a CLIP"):
        read_layout(write_layout("openai", params) | {"attn_mask": mask})


def test_positions_in_another_order_are_refused(params):
    name = "text_model.embeddings.position_ids"
    arrays = write_layout("huggingface", params)
    assert_same_params(read_layout(arrays | {name: np.arange(12)[None]})[1], params)
    with pytest.raises(WeightsError, match=r"position_ids is not 0 \.\. 11"):
        read_layout(arrays | {name: np.arange(12)[None, ::-1]})


def test_weights_of_whole_numbers_are_refused(params):
    quantised = {"visual.proj": np.ones((64, 16), np.int8)}
    with pytest.raises(WeightsError, match=r"1 not of real numbers: visual\.proj \(int8\)"):
        read_layout(write_layout("openai", params) | quantised)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("PEFT", ["base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"]),
        ("SigLIP", ["vision_model.embeddings.patch_embedding.bias"]),
        ("SigLIP as timm has it", ["visual.trunk.attn_pool.latent"]),
        ("MobileCLIP", ["image_encoder.model.patch_embed.0.conv.weight"]),
        ("TinyCLIP", ["_image_encoder.module.visual.conv1.weight", "_logit_scale"]),
        ("CoCa", ["visual.conv1.weight", "text_decoder.resblocks.0.ln_1.weight"]),
        ("EVA", ["visual.trunk.patch_embed.proj.weight"]),
        ("EVA", ["module.visual.blocks.0.attn.q_proj.weight"]),
        ("ResNet", ["visual.conv1.weight", "visual.layer1.0.conv1.weight"]),
        ("BLIP", ["module.visual_encoder.blocks.0.norm1.weight"]),
        ("BLIP-2", ["Qformer.bert.encoder.layer.0.output.dense.weight"]),
        ("Chinese-CLIP", ["visual.conv1.weight", "bert.encoder.layer.0.output.dense.bias"]),
        ("Long-CLIP", ["visual.conv1.weight", "positional_embedding_res"]),
        ("text tower of transformers", ["visual.conv1.weight", "text.transformer.encoder.a"]),
        ("timm, without a text tower", ["blocks.0.attn.qkv.weight"]),
        ("only the text tower", ["text_model.embeddings.token_embedding.weight"]),
    ],
)
def test_other_families_are_named(family, names):
    with pytest.raises(WeightsError, match=family):
        read_layout({name: np.zeros((4, 3, 2, 2), np.float32) for name in names})


def test_a_folder_with_an_adapter_says_so(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="PEFT adapter and no whole model"):
        load_weights(tmp_path)


@pytest.mark.parametrize("part", ["transformerClip", "lstm_visual"])
def test_parts_of_clip4clip_are_named_and_left_out(part, params):
    kind = {"transformerClip": "seqTransf", "lstm_visual": "seqLSTM"}[part]
    extra = {f"{part}.a.weight": np.zeros(3), "frame_position_embeddings.weight": np.zeros(3)}
    arrays = prefix(write_layout("published", params) | extra, "module.")
    with pytest.raises(WeightsError, match=rf"CLIP4Clip .*{kind}.*--leave-out {part}"):
        read_layout(arrays)
    assert_same_params(read_layout(arrays, [part, "frame_position_embeddings"])[1], params)
    with pytest.raises(WeightsError, match="no array 'nothing' to leave out"):
        read_layout(arrays, ["nothing"])


def test_an_activation_that_nothing_tells_is_said(params, tmp_path, caplog):
    safetensors.numpy.save_file(write_layout("openai", params), tmp_path / "x.safetensors")
    with caplog.at_level(logging.WARNING):
        load_weights(tmp_path / "x.safetensors", activation="gelu")
        assert not caplog.messages
        load_weights(tmp_path / "x.safetensors")
    assert "activation of its MLPs is assumed to be quick_gelu" in caplog.messages[0]


@pytest.mark.parametrize("layout", ["openai", "huggingface", "tempme_jax"])
def test_other_widths_inside_the_mlps(layout, tmp_path):
    arch = dataclasses.replace(TOY, depth=1, mlp_width=int(64 * 4.3637), text_mlp_width=100)
    params = make_random_params(Clip(arch))
    safetensors.numpy.save_file(write_layout(layout, params), tmp_path / "x.safetensors")
    model = load(tmp_path / "x.safetensors", method="clip", num_frames=2)
    assert model.arch == arch
    assert model.embed_video(np.zeros((1, 2, 32, 32, 3), np.uint8)).shape == (1, 16)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_of_another_width_computes_what_it_says(activation):
    rng = np.random.default_rng(0)
    x, into, out = (rng.standard_normal(s, np.float32) for s in ((1, 1, 3, 8), (35, 8), (8, 35)))
    layers = {"fc": into, "proj": out}
    params = {name: {"kernel": k, "bias": k[:, 0]} for name, k in layers.items()}
    hidden = np.asarray(ACTIVATIONS[activation](x @ into.T + into[:, 0]))
    expected = hidden @ out.T + out[:, 0]
    mlp = Mlp(Adapter(), activation, width=35)
    computed = mlp.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)


def test_texts_need_clips_vocabulary(params, tmp_path):
    safetensors.numpy.save_file(write_layout("openai", params), tmp_path / "x.safetensors")
    model = load(tmp_path / "x.safetensors", method="clip", num_frames=2)
    with pytest.raises(ValueError, match="takes 50 ids of a tokenizer that is not known"):
        model.embed_text("a cat")
    assert model.embed_tokens(np.array([[1, 2, 49]])).shape == (1, 16)
    larger = {**params, ("text", "token_embedding"): np.zeros((49409, 64), np.float32)}
    safetensors.numpy.save_file(write_layout("openai", larger), tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="takes 49409 ids, which are not those of CLIP's"):
        load_weights(tmp_path / "x.safetensors")


def test_a_model_of_ours_with_fewer_ids_keeps_its_texts(tmp_path):
    sizes = {"width": 64, "heads": 1, "depth": 1, "text_width": 64, "text_heads": 1}
    model = create(**sizes, text_depth=1, vocab_size=600, method="clip", num_frames=2)
    model.save(tmp_path / "x.safetensors")
    vectors = load(tmp_path / "x.safetensors").embed_text("a cat")
    np.testing.assert_array_equal(vectors, model.embed_text("a cat"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean=.* must be three numbers in 0 .. 1, of red"),
        ({"std": (1, 1, 0)}, "std=.* must be three numbers in 0.05 .. 1"),
        ({"resize": "stretch"}, "unknown resize: 'stretch'"),
        ({"mlp_width": 0}, "mlp_width=0 must be a whole number"),
        ({"tokenizer": "bart"}, "unknown tokenizer: 'bart'"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**given)
