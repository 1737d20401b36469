"""Parts of videos that browsers play: made once, kept within bounds, refused with a sentence."""

import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest
from fake_index import UNPLAYABLE, FakeIndex
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from tempme_jax.search.saving.sources import VideoSource
from tempme_jax.search.serve import previews, server
from tempme_jax.search.serve.previews import PartCache, WantedPart
from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import MISSING, FileState

HERE = "http://127.0.0.1:8765"
BEACH, AVI = f"{0:024x}", f"{1:024x}"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return FakeIndex(tmp_path_factory.mktemp("top") / "videos")


@pytest.fixture
def client(index, tmp_path):
    with TestClient(server.create_application(index), base_url=HERE) as client:
        client.app.state.service.parts = PartCache(tmp_path / "kept")
        yield client


def error(answer, status):
    assert answer.status_code == status and list(answer.json()) == ["error"]
    return answer.json()["error"]


def test_what_no_browser_plays_plays_as_a_preview(client, tmp_path):
    address = f"/preview/{AVI}?start=2&end=5.5"
    answer = client.get(address)
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    assert "old%20camera" in answer.headers["content-disposition"]
    with av.open(io.BytesIO(answer.content)) as film:
        video = film.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 320, 180)
        assert 3.3 < film.duration / av.time_base < 3.8
    part = client.get(address, headers={"Range": "bytes=0-9"})
    assert part.status_code == 206 and part.content == answer.content[:10]
    kept = os.stat(tmp_path / "kept")
    assert kept.st_mode & 0o077 == 0 and len(os.listdir(tmp_path / "kept")) == 1


def test_a_moment_is_saved(client):
    answer = client.get(f"/clip/{BEACH}?start=1&end=2")
    shown = answer.headers["content-disposition"]
    assert shown == "attachment; filename*=UTF-8''beach%200m01s-0m02s.mp4"
    with av.open(io.BytesIO(answer.content)) as film:
        assert film.streams.video[0].width == 320


@pytest.mark.parametrize(
    "address, status, sentence",
    [
        (f"/preview/{AVI}?start=5&end=5", 422, "start=5 is not before end=5"),
        (f"/preview/{AVI}?start=-1&end=5", 422, "start='-1'"),
        (f"/preview/{AVI}?start=nan&end=5", 422, "start='nan'"),
        (f"/preview/{AVI}?start=1&end=1e400", 422, "end='1e400'"),
        (f"/preview/{AVI}?start=1", 422, "end"),
        (f"/preview/{AVI}?start=900&end=905", 422, f"{UNPLAYABLE} cannot be shown"),
        (f"/clip/{AVI}?start=0&end=700", 422, "at most 600 s"),
        ("/preview/ab?start=0&end=1", 404, "no such video"),
        ("/clip/..%2f..%2fsecret?start=0&end=1", 404, "nothing at this address"),
    ],
)
def test_what_cannot_be_shown_is_said(client, address, status, sentence):
    assert sentence in error(client.get(address), status)


def test_a_longer_preview_ends_early(client, monkeypatch):
    asked = []
    monkeypatch.setattr(previews, "cut", lambda part, target: asked.append(part) or write(target))
    assert client.get(f"/preview/{AVI}?start=10&end=500").status_code == 200
    assert (asked[0].start, asked[0].end) == (10, 10 + previews.PREVIEW_SECONDS)


def write(target, size=100):
    Path(target).write_bytes(b"x" * size)


def make_part(start=0.0, name="a.avi"):
    source = VideoSource(Path("/videos") / name, Path("/videos"), FileState(9, 9))
    return WantedPart(source, start, start + 5, True)


def read(opened):
    with os.fdopen(opened.descriptor, "rb") as file:
        return file.read()


def test_who_asks_meanwhile_waits_for_the_same_part(tmp_path, monkeypatch):
    made, go_on = [], threading.Event()

    def cut(part, target):
        made.append(part)
        assert go_on.wait(10)
        write(target)

    monkeypatch.setattr(previews, "cut", cut)
    cache = PartCache(tmp_path / "kept")
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(cache.open, make_part()) for _ in range(6)]
        time.sleep(0.05)
        go_on.set()
        assert {read(one.result(10)) for one in asked} == {b"x" * 100}
    assert len(made) == 1


def test_the_parts_used_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "cut", lambda part, target: write(target))
    cache = PartCache(tmp_path, most_bytes=250)
    old = tmp_path / ".tempme-left"
    old.mkdir()
    write(old / "0.mp4")
    os.utime(old, (0, 0))
    for start in (0, 10, 0, 20, 30):
        os.close(cache.open(make_part(start)).descriptor)
    kept = {f"{make_part(start).key}.mp4" for start in (0, 20, 30)}
    assert set(os.listdir(tmp_path)) == kept


def test_why_a_part_cannot_be_made_is_remembered(tmp_path, monkeypatch):
    made = []

    def cut(part, target):
        made.append(part)
        raise VideoError(os.fspath(part.source.file), "crashed the process that decoded it")

    monkeypatch.setattr(previews, "cut", cut)
    cache = PartCache(tmp_path)
    for _ in range(3):
        with pytest.raises(HTTPException, match=r"a\.avi cannot be shown: crashed") as raised:
            cache.open(make_part())
        assert raised.value.status_code == 422
    assert len(made) == 1
    monkeypatch.setattr(previews, "FAILED_SECONDS", 0.0)
    monkeypatch.setattr(previews, "cut", lambda part, target: write(target))
    assert read(cache.open(make_part()))


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (VideoError("/videos/a.avi", MISSING), 410, "no such file"),
        (OSError(28, "No space left on device"), 507, "no room to make it: No space left"),
    ],
)
def test_a_disk_that_is_full_and_a_video_that_went_away(
    tmp_path, monkeypatch, error, status, sentence
):
    def cut(part, target):
        raise error

    monkeypatch.setattr(previews, "cut", cut)
    with pytest.raises(HTTPException, match=sentence) as raised:
        PartCache(tmp_path).open(make_part())
    assert raised.value.status_code == status


def test_a_link_in_the_cache_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / f"{make_part().key}.mp4").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(previews, "cut", lambda part, target: None)
    with pytest.raises(HTTPException, match="could not be kept"):
        PartCache(kept).open(make_part())
