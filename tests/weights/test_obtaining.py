"""`tempme download` brings weights here, from the Hub or a file, and refuses what is not them."""

import pathlib
import re
import shutil

import click.testing
import numpy as np
import pytest
import safetensors.numpy
from hub_server import point_at, serve_hub
from huggingface_hub import constants
from siglip_files import draw_state_dict, write_siglip
from torch_archives import write_arrays

from tempme_jax.cli import main
from tempme_jax.weights import hub
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.hub import BUILT_IN
from tempme_jax.weights.layouts import write_layout
from tempme_jax.weights.obtaining import PUBLISHED, compute_digest, describe_digest

TINY = pathlib.Path(str(BUILT_IN["tiny-clip"]))
OPENAI = "openai/clip-vit-base-patch32"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's cache; the Hub is out of reach."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own" / "tempme_jax" / "weights"


@pytest.fixture
def server(own, tmp_path, monkeypatch):
    """A Hub, empty."""
    with serve_hub(tmp_path / "files") as server:
        point_at(server.address, monkeypatch)
        yield server


def download(*words, code=0):
    result = click.testing.CliRunner().invoke(main, ["download", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_file_is_taken_without_a_network(own):
    told = download(OPENAI, "--from", TINY)
    place = own / OPENAI / "model.safetensors"
    assert str(place) in told and compute_digest(TINY) in told
    assert told.endswith("Next: tempme index FOLDER\n")
    assert hub.locate(OPENAI) == (place, []) and place.read_bytes() == TINY.read_bytes()
    assert "is here and opens (4 MB)" in download(OPENAI)
    assert "is here and opens" in download(OPENAI, "--from", place)


def test_another_file_replaces_it(own, tmp_path):
    """With its configs, from a folder; whatever its name."""
    download(OPENAI, "--from", TINY)
    arrays = write_layout("openai", load_weights(TINY).params)
    safetensors.numpy.save_file(arrays, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    download(OPENAI, "--from", tmp_path, "--sha256", "A" * 64, code=1)
    assert [each.name for each in (own / OPENAI).iterdir()] == ["model.safetensors"]
    download(OPENAI, "--from", tmp_path)
    place = own / OPENAI / "open_clip_model.safetensors"
    assert hub.locate(OPENAI) == (place, [place.with_name("open_clip_config.json")])
    assert not place.with_name("model.safetensors").exists()


def test_a_file_of_pytorch_is_converted(own, tmp_path):
    arrays = write_layout("openai", load_weights(TINY).params)
    told = download(OPENAI, "--from", write_arrays(tmp_path / "ViT-B-32.pt", arrays))
    assert "It was converted from ViT-B-32.pt" in told
    assert load_weights(OPENAI).arch.activation == "quick_gelu"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["openai/x", "--from", "nowhere"], "--from nowhere: there is no such file or folder"),
        (["openai/x", "--from", __file__], "is not a .safetensors file"),
        (["openai/x", "--from", TINY, "--sha256", "abc"], "abc is not a SHA-256, which has 64"),
        (["openai/x", "--from", TINY, "--sha256", "0" * 64], f"must be {'0' * 64}"),
        (["tiny-temme"], "not the name of a Hugging Face repository.*did you mean 'tiny-tempme'"),
        ([OPENAI], "HF_HUB_OFFLINE is set.*tempme download openai/clip-vit-base-patch32 --from"),
    ],
)
def test_what_it_refuses(words, message, own):
    told = download(*words, code=1)
    assert re.search(message, told, re.DOTALL) and "Traceback" not in told
    assert not list(own.rglob("*.safetensors"))


def test_what_comes_with_the_package():
    assert "It comes with the package." in download("tiny-tempme")


def test_the_default_is_downloaded_and_checked(server):
    twin = server.folder / "timm" / "vit_base_patch32_clip_224.openai"
    twin.mkdir(parents=True)
    (server.folder / OPENAI).mkdir(parents=True)
    shutil.copy(TINY, twin / "open_clip_model.safetensors")
    told = download()
    assert compute_digest(TINY) in told and "Getting openai/clip-vit-base-patch32..." in told
    hub.locate(OPENAI)[0].resolve().write_bytes(b"damaged")
    assert f"must be {compute_digest(TINY)}; get it again" in download(code=1)


def test_a_repository_with_a_file_of_pytorch_alone(server, own):
    (server.folder / "someone" / "clip").mkdir(parents=True)
    arrays = write_layout("openai", load_weights(TINY).params)
    write_arrays(server.folder / "someone" / "clip" / "pytorch_model.bin", arrays)
    with pytest.raises(FileNotFoundError, match="`tempme download someone/clip` fetches and conv"):
        load_weights("someone/clip")
    told = download("someone/clip")
    assert "It was converted from pytorch_model.bin" in told
    assert told.endswith("Next: tempme index FOLDER --model someone/clip\n")
    assert load_weights("someone/clip").arch.embed_dim == load_weights(TINY).arch.embed_dim
    assert "no Hugging Face repository of that name" in download("someone/else", code=1)


def test_known_digests():
    for digest, name in PUBLISHED.items():
        assert len(digest) == 64 and describe_digest(digest) == (
            f"The digest is that of {name} as it was published.",
        )
    assert describe_digest("0" * 64) == ()


def test_a_model_with_misshapen_arrays_is_not_taken(own, tmp_path):
    folder = write_siglip(tmp_path)
    arrays = draw_state_dict()
    arrays["vision_model.head.attention.in_proj_bias"] = np.zeros(64, np.float32)
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    told = download("google/siglip2-base-patch16-224", "--from", folder, code=1)
    assert "misshapen: video/head/qkv/bias (64,), not (96,)" in told
    assert not (own / "google" / "siglip2-base-patch16-224" / "model.safetensors").exists()
