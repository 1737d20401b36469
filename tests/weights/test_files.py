"""Weights in files, folders and the hub's cache are read as what they are, or say what is wrong."""

import dataclasses
import json
import os
import pathlib
import struct
import types

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from random_weights import TOY, assert_same_params, make_random_params, write_weights

from tempme_jax.compile_cache import find_home_folder
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.configs import CONFIG_NAMES
from tempme_jax.weights.files import load_weights, save_weights
from tempme_jax.weights.layouts import WeightsError, write_layout
from tempme_jax.weights.unreachable import OutOfReachError

NARROW_HEADS = dataclasses.replace(TOY, heads=4, text_heads=2, activation="gelu")


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(TOY))


@pytest.fixture(scope="module")
def backbone(params, tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("backbone") / "clip.safetensors", params, "openai")


@pytest.mark.parametrize("layout", ["tempme_jax", "openai", "published", "huggingface"])
def test_a_file_says_what_it_is(layout, params, tmp_path):
    settings = {"method": "tome", "options": {"r": 1}, "num_frames": 6, "max_words": 9}
    file = tmp_path / "new folder" / "x.safetensors"
    save_weights(file, params, NARROW_HEADS, layout=layout, settings=settings)
    weights = load_weights(file)
    assert_same_params(weights.params, params)
    assert weights.arch == NARROW_HEADS
    assert weights.settings == settings
    assert [entry.name for entry in file.parent.iterdir()] == ["x.safetensors"]


def test_sizes_are_read_off_the_arrays(backbone):
    weights = load_weights(backbone)
    assert weights.arch == TOY
    assert weights.settings == {}


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
@pytest.mark.parametrize("layout", ["tempme_jax", "openai"])
def test_half_precision_is_read_as_float32(dtype, layout, params, tmp_path):
    arrays = {name: np.asarray(a, dtype) for name, a in write_layout(layout, params).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "half.safetensors")
    read = load_weights(tmp_path / "half.safetensors").params
    assert {a.dtype for a in read.values()} == {np.dtype(np.float32)}
    assert_same_params(read, {p: a.astype(dtype).astype(np.float32) for p, a in params.items()})


def test_in_a_folder_open_clips_file_goes_first(params, tmp_path):
    write_weights(tmp_path / "open_clip_model.safetensors", params, "openai")
    half = {"blocks.0.attn.qkv.weight": np.zeros(3, np.float32)}  # as timm writes it
    safetensors.numpy.save_file(half, tmp_path / "model.safetensors")
    assert_same_params(load_weights(tmp_path).params, params)
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: of no known layout.*blocks\.0"):
        load_weights(tmp_path)


def open_clip_config(**more):
    vision, text = {"width": 64, "head_width": 16}, {"width": 64, "heads": 2}
    return {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text} | more}


def huggingface_config(**vision):
    text = {"num_attention_heads": 2} | {k: v for k, v in vision.items() if k == "hidden_act"}
    vision = {"hidden_size": 64, "num_attention_heads": 4} | vision
    return {"vision_config": vision, "text_config": text}


@pytest.mark.parametrize(
    ("name", "config", "heads", "activation"),
    [
        ("open_clip_config.json", open_clip_config(quick_gelu=True), (4, 2), "quick_gelu"),
        ("open_clip_config.json", open_clip_config(), (4, 2), "gelu"),
        ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}, (1, 1), "quick_gelu"),
        ("config.json", huggingface_config(hidden_act="gelu"), (4, 2), "gelu"),
        ("config.json", huggingface_config(), (4, 2), "quick_gelu"),
        ("config.json", {"architecture": "vit_base_patch32_clip_224"}, (1, 1), "quick_gelu"),
    ],
)
def test_a_config_beside_the_file_is_read(name, config, heads, activation, params, tmp_path):
    write_weights(tmp_path / "model.safetensors", params, "huggingface")
    (tmp_path / name).write_text(json.dumps(config))
    for source in (tmp_path, tmp_path / "model.safetensors"):
        arch = load_weights(source).arch
        assert (arch.heads, arch.text_heads) == heads
        assert arch.activation == activation
    override = "gelu" if activation == "quick_gelu" else "quick_gelu"
    assert load_weights(tmp_path, activation=override).arch.activation == override


def test_what_a_config_leaves_out_is_vit_b32s(params, tmp_path):
    write_weights(tmp_path / "model.safetensors", params, "huggingface")
    (tmp_path / "config.json").write_text('{"vision_config": {}}')
    with pytest.raises(WeightsError, match="cannot divide width by heads: 64 by 12"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json is not readable as JSON"),
        (
            json.dumps(huggingface_config(hidden_act="relu")),
            "vision_config.hidden_act='relu', but",
        ),
        (json.dumps(huggingface_config(num_attention_heads=7)), "width by heads: 64 by 7"),
    ],
)
def test_a_config_that_makes_no_sense_is_named(content, message, params, tmp_path):
    write_weights(tmp_path / "model.safetensors", params, "huggingface")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path)


def test_laclips_activation_is_known_by_the_name_of_its_file(params, tmp_path):
    file = write_weights(tmp_path / "laion400m_laclip_vitb16.safetensors", params, "openai")
    assert load_weights(file).arch.activation == "gelu"
    assert load_weights(file, activation="quick_gelu").arch.activation == "quick_gelu"


def test_a_saved_activation_can_be_overridden(params, tmp_path):
    file = tmp_path / "x.safetensors"
    save_weights(file, params, NARROW_HEADS)
    arch = load_weights(file, activation="quick_gelu").arch
    assert arch == dataclasses.replace(NARROW_HEADS, activation="quick_gelu")


def test_a_mistyped_activation_is_named(backbone):
    with pytest.raises(ValueError, match="unknown activation: 'quickgelu'.*mean 'quick_gelu'"):
        load_weights(backbone, activation="quickgelu")


def eight_bit_numbers():
    about = {"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    header = json.dumps(about).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04" * 99, eight_bit_numbers()],
    ids=["empty", "pointer", "zip", "eight bits"],
)
def test_a_damaged_file_is_named(content, tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.safetensors is not a readable safetensors file: "):
        load_weights(file)


def test_a_truncated_file_is_named(backbone, tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(backbone.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"x\.safetensors is not a readable safetensors file: "):
        load_weights(file)


@pytest.mark.parametrize("name", ["ViT-B-32.pt", "pytorch_model.bin", "epoch_4.pth"])
def test_a_file_of_torch_names_the_command_that_reads_it(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK")
    command = rf"`tempme convert .*{name} {pathlib.Path(name).stem}\.safetensors`"
    with pytest.raises(WeightsError, match=command):
        load_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"holds none of .*`tempme convert`"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    "source", ["weights.safetensors", "checkpoints/best.pth", "a/b/c", "", "./workdir", "a/b--c"]
)
def test_a_path_that_is_not_there_is_named(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_weights(source)
    assert source in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache, empty; the hub is out of reach."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_mistyped_backbone_gives_the_nearest_names(cache):
    message = r"openai/clip-vit-base-patch23 .did you mean 'openai/clip-vit-base-patch32' or "
    with pytest.raises(FileNotFoundError, match=message):
        load_weights("openai/clip-vit-base-patch23")
    with pytest.raises(FileNotFoundError, match="did you mean 'openai/clip-vit-base-patch32'"):
        load_weights("https://huggingface.co/openai/clip-vit-base-patch32")
    with pytest.raises(FileNotFoundError, match="'UMT-B/16' names sizes, not weights: give a file"):
        load_weights("UMT-B/16")


@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch23", "someone/secret"])
def test_a_repository_that_the_hub_does_not_show_is_named(name, cache, within_reach, monkeypatch):
    def refuse(repository, file):
        response = types.SimpleNamespace(headers={}, request=None)
        raise RepositoryNotFoundError("401 Client Error", response=response)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    hint = r" \(did you mean 'openai/clip-vit-base-patch32' " if "clip" in name else "; "
    with pytest.raises(FileNotFoundError, match=f"'{name}'.* repository .*may read{hint}"):
        load_weights(name)


def test_a_backbone_out_of_reach_is_no_mistyped_one(cache):
    with pytest.raises(OutOfReachError, match="not on this machine, .*HF_HUB_OFFLINE is") as caught:
        load_weights("openai/clip-vit-base-patch32")
    told = str(caught.value)
    assert "did you mean" not in told and "--model tiny-tempme" in told
    file = "openai/clip-vit-base-patch32/open_clip_model.safetensors"
    assert str(find_home_folder() / "weights" / file).removeprefix(os.environ["HOME"]) in told
    assert "timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors" in told


def test_a_repository_in_the_cache_opens_without_a_network(cache, params):
    repository = cache / "models--someone--small-clip"
    snapshot = repository / "snapshots" / ("0" * 40)
    write_weights(snapshot / "model.safetensors", params, "huggingface")
    (snapshot / "config.json").write_text(json.dumps(huggingface_config(hidden_act="gelu")))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    weights = load_weights("someone/small-clip")
    assert_same_params(weights.params, params)
    assert weights.arch == NARROW_HEADS


@pytest.fixture
def remembered(cache):
    """A repository of which the cache knows only that it has no file of open_clip or config."""
    repository = cache / "models--someone--small-clip"
    (repository / ".no_exist" / "0").mkdir(parents=True)
    for name in ("open_clip_model.safetensors", *CONFIG_NAMES):
        (repository / ".no_exist" / "0" / name).touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    return repository


def test_the_hub_is_not_asked_for_what_the_cache_knows(remembered, params, monkeypatch):
    write_weights(remembered / "snapshots" / "0" / "model.safetensors", params, "huggingface")
    (remembered / "snapshots" / "0" / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    assert_same_params(load_weights("someone/small-clip").params, params)


def refuse_file(repository, name):
    raise EntryNotFoundError("no such file")


def test_a_repository_that_had_no_weights_is_asked_again(
    remembered, params, tmp_path, within_reach, monkeypatch
):
    (remembered / ".no_exist" / "0" / "model.safetensors").touch()
    file = write_weights(tmp_path / "model.safetensors", params, "huggingface")
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.hf_hub_download", refuse_file)
        with pytest.raises(
            FileNotFoundError, match="'someone/small-clip'.* has none of .*model.saf"
        ):
            load_weights("someone/small-clip")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: file)
    assert_same_params(load_weights("someone/small-clip").params, params)


def test_a_file_is_for_others_as_any_new_one(params, tmp_path):
    (tmp_path / "new").touch()
    save_weights(tmp_path / "x.safetensors", params, TOY)
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_failed_save_leaves_what_was_there(params, tmp_path, monkeypatch):
    file = tmp_path / "x.safetensors"
    file.write_text("old")

    def full_disk(arrays, path, metadata):
        pathlib.Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(file, params, TOY)
    assert os.listdir(tmp_path) == ["x.safetensors"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("name", ["model", "model.pt", "model.SAFETENSORS"])
def test_a_name_that_could_not_be_loaded_is_not_saved_to(name, params, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.safetensors, not to .*model"):
        save_weights(tmp_path / name, params, TOY)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("visual.proj", (64,), r"1 misshapen: video/projection \(64,\), not of 2 dimensions"),
        ("visual.positional_embedding", (0, 64), "this CLIP cannot be built: image_size=0 must be"),
    ],
)
def test_arrays_that_show_no_sizes_are_told(name, shape, message, params, tmp_path):
    arrays = write_layout("openai", params) | {name: np.zeros(shape, np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / "x.safetensors")
