"""What PyTorch's CLIP of Hugging Face transformers computes, we compute from the files it saves."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

import tempme_jax
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.files import load_weights

pytestmark = pytest.mark.torch
TOLERANCE = 1e-5

WORDS = 50
SIZES = {
    "vision_config": dict(
        hidden_size=48, num_attention_heads=4, intermediate_size=192, num_hidden_layers=2,
        image_size=32, patch_size=8,
    ),
    "text_config": dict(
        hidden_size=32, num_attention_heads=2, intermediate_size=128, num_hidden_layers=2,
        vocab_size=WORDS, max_position_embeddings=12,
        bos_token_id=WORDS - 2, eos_token_id=WORDS - 1, pad_token_id=0,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def network(request):
    """A CLIP whose every array is random, so that none can be left out or swapped unseen."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    parts = {name: {**sizes, "hidden_act": request.param} for name, sizes in SIZES.items()}
    config = transformers.CLIPConfig(**parts, projection_dim=16)
    network = transformers.CLIPModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    network.save_pretrained(folder)
    return folder


def frames(videos, count):
    shape = (videos, count, 32, 32, 3)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def token_ids():
    """Three texts of different lengths: start, words, end, padding."""
    ids = np.zeros((3, 9), np.int32)
    generator = np.random.default_rng(1)
    for row, words in zip(ids, (1, 4, 7), strict=True):
        row[: words + 2] = [WORDS - 2, *generator.integers(1, WORDS - 2, words), WORDS - 1]
    return ids


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def image_features(network, images):
    """[n, s, s, 3] -> unit vectors [n, e]."""
    import torch

    with torch.no_grad():
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        return unit(network.get_image_features(pixels).pooler_output.numpy())


def text_features(network, ids):
    import torch

    with torch.no_grad():
        features = network.get_text_features(torch.from_numpy(ids).long())
        return unit(features.pooler_output.numpy())


def test_the_architecture_is_that_of_the_config(network, folder):
    arch = tempme_jax.load(folder, method="clip", num_frames=1).arch
    assert arch == tempme_jax.Architecture(
        embed_dim=16, image_size=32, patch=8, width=48, depth=2, heads=4,
        text_width=32, text_depth=2, text_heads=2, vocab_size=WORDS, context_length=12,
        activation=network.config.vision_config.hidden_act,
    )  # fmt: skip


def test_images(network, folder):
    model = tempme_jax.load(folder, method="clip", num_frames=1)
    images = frames(3, 1)
    golden = image_features(network, images[:, 0])
    np.testing.assert_allclose(model.embed_pixels(images), golden, atol=TOLERANCE)


def test_a_video_is_the_mean_of_its_frames(network, folder):
    model = tempme_jax.load(folder, method="clip", num_frames=2)
    videos = frames(3, 2)
    golden = image_features(network, videos.reshape(6, 32, 32, 3)).reshape(3, 2, 16)
    golden = unit(golden.mean(axis=1))
    np.testing.assert_allclose(model.embed_pixels(videos), golden, atol=TOLERANCE)


def test_texts(network, folder):
    model = tempme_jax.load(folder, method="clip", num_frames=2)
    golden = text_features(network, token_ids())
    np.testing.assert_allclose(model.embed_tokens(token_ids()), golden, atol=TOLERANCE)


# Larger models of open_clip in the form of transformers, small: widths that are not four times a
# token's inside the MLPs, and heads that are not 64 wide.
LARGER = {
    "ViT-H-14": ((20, 2, 80), (16, 2, 64)),
    "ViT-g-14": ((22, 2, 96), (16, 2, 64)),
    "ViT-bigG-14": ((26, 2, 128), (20, 5, 80)),
}


@pytest.mark.parametrize("name", LARGER)
def test_larger_models_of_open_clip_in_transformers_form(name, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    keys = ("hidden_size", "num_attention_heads", "intermediate_size")
    parts = {
        part: SIZES[part] | dict(zip(keys, sizes, strict=True)) | {"hidden_act": "gelu"}
        for part, sizes in zip(SIZES, LARGER[name], strict=True)
    }
    config = transformers.CLIPConfig(**parts, projection_dim=16)
    torch.manual_seed(0)
    network = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    network.save_pretrained(tmp_path)
    model = tempme_jax.load(tmp_path, method="clip", num_frames=1)
    images = frames(3, 1)
    ours, golden = model.embed_pixels(images), image_features(network, images[:, 0])
    np.testing.assert_allclose(ours, golden, atol=TOLERANCE)
    ours, golden = model.embed_tokens(token_ids()), text_features(network, token_ids())
    np.testing.assert_allclose(ours, golden, atol=TOLERANCE)


def test_similarities(network, folder):
    import torch

    model = tempme_jax.load(folder, method="clip", num_frames=1)
    images, ids = frames(3, 1), token_ids()
    with torch.no_grad():
        pixels = torch.from_numpy(images[:, 0].transpose(0, 3, 1, 2).copy())
        golden = network(torch.from_numpy(ids).long(), pixels).logits_per_text.numpy()
    ours = model.similarity(model.embed_tokens(ids), model.embed_pixels(images))
    np.testing.assert_allclose(ours, golden, atol=TOLERANCE * np.abs(golden).max())


def test_a_file_of_torch_converted_is_the_same(network, folder, tmp_path):
    import torch

    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    convert_file(tmp_path / "pytorch_model.bin", tmp_path / "x" / "converted.safetensors")
    converted, saved = load_weights(tmp_path / "x" / "converted.safetensors"), load_weights(folder)
    assert converted.arch == saved.arch
    assert converted.params.keys() == saved.params.keys()
    for path, array in saved.params.items():
        np.testing.assert_array_equal(converted.params[path], array, strict=True)


def test_transformers_opens_what_we_save(network, folder, tmp_path):
    """Our file in its layout, beside its config, computes what the network computed."""
    import transformers

    model = tempme_jax.load(folder, method="clip", num_frames=1)
    model.save(tmp_path / "model.safetensors", layout="huggingface")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    opened, report = transformers.CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    expected = network.state_dict()
    assert opened.state_dict().keys() == expected.keys()
    for name, value in opened.state_dict().items():
        assert value.equal(expected[name]), name


def test_openais_layout_has_the_names_and_forms_of_torchs_layers(network, folder, tmp_path):
    """One attention of OpenAI's file, run by torch.nn.MultiheadAttention, which CLIP is made of."""
    import torch

    model = tempme_jax.load(folder, method="clip", num_frames=1)
    model.save(tmp_path / "x.safetensors", layout="openai")
    arrays = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    prefix = "visual.transformer.resblocks.1.attn."
    state = {
        name.removeprefix(prefix): torch.from_numpy(a)
        for name, a in arrays.items()
        if name.startswith(prefix)
    }
    attention = torch.nn.MultiheadAttention(48, 4, batch_first=True)
    attention.load_state_dict(state)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 5, 48), dtype=np.float32))
    with torch.no_grad():
        ours = attention(x, x, x, need_weights=False)[0]
        golden = network.vision_model.encoder.layers[1].self_attn(x)[0]
    torch.testing.assert_close(ours, golden, rtol=1e-5, atol=1e-5)


def test_the_config_says_what_the_arrays_do_not(folder, tmp_path):
    """Without the config, heads would be taken for 64 wide, which these are not."""
    config = json.loads((folder / "config.json").read_text())
    assert config["vision_config"]["hidden_size"] == 48
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(tempme_jax.WeightsError, match="heads=0 must be .* config.json"):
        load_weights(tmp_path)
    assert dataclasses.asdict(load_weights(folder).arch)["heads"] == 4
