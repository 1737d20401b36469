"""Weights in several files, which an index names, in a folder and on the hub."""

import json
import re
import shutil

import pytest
import safetensors.numpy
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from random_weights import TOY, assert_same_params, make_random_params

from tempme_jax.networks.clip import Clip
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import write_layout

INDEX = "model.safetensors.index.json"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
LAST = "visual_projection.weight"


@pytest.fixture(scope="module")
def params():
    return make_random_params(Clip(TOY))


@pytest.fixture
def folder(params, tmp_path):
    """A folder with two shards and their index, as transformers writes it."""
    arrays = write_layout("huggingface", params)
    names = sorted(arrays)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    for shard, part in zip(SHARDS, parts, strict=True):
        safetensors.numpy.save_file({n: arrays[n] for n in part}, tmp_path / shard)
    of_arrays = {n: shard for shard, part in zip(SHARDS, parts, strict=True) for n in part}
    content = {"metadata": {"total_size": 9}, "weight_map": of_arrays}
    (tmp_path / INDEX).write_text(json.dumps(content))
    return tmp_path


def change(folder, **shards):
    """Change the shards of some arrays in the index; of None, the array is taken out."""
    content = json.loads((folder / INDEX).read_text())
    of_arrays = content["weight_map"] | shards
    content["weight_map"] = {n: shard for n, shard in of_arrays.items() if shard is not None}
    (folder / INDEX).write_text(json.dumps(content))


def test_shards_are_read_as_one_file(folder, params):
    for source in (folder, folder / INDEX):
        assert_same_params(load_weights(source).params, params)
    convert_file(folder / INDEX, folder / "whole.safetensors")
    assert_same_params(load_weights(folder / "whole.safetensors").params, params)


@pytest.mark.parametrize("shard", SHARDS)
def test_a_shard_that_is_missing_is_named(shard, folder):
    (folder / shard).unlink()
    with pytest.raises(WeightsError, match=f"names the file {shard}, which is not beside it"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ({"a.b": SHARDS[0]}, f"1 of {SHARDS[0]} missing: a.b"),
        ({LAST: SHARDS[0]}, f"1 of {SHARDS[0]} missing: {LAST}"),
        ({LAST: None}, f"1 in {SHARDS[1]} that it does not name: {LAST}"),
        ({LAST: "../x.safetensors"}, "names '../x.safetensors', which is not the name of"),
        ({LAST: "/x.safetensors"}, "names '/x.safetensors', which is not the name of"),
        ({LAST: "..\\x.safetensors"}, r"which is not the name of a \.safetensors file beside it"),
        ({LAST: "C:x.safetensors"}, r"which is not the name of a \.safetensors file beside it"),
        ({LAST: "pytorch_model-00001.bin"}, "names 'pytorch_model-00001.bin', which is not"),
        ({LAST: ".safetensors"}, "which is not the name of"),
        ({LAST: 5}, "weight_map"),
    ],
)
def test_an_index_that_is_wrong_is_told(shards, message, folder):
    change(folder, **shards)
    with pytest.raises(WeightsError, match=f"{re.escape(INDEX)}.*{message}"):
        load_weights(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_what_is_no_index_is_told(content, folder):
    (folder / INDEX).write_text(content)
    with pytest.raises(WeightsError, match=re.escape(INDEX)):
        load_weights(folder)


def test_shards_of_pytorch_are_told(tmp_path):
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"weights in several \.bin files"):
        load_weights(tmp_path)


@pytest.fixture
def hub(folder, tmp_path_factory, within_reach, monkeypatch):
    """A fake hub with the files of the folder; returns the names it was asked for."""
    asked = []

    def download(repository, name):
        asked.append(name)
        if not (folder / name).exists():
            raise EntryNotFoundError("no such file")
        return shutil.copy(folder / name, downloaded)

    empty, downloaded = str(tmp_path_factory.mktemp("hub")), tmp_path_factory.mktemp("downloaded")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", empty)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def test_shards_of_a_repository_are_downloaded(hub, params):
    assert_same_params(load_weights("someone/clip").params, params)
    assert set(SHARDS) <= set(hub)


def test_shards_that_a_repository_lacks_are_named(hub, folder):
    (folder / SHARDS[1]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"'someone/clip' names the file {SHARDS[1]}"):
        load_weights("someone/clip")


def test_nothing_outside_of_a_repository_is_downloaded(hub, folder):
    change(folder, **{LAST: "../../x.safetensors"})
    with pytest.raises(WeightsError, match="is not the name of"):
        load_weights("someone/clip")
    assert not any("x.safetensors" in name for name in hub)


def test_shards_out_of_reach_are_named(hub, folder, tmp_path_factory, monkeypatch):
    def download(repository, name):
        if name == INDEX:
            return shutil.copy(folder / name, tmp_path_factory.mktemp("downloaded"))
        raise (LocalEntryNotFoundError if "00002" in name else EntryNotFoundError)("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(FileNotFoundError, match="cannot be downloaded without a network"):
        load_weights("someone/clip")


def test_a_tokenizer_of_a_repository_is_compared(hub, folder):
    (folder / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(WeightsError, match=r"vocab\.json has a vocabulary of 1 tokens"):
        load_weights("someone/clip")
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").write_text("a b\n")
    with pytest.raises(WeightsError, match=r"merges\.txt has merges that are not CLIP's"):
        load_weights("someone/clip")
    (folder / "merges.txt").unlink()
    (folder / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(WeightsError, match=r"special_tokens_map\.json: eos_token='</s>'"):
        load_weights("someone/clip")
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    with pytest.raises(WeightsError, match=r"tokenizer\.json has a vocabulary"):
        load_weights("someone/clip")
