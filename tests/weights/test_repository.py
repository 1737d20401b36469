"""Files of the Hub: the whole cache goes first, and what is out of reach is told once, quietly."""

import time

import numpy as np
import pytest
import safetensors.numpy
from hub_server import point_at, serve_hub
from huggingface_hub import constants

from tempme_jax.weights import hub, repository
from tempme_jax.weights.hub import BUILT_IN, locate
from tempme_jax.weights.repository import HubUnreachableError, find_reason, require_reach
from tempme_jax.weights.unreachable import TWINS, OutOfReachError

OPENAI, TIMM = "openai/clip-vit-base-patch32", "timm/vit_base_patch32_clip_224.openai"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub that has OpenAI's weights as they are: at timm as safetensors, else for PyTorch."""
    for name, file in ((OPENAI, "pytorch_model.bin"), (TIMM, "open_clip_model.safetensors")):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / file).write_bytes(BUILT_IN["tiny-clip"].read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    with serve_hub(tmp_path / "files") as server:
        point_at(server.address, monkeypatch)
        yield server


def put_in_cache(tmp_path, name, file, revision, content=b"", is_main=True):
    folder = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
    place = folder / "snapshots" / revision / file
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    if is_main:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(revision)
    return place


def test_the_default_model_comes_from_where_it_is(server, capsys):
    """OpenAI's own repository has no safetensors; the second time, nobody is asked."""
    file, _ = locate(OPENAI)
    assert file.name == "open_clip_model.safetensors" and TIMM.replace("/", "--") in str(file)
    server.asked.clear()
    assert locate(OPENAI)[0] == locate(TIMM)[0] == file
    assert server.asked == []
    assert "Retrying" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [OPENAI, TIMM])
def test_the_cache_is_asked_for_all_names_first(name, server, tmp_path):
    other = TIMM if name == OPENAI else OPENAI
    place = put_in_cache(tmp_path, other, "model.safetensors", "a")
    assert locate(name)[0] == place
    assert not any(asked[2].endswith("safetensors") for asked in server.asked)


def test_a_file_of_another_branch_is_in_the_cache_too(server, tmp_path):
    """As transformers takes it from a request to add it."""
    put_in_cache(tmp_path, OPENAI, "config.json", "a", b"{}")
    place = put_in_cache(tmp_path, OPENAI, "model.safetensors", "b", is_main=False)
    assert locate(OPENAI)[0] == place


def test_timms_half_of_a_model_is_passed_by(server, tmp_path):
    place = put_in_cache(tmp_path, TIMM, "model.safetensors", "a")
    safetensors.numpy.save_file({repository.OF_TIMM: np.zeros(1, np.float32)}, place)
    assert locate(TIMM)[0].name == "open_clip_model.safetensors"


def test_a_file_that_was_put_there_goes_first(server):
    place = hub.find_kept_folder(OPENAI) / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert locate(TIMM) == (place, [])
    assert server.asked == []


def test_out_of_reach_is_remembered(server, monkeypatch, capsys):
    asked = []
    point_at("http://127.0.0.1:9", monkeypatch)
    find = find_reason
    monkeypatch.setattr(repository, "find_reason", lambda *words: asked.append(1) or find(*words))
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(OutOfReachError, match=r"127\.0\.0\.1:9 is out of reach \(.*refused"):
            locate(OPENAI)
    assert asked == [1] and time.monotonic() - started < 5
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(repository, "REMEMBERED", 0.0)
    with pytest.raises(HubUnreachableError):
        require_reach(OPENAI, "config.json")
    assert asked == [1, 1]


@pytest.mark.parametrize(
    ("code", "reason"), [(503, "answers 503"), (429, "answers 429"), (403, "answers 403 Forbidden")]
)
def test_a_hub_that_is_ill_is_out_of_reach(code, reason, server):
    server.failing = code
    found = find_reason(OPENAI, "config.json")
    assert reason in found and bool(found) == bool(reason)


def test_a_page_that_answers_in_its_place(server, monkeypatch):
    """As a hotel's does: without the headers of the Hub."""
    monkeypatch.setattr("hub_server.Handler.send_head", lambda self, *_: plain(self))
    assert "login" in find_reason(OPENAI, "config.json")


def plain(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_offline_is_no_memory(server, monkeypatch):
    """It can be unset."""
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(OutOfReachError, match="HF_HUB_OFFLINE unset:\n  tempme download"):
            locate(OPENAI)
        patch.setenv("TEMPME_PROGRAM", "bash run.sh")
        with pytest.raises(OutOfReachError, match="  bash run.sh index FOLDER --model tiny-temp"):
            locate(OPENAI)
    assert locate(OPENAI)[0].is_file()


def test_twins_are_known_names():
    assert {*TWINS} <= {*hub.BACKBONES}


def test_configs_of_openais_weights_are_known(server, caplog):
    """The Hub is not asked for them, and nothing is said of them."""
    _, configs = locate(OPENAI)
    assert configs == [] and {name for *_, name in server.asked} <= {*hub.FILE_NAMES}
    assert caplog.text == ""


def test_what_is_in_the_cache_opens_if_the_repository_is_gone(server, tmp_path, caplog):
    place = put_in_cache(tmp_path, "someone/gone", "model.safetensors", "a")
    assert locate("someone/gone") == (place, [])
    assert "cannot be looked up now" in caplog.text
