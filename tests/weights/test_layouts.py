"""CLIP's arrays keep their values under the names and forms of every layout."""

import numpy as np
import pytest
import random_weights

from tempme_jax import methods
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import list_pretrained_paths
from tempme_jax.weights.clip_layouts import CLIP
from tempme_jax.weights.layouts import WeightsError, check_params, read_layout, write_layout
from tempme_jax.weights.naming import MARKS

ARCH = Architecture(
    embed_dim=16, image_size=16, patch=8, width=64, depth=3, heads=1,
    text_width=128, text_depth=2, text_heads=2, vocab_size=50, context_length=12,
)  # fmt: skip
FRAMES = 4


def random_params(method):
    network = Clip(ARCH, *methods.build(method, ARCH, FRAMES))
    return random_weights.make_random_params(network, FRAMES)


@pytest.fixture(scope="module")
def plain():
    return random_params("clip")


@pytest.fixture(scope="module")
def learned():
    return random_params("tempme")


def test_the_table_holds_every_parameter_of_clip(plain, learned):
    assert plain.keys() == list_pretrained_paths(ARCH)
    added = {path[-1] for path in learned.keys() - plain.keys()}
    assert added == {"lora_a", "lora_b", "clip_position"}


@pytest.mark.parametrize("layout", ["tempme_jax", *CLIP.layouts])
def test_writing_and_reading_changes_nothing(layout, plain):
    arrays = write_layout(layout, plain)
    assert all(a.flags.c_contiguous and a.flags.owndata for a in arrays.values())
    found, params = read_layout(arrays)
    assert found == layout
    random_weights.assert_same_params(params, plain)


@pytest.mark.parametrize("layout", ["tempme_jax", "published"])
def test_what_tempme_learns_is_kept(layout, learned):
    random_weights.assert_same_params(read_layout(write_layout(layout, learned))[1], learned)


@pytest.mark.parametrize("layout", ["tempme_jax", *CLIP.layouts])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes_become_float32(layout, dtype, plain):
    arrays = {name: a.astype(dtype) for name, a in write_layout(layout, plain).items()}
    rounded = {path: a.astype(dtype).astype(np.float32) for path, a in plain.items()}
    random_weights.assert_same_params(read_layout(arrays)[1], rounded)


def test_names_of_the_layouts(learned, plain):
    assert "video/block_2/join_clips/clip_position" not in write_layout("tempme_jax", plain)
    published = write_layout("published", learned)
    openai, huggingface = write_layout("openai", plain), write_layout("huggingface", plain)
    prefix = "clip.visual.transformer.resblocks.1."
    assert published[prefix + "attn.TVPt_LoRA_a"].shape == (8, 64)
    assert published[prefix + "attn.TVPt_LoRA_b"].shape == (192, 8)
    assert published[prefix + "TVPt_Video_Positional_embedding"].shape == (1, 2, 1, 64)
    trained = {name for name in published if "TVPt" in name}
    assert {name.removeprefix("clip.") for name in published.keys() - trained} == openai.keys()
    assert len(openai) == 14 + 5 * 12 and len(huggingface) == 14 + 5 * 16
    assert openai["transformer.resblocks.1.attn.in_proj_weight"].shape == (384, 128)
    assert huggingface["text_model.encoder.layers.1.self_attn.v_proj.weight"].shape == (128, 128)


def test_patches_are_a_convolution(plain):
    kernel = plain["video", "patches", "kernel"]
    image = np.random.default_rng(1).standard_normal((8, 8, 3), dtype=np.float32)
    for layout, name in (("openai", MARKS["openai"]), ("huggingface", MARKS["huggingface"])):
        weight = write_layout(layout, plain)[name]  # out, colour, row, column
        assert weight.shape == (64, 3, 8, 8)
        by_hand = np.einsum("ocij,ijc->o", weight, image)
        np.testing.assert_allclose(kernel @ image.reshape(-1), by_hand, rtol=2e-4, atol=1e-4)


def test_queries_keys_and_values_stand_in_this_order(plain):
    x = np.random.default_rng(1).standard_normal(64, dtype=np.float32)
    inputs = [plain["video", "block_1", "attn", "qkv", name] for name in ("kernel", "bias")]
    ours = np.split(inputs[0] @ x + inputs[1], 3)
    openai, huggingface = write_layout("openai", plain), write_layout("huggingface", plain)
    block = "visual.transformer.resblocks.1.attn.in_proj_"
    stacked = np.split(openai[block + "weight"] @ x + openai[block + "bias"], 3)
    for part, given, row in zip("qkv", ours, stacked, strict=True):
        layer = f"vision_model.encoder.layers.1.self_attn.{part}_proj."
        single = huggingface[layer + "weight"] @ x + huggingface[layer + "bias"]
        np.testing.assert_allclose(given, row, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(given, single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "openai_name", "huggingface_name"),
    [
        (("video", "projection"), "visual.proj", "visual_projection.weight"),
        (("text", "projection"), "text_projection", "text_projection.weight"),
    ],
)
def test_projections_are_turned_by_hugging_face_alone(path, openai_name, huggingface_name, plain):
    openai, huggingface = write_layout("openai", plain), write_layout("huggingface", plain)
    np.testing.assert_array_equal(openai[openai_name], plain[path])
    np.testing.assert_array_equal(huggingface[huggingface_name], plain[path].T)


def test_linear_layers_lie_alike_in_all(plain):
    kernel = plain["text", "block_0", "mlp", "fc", "kernel"]
    openai = write_layout("openai", plain)["transformer.resblocks.0.mlp.c_fc.weight"]
    huggingface = write_layout("huggingface", plain)["text_model.encoder.layers.0.mlp.fc1.weight"]
    np.testing.assert_array_equal(openai, kernel)
    np.testing.assert_array_equal(huggingface, kernel)


@pytest.mark.parametrize("layout", ["tempme_jax", *CLIP.layouts])
def test_missing_arrays_are_listed(layout, plain):
    arrays = write_layout(layout, plain)
    one = [name for name in arrays if "block" in name or "layers" in name][0]
    bias = [name for name in arrays if "ln_final.bias" in name or "final_layer_norm.bias" in name]
    gone = [one, *(bias or ["text/ln_final/bias"])]
    for name in gone:
        del arrays[name]
    with pytest.raises(WeightsError) as caught:
        read_layout(arrays)
    assert str(caught.value) == f"2 missing: {', '.join(sorted(gone))}"


@pytest.mark.parametrize("layout", ["tempme_jax", *CLIP.layouts])
def test_a_whole_missing_block_is_listed(layout, plain):
    arrays = write_layout(
        layout, {path: a for path, a in plain.items() if path[1:2] != ("block_0",)}
    )
    with pytest.raises(WeightsError, match=r"(24|32) missing: .* and (12|20) more$"):
        read_layout(arrays)


@pytest.mark.parametrize("layout", ["openai", "published", "huggingface"])
def test_unexpected_arrays_are_listed(layout, plain):
    arrays = write_layout(layout, plain) | {"visual.attnpool.bias": np.zeros(3), "x": np.zeros(3)}
    with pytest.raises(WeightsError, match=r"^2 unexpected: visual\.attnpool\.bias, x$"):
        read_layout(arrays)


def test_missing_and_unexpected_arrays_are_told_together(plain):
    arrays = write_layout("openai", plain)
    arrays["visual.ln_pre.scale"] = arrays.pop("visual.ln_pre.weight")
    message = r"^1 missing: visual\.ln_pre\.weight; 1 unexpected: visual\.ln_pre\.scale$"
    with pytest.raises(WeightsError, match=message):
        read_layout(arrays)


@pytest.mark.parametrize(
    ("layout", "name", "shape"),
    [
        ("openai", "visual.conv1.weight", (64, 4, 8, 8)),
        ("openai", "visual.conv1.weight", (64, 3, 8, 4)),
        ("openai", "visual.conv1.weight", (192, 64)),
        ("published", "clip.visual.transformer.resblocks.0.TVPt_Video_Positional_embedding", (4,)),
        ("huggingface", "text_model.encoder.layers.0.self_attn.k_proj.weight", (128,)),
    ],
)
def test_misshapen_arrays_are_listed(layout, name, shape, plain, learned):
    arrays = write_layout(layout, learned if layout == "published" else plain)
    arrays[name] = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError) as caught:
        read_layout(arrays)
    assert "misshapen" in str(caught.value)
    assert f"{name} {shape}" in str(caught.value)


def test_shapes_are_checked_against_the_model(plain):
    expected = {path: a.shape for path, a in plain.items()}
    check_params(plain, expected, may_lack=set())
    lacks = {("text", "block_0", "a"), ("text", "block_1", "a")}
    wider = expected | dict.fromkeys(lacks, (3,))
    check_params(plain, wider, may_lack=lacks)
    some = plain | {("text", "block_0", "a"): np.zeros(3), ("logit_scale",): np.zeros(2)}
    some["text", "more"] = some.pop(("text", "projection"))
    with pytest.raises(WeightsError) as caught:
        check_params(some, wider, may_lack=lacks)
    assert str(caught.value) == (
        "2 missing: text/block_1/a, text/projection; 1 unexpected: text/more; "
        "1 misshapen: logit_scale (2,), not ()"
    )


@pytest.mark.parametrize("names", [["blocks.0.attn.qkv.weight", "head.bias"], []])
def test_an_unknown_layout_shows_what_is_there(names):
    with pytest.raises(WeightsError, match="of no known layout of CLIP with a ViT") as caught:
        read_layout({name: np.zeros(3) for name in names})
    assert f"the {len(names)} arrays" in str(caught.value)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("openai", "input_resolution"),
        ("openai", "context_length"),
        ("openai", "vocab_size"),
        ("published", "clip.vocab_size"),
        ("huggingface", "text_model.embeddings.position_ids"),
        ("huggingface", "vision_model.embeddings.position_ids"),
    ],
)
def test_known_arrays_that_are_no_weights_are_ignored(layout, name, plain):
    arrays = write_layout(layout, plain) | {name: np.arange(3)}
    random_weights.assert_same_params(read_layout(arrays)[1], plain)


def test_a_layout_without_a_place_says_so(learned):
    with pytest.raises(WeightsError, match="12 without a place in the layout 'openai': .*lora_a"):
        write_layout("openai", learned)
    prompts = random_params("prompt")
    for layout in ("openai", "huggingface", "published"):
        with pytest.raises(WeightsError, match=f"{layout}.*: text/prompts/block_0, .*video/"):
            write_layout(layout, prompts)
    random_weights.assert_same_params(read_layout(write_layout("tempme_jax", prompts))[1], prompts)


def test_an_unknown_layout_to_write_is_named(plain):
    with pytest.raises(ValueError, match="unknown layout: 'open_ai'.*'openai'.*there are: hugg"):
        write_layout("open_ai", plain)
