"""Files of PyTorch become safetensors files that open, or nothing is written at all."""

import json
import os
import pathlib
import pickle

import click.testing
import numpy as np
import pytest
import safetensors.numpy
from random_weights import TOY, assert_same_params, make_random_params
from torch_archives import Evil
from torch_archives import write as write_zip
from torch_archives import write_arrays as write_torch

from tempme_jax import methods
from tempme_jax.cli import main
from tempme_jax.loading import load
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.files import load_weights, read_safetensors, save_weights
from tempme_jax.weights.layouts import WeightsError, write_layout
from tempme_jax.weights.torch_files import TorchFileError, UnsafeFileError

FRAMES = 4


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(TOY))


@pytest.fixture(scope="module")
def learned():
    return make_random_params(Clip(TOY, *methods.build("tempme", TOY, FRAMES)), FRAMES)


def assert_same_arrays(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=True)


def test_openais_file_in_half_precision(params, tmp_path):
    half = {path: a.astype(np.float16) for path, a in params.items()}
    sizes = {"input_resolution": np.array(32), "context_length": np.array(12)}
    source = write_torch(tmp_path / "ViT-B-32.pt", write_layout("openai", half) | sizes)
    target = tmp_path / "ViT-B-32.safetensors"
    convert_file(source, target)
    weights = load_weights(target)
    assert weights.arch == TOY
    assert_same_params(weights.params, {path: a.astype(np.float32) for path, a in half.items()})
    assert_same_arrays(read_safetensors(target)[0], write_layout("openai", weights.params))
    assert sorted(os.listdir(tmp_path)) == ["ViT-B-32.pt", "ViT-B-32.safetensors"]


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".PT", ".ckpt", ""])
def test_every_other_suffix_is_read_as_pytorchs(suffix, params, tmp_path):
    source = write_torch(tmp_path / f"model{suffix}", write_layout("huggingface", params))
    convert_file(source, tmp_path / "x.safetensors")
    assert_same_params(load_weights(tmp_path / "x.safetensors").params, params)


def test_a_published_checkpoint_keeps_what_it_trained(learned, tmp_path):
    source = write_torch(tmp_path / "best.pth", write_layout("published", learned))
    convert_file(source, tmp_path / "best.safetensors")
    model = load(tmp_path / "best.safetensors", method="tempme", num_frames=FRAMES)
    lora_b = learned["video", "block_0", "attn", "qkv", "lora_b"]
    np.testing.assert_array_equal(model.params["video"]["block_0"]["attn"]["qkv"]["lora_b"], lora_b)
    position = learned["video", "block_1", "join_clips", "clip_position"]
    read = model.params["video"]["block_1"]["join_clips"]["clip_position"]
    np.testing.assert_array_equal(read, position)


@pytest.mark.parametrize("layout", ["tempme_jax", "openai", "published", "huggingface"])
def test_the_layout_can_be_chosen(layout, params, tmp_path):
    source = write_torch(tmp_path / "model.bin", write_layout("huggingface", params))
    convert_file(source, tmp_path / "x.safetensors", layout=layout)
    assert_same_arrays(
        read_safetensors(tmp_path / "x.safetensors")[0], write_layout(layout, params)
    )


def test_what_was_learned_needs_a_layout_with_a_place_for_it(learned, tmp_path):
    source = write_torch(tmp_path / "best.pt", write_layout("published", learned))
    message = r"best\.pt: 12 without a place in the layout 'openai': .*lora_a"
    with pytest.raises(WeightsError, match=message):
        convert_file(source, tmp_path / "x.safetensors", layout="openai")
    assert os.listdir(tmp_path) == ["best.pt"]


def test_the_activation_goes_into_the_file(params, tmp_path):
    arrays = write_layout("openai", params)
    laclip = write_torch(tmp_path / "laion400m_laclip_vitb16.pt", arrays)
    other = write_torch(tmp_path / "other.pt", arrays)
    found = []
    for source, activation in ((laclip, None), (laclip, "quick_gelu"), (other, "gelu")):
        convert_file(source, tmp_path / "x.safetensors", activation=activation, overwrite=True)
        found.append(load_weights(tmp_path / "x.safetensors").arch.activation)
    assert found == ["gelu", "quick_gelu", "gelu"]


def test_a_config_beside_the_source_goes_into_the_file(params, tmp_path):
    source = write_torch(tmp_path / "pytorch_model.bin", write_layout("huggingface", params))
    vision = {"num_attention_heads": 4, "hidden_act": "gelu"}
    config = {
        "vision_config": vision,
        "text_config": {"num_attention_heads": 2, "hidden_act": "gelu"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert_file(source, tmp_path / "elsewhere" / "x.safetensors")
    arch = load_weights(tmp_path / "elsewhere" / "x.safetensors").arch
    assert (arch.heads, arch.text_heads, arch.activation) == (4, 2, "gelu")


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        ({"layer_norm_eps": 1e-6}, {}, r"vision_config\.layer_norm_eps=1e-06, but .* with 1e-05"),
        ({}, {"hidden_act": "gelu"}, r"text_config\.hidden_act='gelu', but .* with 'quick_gelu'"),
    ],
)
def test_a_config_of_transformers_that_is_not_computed_is_refused(
    vision, text, message, params, tmp_path
):
    source = write_torch(tmp_path / "pytorch_model.bin", write_layout("huggingface", params))
    heads = {"num_attention_heads": 1}
    config = {"vision_config": heads | vision, "text_config": heads | text}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=rf"config\.json: {message}"):
        convert_file(source, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    if text:
        convert_file(source, tmp_path / "x.safetensors", activation="gelu")


def test_a_file_of_ours_keeps_its_settings(learned, tmp_path):
    settings = {"method": "tempme", "options": {"rank": 8}, "num_frames": FRAMES, "max_words": 9}
    save_weights(tmp_path / "a.safetensors", learned, TOY, settings=settings)
    convert_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors", layout="published")
    assert load_weights(tmp_path / "b.safetensors").settings == settings
    assert load(tmp_path / "b.safetensors").max_words == 9


def test_a_target_is_replaced_only_when_asked_to(params, tmp_path):
    source = write_torch(tmp_path / "a.pt", write_layout("openai", params))
    target = tmp_path / "b.safetensors"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match=r"b\.safetensors exists; give another name"):
        convert_file(source, target)
    assert target.read_text() == "precious"
    convert_file(source, target, overwrite=True)
    assert_same_params(load_weights(target).params, params)


def test_a_malicious_file_is_refused_and_nothing_is_written(tmp_path):
    marker = tmp_path / "marker"
    evil = pickle.dumps({"visual.conv1.weight": Evil(os.system, f"touch {marker}")}, protocol=2)
    source = write_zip(tmp_path / "evil.pt", evil)
    with pytest.raises(UnsafeFileError, match=r"evil\.pt: refused, as it refers to 'posix.system'"):
        convert_file(source, tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["evil.pt"]


def test_a_failed_write_leaves_nothing(params, tmp_path, monkeypatch):
    source = write_torch(tmp_path / "a.pt", write_layout("openai", params))

    def full_disk(arrays, path, metadata):
        pathlib.Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        convert_file(source, tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["a.pt"]


def without(arrays, *names):
    return {name: a for name, a in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "visual.proj", "ln_final.bias"), "2 missing: ln_final.bias, visual"),
        (lambda a: a | {"visual.head": np.zeros(3)}, "1 unexpected: visual.head"),
        (
            lambda a: a | {"visual.ln_post.bias": np.zeros(3, np.float32)},
            r"1 misshapen: video/ln_post/bias \(3,\), not \(64,\)",
        ),
        (lambda a: {"blocks.0.norm1.weight": a["visual.proj"]}, "no known layout.*blocks.0.norm1"),
        (lambda a: {}, "no known layout.* the 0 arrays"),
    ],
)
def test_other_arrays_are_listed_and_nothing_is_written(change, message, params, tmp_path):
    arrays = {n: a.astype(np.float32) for n, a in change(write_layout("openai", params)).items()}
    source = write_torch(tmp_path / "a.pt", arrays)
    with pytest.raises(WeightsError, match=rf"a\.pt: .*{message}"):
        convert_file(source, tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["a.pt"]


def test_heads_are_64_wide_where_nothing_else_is_said(params, tmp_path):
    narrow = {
        name: a[:, :32] if name.endswith("positional_embedding") and "visual" not in name else a
        for name, a in write_layout("openai", params).items()
    }
    source = write_torch(tmp_path / "a.pt", {n: np.ascontiguousarray(a) for n, a in narrow.items()})
    with pytest.raises(WeightsError, match="text_heads=0 must be a whole number"):
        convert_file(source, tmp_path / "x.safetensors")


def run(*arguments):
    result = click.testing.CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def test_the_command(params, tmp_path):
    source = write_torch(tmp_path / "a.pt", write_layout("openai", params))
    target = tmp_path / "b.safetensors"
    result = run(source, target, "--layout", "huggingface", "--activation", "gelu")
    assert result.exit_code == 0
    assert result.output == f"{target}: open it with tempme_jax.load({str(target)!r})\n"
    weights = load_weights(target)
    assert weights.arch.activation == "gelu"
    assert_same_arrays(read_safetensors(target)[0], write_layout("huggingface", params))
    assert run(source, target).exit_code == 1
    assert run(source, target, "--overwrite").exit_code == 0
    assert load_weights(target).arch.activation == "quick_gelu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pt", "x.safetensors"], "Error: there is no file missing.pt"),
        (["folder", "x.safetensors"], "Error: there is no file folder"),
        (["text.pt", "x.bin"], "Error: the target must end in .safetensors, not 'x.bin'"),
        (["text.pt", "x"], "Error: the target must end in .safetensors, not 'x'"),
        (["text.pt", "old.safetensors"], "Error: old.safetensors exists; give another name"),
        (["text.pt", "x.safetensors"], "Error: text.pt: "),
        (["old.safetensors", "x.safetensors"], "Error: old.safetensors is not a readable"),
        (["text.pt", "x.safetensors", "--layout", "jax"], "'jax' is not one of 'tempme_jax', "),
        (["text.pt", "x.safetensors", "--activation", "relu"], "'relu' is not one of 'quick_gelu'"),
        (["text.pt"], "Missing argument 'TARGET'"),
    ],
)
def test_the_command_tells_mistakes_in_a_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pt").write_text("This is not a zip archive.")
    (tmp_path / "old.safetensors").write_text("old")
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert sorted(os.listdir(tmp_path)) == ["folder", "old.safetensors", "text.pt"]
    assert (tmp_path / "old.safetensors").read_text() == "old"


def test_the_command_refuses_a_malicious_file(tmp_path):
    source = write_zip(tmp_path / "evil.pt", pickle.dumps({"a": Evil(eval, "1")}, protocol=2))
    result = run(source, tmp_path / "x.safetensors")
    assert result.exit_code == 1
    assert "refused, as it refers to" in result.output and "nothing was run" in result.output
    assert issubclass(UnsafeFileError, TorchFileError)
    assert os.listdir(tmp_path) == ["evil.pt"]
