"""Pictures and clips that are posted to search with."""

import contextlib
import io
import os
import socket
import tempfile
import time

import pytest
from fake_index import BEACH, HERE, serving
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from tempme_jax.search.serve import connections, posted, server

ADDRESS = "/api/queries"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Where posted files are written; nothing stays there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert not [name for name in os.listdir(tmp_path) if name.startswith("tempme-")]


def picture(kind="png"):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, kind)
    return file.getvalue()


def error(answer, status):
    assert answer.status_code == status and list(answer.json()) == ["error"], answer.text
    return answer.json()["error"]


def test_a_picture_is_searched_for(client, index):
    answer = client.post(f"{ADDRESS}?name=red.png", content=picture())
    assert answer.status_code == 201
    found = answer.json()
    assert (found["kind"], found["name"]) == ("picture", "red.png")
    shown = client.get(f"/query/{found['query']}")
    assert Image.open(io.BytesIO(shown.content)).size == (32, 32)
    answer = client.get("/api/search", params={"query": found["query"]}).json()
    assert answer["query"] == "the picture red.png" and answer["moments"]
    both = {"query": found["query"], "q": "at night", "weight": 0.25, "without": "snow, people"}
    answer = client.get("/api/search", params=both).json()
    assert answer["query"] == "at night"
    assert index.asked[-1] == ("at night", 24, ("snow", "people"), 0.25)


def test_a_clip_is_searched_for(client, index):
    content = index.paths[BEACH].read_bytes()
    answer = client.post(ADDRESS, content=content)
    assert answer.json()["kind"] == "clip" and answer.json()["name"] == ""


@pytest.mark.parametrize(
    "content, headers, status, sentence",
    [
        (b"", {}, 422, "the file is empty"),
        (
            b"#EXTM3U\nfile:///etc/passwd", {"Content-Type": "video/mp4"}, 422,
            "x.png cannot be read; as a video: not a video (a play list); as a picture: not a",
        ),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "is not read"),
        (b"a", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "alone"),
        (b"a", {"Content-Length": str(posted.MOST_BYTES + 1)}, 413, "at most 256 MiB"),
        (picture(), {"Origin": "https://evil.example"}, 403, "another site"),
        (picture(), {"Origin": "null"}, 403, "another site"),
        (picture(), {"Sec-Fetch-Site": "cross-site"}, 403, "another site"),
        (picture(), {"Host": "evil.example"}, 421, "not known by this name"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_said(client, content, headers, status, sentence):
    answer = client.post(f"{ADDRESS}?name=x.png", content=content, headers=headers)
    assert sentence in error(answer, status)
    assert "tempme-" not in answer.text and "passwd" not in answer.text


def test_a_stream_without_a_length_is_bounded(client, monkeypatch):
    monkeypatch.setattr(posted, "MOST_BYTES", 2**20)
    parts = (b"x" * 2**18 for _ in range(6))
    assert "too large" in error(client.post(ADDRESS, content=parts), 413)


@pytest.mark.parametrize("path", ["/", "/api/search", "/api/queries/", "/media/ab", "/query/ab"])
def test_nothing_else_can_be_posted_to(client, path):
    assert "GET and HEAD" in error(client.post(path, content=picture()), 405)
    error(client.get(ADDRESS), 405)


def test_with_a_token_nothing_is_read_without_it(index, monkeypatch):
    app = server.create_application(index, token="sesame")
    monkeypatch.setattr(posted, "read_posted", refuse)
    with TestClient(app, base_url=HERE) as client:
        read = []
        parts = (read.append(1) or b"x" for _ in range(3))
        error(client.post(ADDRESS, content=parts), 401)
        headers = {"Authorization": "Bearer sesame"}
        assert client.post(ADDRESS, content=picture(), headers=headers).status_code == 422


@pytest.mark.parametrize(
    "given, status",
    [
        ({"query": "0" * 32}, 410),
        ({"query": "x"}, 422),
        ({"query": "../" * 9}, 422),
        ({"query": "0" * 32, "like": f"{BEACH}-00001"}, 422),
        ({"like": "ff-00001"}, 404),
        ({"q": "x", "weight": "1.1"}, 422),
        ({"q": "x", "weight": "nan"}, 422),
        ({"q": "x", "without": ",".join("abcdefghi")}, 422),
        ({"q": "x", "without": "x" * 1001}, 422),
        ({"q": "x", "without": "y", "rerank": 5}, 422),
        ({"q": "x", "rerank": 5}, 422),
        ({"q": "x", "tau": 0.1}, 422),
        ({"q": "x", "tau": 0}, 422),
        ({"q": "x", "without": "y", "tau": 0.1}, 422),
        ({"q": "x", "kk": 5}, 422),
    ],
)
def test_parts_of_a_query_that_do_not_fit(client, given, status):
    assert error(client.get("/api/search", params=given), status)


def test_the_oldest_files_are_forgotten(monkeypatch):
    monkeypatch.setattr(posted, "MOST_KEPT", 2)
    files = posted.PostedFiles()
    one = posted.PostedFile(kind="picture", name="", vector=None, picture=b"", model={"a": 1})  # pyright: ignore[reportArgumentType]
    names = [files.keep(one) for _ in range(2)]
    assert files.find(names[0], {"a": 1}) is one  # now it is the last used one
    files.keep(one)
    for name, model in ((names[1], None), (names[0], {"a": 2}), ("", None)):
        with pytest.raises(HTTPException) as raised:
            files.find(name, model)
        assert raised.value.status_code == 410


def refuse(*given):
    raise HTTPException(422, "it cannot be read")


def start_to_post(port, size):
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    head = f"POST {ADDRESS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


@pytest.mark.parametrize("size, ends", [(2**16, False), (10, True)])
def test_a_file_may_take_as_long_as_it_goes_on_to_arrive(index, monkeypatch, size, ends):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(connections, "LEAST_POSTED", 2**14)
    monkeypatch.setattr(posted, "read_posted", refuse)
    with serving(server.create_application(index)) as port:
        with start_to_post(port, 5 * size) as connection:
            received = b""
            with contextlib.suppress(ConnectionError):
                for _ in range(5):
                    connection.sendall(b"x" * size)
                    time.sleep(0.15)
                received = connection.recv(1000)
    assert received == b"" if ends else received.startswith(b"HTTP/1.1 422")


def test_only_so_many_files_are_received_at_once(index):
    with serving(server.create_application(index)) as port:
        waiting = [start_to_post(port, 100) for _ in range(2)]
        time.sleep(0.1)
        waiting.append(start_to_post(port, 100))
        assert waiting[-1].recv(100).startswith(b"HTTP/1.1 503")
        for one in waiting:
            one.close()
