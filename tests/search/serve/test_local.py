"""`tempme search` asks a server of the same index and user, and does without any other."""

import contextlib
import dataclasses
import json
import os
import socket
import stat
import threading
import types

import numpy as np
import pytest
from fake_index import FakeIndex

from tempme_jax.search.query.results import convert_from_json, convert_to_json
from tempme_jax.search.serve import local
from tempme_jax.search.serve.service import Service
from tempme_jax.version import __version__


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index = FakeIndex(tmp_path_factory.mktemp("videos"))
    index.uri = str(tmp_path_factory.mktemp("index"))
    index.stats = lambda: types.SimpleNamespace(outdated=3)
    return index


@pytest.fixture(scope="module")
def server(index):
    server = local.open_server(Service(index))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.close()
    assert not server.place.exists()


def test_a_server_answers_as_the_index(server, index):
    answer = local.ask(index.uri, "a red disc", 2, None)
    assert answer["warning"] == "" and answer["outdated"] == 3
    assert convert_from_json(answer["results"]) == index.search("a red disc", 2)
    local.ask(index.uri, "a red disc", 2, "deep")
    assert index.asked[-1][2] == os.path.abspath("deep")
    assert "reads no more of the text" in local.ask(index.uri, "cat " * 99, 1, None)["warning"]


def test_a_socket_that_was_moved_with_its_folder(server, index, tmp_path):
    """Its server may have another index, made where the folder was."""
    link = tmp_path / "link"
    link.symlink_to(index.uri)
    assert local.ask(str(link), "a red disc", 1, None)
    os.link(server.place, tmp_path / local.NAME)
    assert local.ask(str(tmp_path), "a red disc", 1, None) is None


def test_the_socket_is_the_owners_alone(server):
    assert stat.S_IMODE(os.lstat(server.place).st_mode) == 0o600
    assert local.has_socket(server.service.index.uri)


def test_errors_are_left_to_the_client(server, index):
    assert local.ask(index.uri, "broken", 1, None) is None
    for line in (b"{}\n", b"no JSON\n", b"\n", b"x" * 400_000):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(server.place))
            with contextlib.suppress(OSError):  # it may have answered before it read all
                asked.sendall(line)
                assert "results" not in json.loads(asked.makefile().readline())
    query = {"version": "0.0.1", "place": "1-2", "text": "a", "k": 1}
    query |= {"folder": None, "per_video": 2}
    with pytest.raises(ValueError, match=__version__):
        server.answer(json.dumps(query).encode())


def test_a_second_server_leaves_the_first_one_alone(server, index):
    assert local.open_server(Service(index)) is None
    assert local.ask(index.uri, "a red disc", 1, None)


def test_what_is_no_server_is_ignored(tmp_path, index, monkeypatch):
    """A socket of a server that was killed, another file, and another user's socket."""
    place = tmp_path / local.NAME
    ask = lambda: local.ask(str(tmp_path), "a", 1, None)  # noqa: E731
    assert ask() is None
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(place))
        old.listen()
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert ask() is None
        monkeypatch.undo()
    assert ask() is None and place.exists()
    taken = types.SimpleNamespace(uri=str(tmp_path), exists=True)
    opened = local.open_server(types.SimpleNamespace(index=taken))
    assert opened is not None
    opened.server_close()
    place.unlink()
    place.write_text("a file")
    assert ask() is None
    assert local.ask("s3://bucket/index", "a", 1, None) is None
    assert local.find_socket("/" + "x" * 200) is None


def test_results_survive_json(index):
    results = index.search("gibberish", 2)
    for name in ("a.mp4", os.fsdecode(b"\xff.mp4")):
        changed = [
            dataclasses.replace(one, file=one.file.parent / name, percentile=np.nan)
            for one in results.moments
        ]
        given = dataclasses.replace(results, moments=tuple(changed))
        again = convert_from_json(json.loads(json.dumps(convert_to_json(given))))
        assert [one.file for one in again.moments] == [one.file for one in changed]
        assert all(np.isnan(one.percentile) for one in again.moments)
