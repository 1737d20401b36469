"""Damaged and mistyped files of weights give an error that names the file, or a model."""

import json
import pathlib
import random
import struct

import numpy as np
import pytest
import safetensors.numpy
from random_weights import TOY, make_random_params
from torch_archives import Call, Global, T, opcodes

from tempme_jax.building import open_weights
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.files import load_weights, save_weights
from tempme_jax.weights.layouts import write_layout
from tempme_jax.weights.torch_files import TorchFileError
from tempme_jax.weights.torch_pickles import read_pickle

VALUES = [None, True, 0, 1, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800",
          [], [1], [[1]], [None] * 3, {}, {"shortest_edge": None}, {"height": 32}]  # fmt: skip
OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 16, "quick_gelu": True,
        "vision_cfg": {"width": 64, "layers": 4, "head_width": 16, "image_size": 32,
                       "patch_size": 16, "mlp_ratio": 4.0, "act_kwargs": {}},
        "text_cfg": {"context_length": 12, "width": 64, "heads": 2, "layers": 1, "eos_id": 2},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": 0.5, "size": 32, "resize_mode": "shortest"},
}  # fmt: skip
TRANSFORMERS = {
    "model_type": "clip", "projection_dim": 16, "text_config_dict": None,
    "vision_config": {"num_attention_heads": 2, "hidden_act": "gelu", "patch_size": 16},
    "text_config": {"num_attention_heads": 1, "hidden_act": "gelu", "eos_token_id": 2},
}  # fmt: skip
PIXELS = {
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32}, "resample": 3, "rescale_factor": 1 / 255,
}  # fmt: skip
FILES = {
    "config.json": TRANSFORMERS,
    "preprocessor_config.json": PIXELS,
    "processor_config.json": {"image_processor": PIXELS},
    "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True},
    "tokenizer.json": {"model": {"vocab": {"a": 1}}},
    "vocab.json": {"a": 1},
}
SETTINGS = {"method": "clip", "options": {}, "given": {}, "folded": False, "num_frames": 4,
            "max_words": 9, "drawn": {"seed": 0, "paths": [["a", "b"]]}}  # fmt: skip


@pytest.fixture
def draw():
    return random.Random(0)


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(TOY))


def list_places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from list_places(value[key], (*path, key))


def mistype(value, draw):
    """Return a copy of a value of JSON in which one place holds something else."""
    *path, last = draw.choice([place for place in list_places(value) if place] or [(None,)])
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path:
        inner = inner[key]
    if draw.random() < 0.15 and isinstance(inner, dict):
        inner["renamed"] = inner.pop(last)
    else:
        inner[last] = draw.choice(VALUES)
    return copy


def encode(value, draw):
    """Return a value as JSON; a few of the bytes are damaged now and then."""
    data = json.dumps(value).encode()
    chance = draw.random()
    if chance < 0.1:
        place = draw.randrange(len(data))
        return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
    if chance < 0.15:
        return data[: draw.randrange(len(data))]
    return b"[" * 100_000 if chance < 0.17 else data


def is_read(read, *arguments, **options):
    """Return whether a file is read; any error must be one of ours."""
    try:
        read(*arguments, **options)
        return True
    except ValueError as error:
        assert type(error).__module__.startswith("tempme_jax") or type(error) is ValueError, error
        assert str(error)
        return False


def test_configs(draw, params, tmp_path):
    for layout in ("openai", "huggingface"):
        (tmp_path / layout).mkdir()
        safetensors.numpy.save_file(
            write_layout(layout, params), tmp_path / layout / "model.safetensors"
        )
    read = 0
    for _ in range(150):
        file = tmp_path / "openai" / "open_clip_config.json"
        file.write_bytes(encode(mistype(OPEN_CLIP, draw), draw))
        read += is_read(load_weights, tmp_path / "openai")
        name = draw.choice(list(FILES))
        for other in FILES:
            (tmp_path / "huggingface" / other).unlink(missing_ok=True)
        (tmp_path / "huggingface" / "config.json").write_text(json.dumps(TRANSFORMERS))
        file = tmp_path / "huggingface" / name
        file.write_bytes(encode(mistype(FILES[name], draw), draw))
        read += is_read(load_weights, tmp_path / "huggingface")
    assert 10 < read < 150


def split(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, body):
    data = json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + body


def load_as_a_model(file: pathlib.Path):
    names = ("method", "num_frames", "max_words", "method_options", "activation")
    open_weights(file, **dict.fromkeys(names), dtype="float32", seed=0)


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_safetensors(draw, params, tmp_path):
    file = tmp_path / "x.safetensors"
    save_weights(file, params, TOY, settings=SETTINGS)
    header, body = split(file.read_bytes())
    about = json.loads(header["__metadata__"]["tempme_jax"])
    texts = ["[]", "null", "3", '{"architecture": null}', '{"settings": []}', "[" * 50_000, "{"]
    names = ["a", "a/b", "video", "text/block_999/attn/qkv/kernel", "logit_scale/x", "/", ""]
    read = 0
    for _ in range(120):
        mistyped = {"tempme_jax": json.dumps(mistype(about, draw))}
        file.write_bytes(join(header | {"__metadata__": mistyped}, body))
        read += is_read(load_as_a_model, file)
        changed, name = dict(header), draw.choice(list(header))
        chance = draw.random()
        if name == "__metadata__":
            changed[name] = {"tempme_jax": draw.choice(texts)}
        elif chance < 0.4:
            changed[draw.choice([*names, f"{name}/x", name.upper()])] = changed.pop(name)
        elif chance < 0.7:
            changed[name] = mistype(changed[name], draw)
        else:
            changed[name] = changed[name] | {"dtype": draw.choice(["F16", "I32", "F8_E4M3", "U8"])}
        file.write_bytes(join(changed, body))
        is_read(load_as_a_model, file)
        is_read(convert_file, file, tmp_path / "y.safetensors", overwrite=True)
    assert read > 10


def test_numbers_of_every_kind(params, tmp_path):
    file = tmp_path / "x.safetensors"
    for kind in (np.float16, np.float64, np.int8, np.uint64, np.bool_):
        arrays = {n: np.ones(a.shape, kind) for n, a in write_layout("openai", params).items()}
        safetensors.numpy.save_file(arrays, file)
        assert is_read(load_weights, file) == (np.dtype(kind).kind == "f")


def test_pickles(draw):
    saved = {
        "state_dict": {"a": T},
        "args": Call(Global("argparse", "Namespace"), ()),
        "e": {1: (2,)},
    }
    whole = b"\x80\x04" + opcodes(saved) + b"."
    refused = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 4))):
            place, chance = draw.randrange(len(data)), draw.random()
            if chance < 0.6:
                data[place] = draw.randrange(256)
            elif chance < 0.8:
                del data[place]
            else:
                data.insert(place, draw.randrange(256))
        try:
            read_pickle(bytes(data))
        except TorchFileError:
            refused += 1
    assert refused > 2000
