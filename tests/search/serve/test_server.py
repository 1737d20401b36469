"""The search service: its answers, whom it refuses, and that it sends no byte of other files."""

import itertools
import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_index import HOSTILE, UNPLAYABLE, FakeIndex, serving
from starlette.testclient import TestClient

from tempme_jax.search.serve import guard, media, parameters, server, service

HERE = "http://127.0.0.1:8765"
SECRET = b"what lies outside of the folder"
BEACH, AVI, HOSTILE_ID = (f"{number:024x}" for number in (0, 1, 3))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder of videos, with secrets beside it."""
    top = tmp_path_factory.mktemp("top")
    for name in ("secret.txt", "secret.mp4"):
        (top / name).write_bytes(SECRET)
    return FakeIndex(top / "videos")


@pytest.fixture
def index(library):
    library.asked.clear()
    library.exists, library.refreshed, library.store.version = True, 0, 1
    return library


@pytest.fixture(scope="module")
def shared(library):
    with TestClient(server.create_application(library), base_url=HERE) as client:
        yield client


@pytest.fixture
def client(index, shared):
    """A client of a service with an empty cache."""
    asked = shared.app.state.service
    asked.cache, asked.version = service.Cache(), None
    return shared


def error(answer, status):
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


def test_search_answers_with_moments(client, index):
    answer = client.get("/api/search", params={"q": "a red disc", "k": 2}).json()
    assert [moment["name"] for moment in answer["moments"]] == ["beach.mp4", UNPLAYABLE]
    first = answer["moments"][0]
    assert first["path"] == str(index.paths[BEACH])
    assert first["folder"] == str(index.root / "holiday")
    assert (first["start"], first["end"], first["at"], first["percentile"]) == (2, 5.5, 3, 99.67)
    assert answer["confident"] and answer["compared"] == "unrelated sentences"
    assert index.asked == [("a red disc", 2, None, None, None)]


def test_filters_reach_the_index(client, index):
    folder = str(index.root / "work")
    given = {"q": "x", "folder": folder, "min_seconds": 40, "max_seconds": 60}
    names = [moment["name"] for moment in client.get("/api/search", params=given).json()["moments"]]
    assert names == ["grüße 東京.mp4"]
    assert index.asked == [("x", parameters.DEFAULT_COUNT, folder, 40, 60)]


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"q": ""}, "there is nothing to search for"),
        ({"q": " \t\n"}, "there is nothing to search for"),
        ({}, "there is nothing to search for"),
        ({"q": "x" * 20_001}, "20001 characters; at most 20000"),
        ({"q": "x", "k": "0"}, "k='0'"),
        ({"q": "x", "k": "100000"}, "k='100000'"),
        ({"q": "x", "k": "many"}, "k='many'"),
        ({"q": "x", "min_seconds": "nan"}, "min_seconds='nan'"),
        ({"q": "x", "min_seconds": "-1"}, "min_seconds='-1'"),
        ({"q": "x", "min_seconds": 9, "max_seconds": 8}, "is more than"),
        ({"q": "x", "folder": "/etc"}, "no videos are indexed in a folder /etc"),
        ({"q": "x", "folder": "' OR 1=1"}, "no videos are indexed"),
    ],
)
def test_what_cannot_be_searched_is_said_in_a_sentence(client, index, given, sentence):
    assert sentence in error(client.get("/api/search", params=given), 422)
    assert not index.asked


def test_a_text_longer_than_the_model_reads_is_cut_and_that_is_said(client, index):
    words = "a " * 9_999 + "b"
    answer = client.get("/api/search", params={"q": words}).json()
    assert answer["moments"] and index.asked[0][0] == words
    assert "reads no more of the text than its beginning: 'a a a" in answer["message"]
    weak = client.get("/api/search", params={"q": "gibberish", "k": 1}).json()
    assert weak["message"] == "nothing fits well: 38 % of unrelated texts fit better"
    fits = " ".join("a" for _ in range(30))
    assert client.get("/api/search", params={"q": fits}).json()["message"] == ""
    assert client.get("/api/search", params={"q": f"{fits} a"}).json()["message"] != ""


def test_errors_tell_nothing_of_the_machine(client, caplog):
    sentence = error(client.get("/api/search?q=broken"), 500)
    assert "secret" not in sentence and "a secret of the machine" in caplog.text
    assert "tempme index --verify" in error(client.get("/api/search?q=damaged"), 503)
    assert "nothing at this address" in error(client.get("/admin"), 404)


def test_similar_thumbnails_and_pictures(client):
    window = f"{AVI}-00001"
    answer = client.get(f"/api/similar/{window}?k=3").json()
    assert len(answer["moments"]) == 3 and answer["compared"] == "windows in other videos"
    assert answer["moments"][0]["percentile"] is None
    assert client.get(f"/thumbnail/{window}").content.startswith(b"\xff\xd8")
    first, again = (client.get(f"/merged/{window}") for _ in range(2))
    assert first.content == again.content and first.content.startswith(b"\x89PNG")
    assert first.headers["content-type"] == "image/png"
    for path in ("/api/similar/", "/thumbnail/", "/merged/"):
        assert "no such moment" in error(client.get(f"{path}ff-00001"), 404)


def test_pictures_are_kept_until_the_index_changes(client, index, monkeypatch):
    made = []
    merged = index.merged
    monkeypatch.setattr(index, "merged", lambda window: made.append(window) or merged(window))
    client.get("/api/stats")
    for _ in range(2):
        client.get(f"/merged/{BEACH}-00001")
    assert len(made) == 1
    index.store.version = 2
    client.get("/api/stats")
    assert not client.app.state.service.cache.pictures


def test_an_index_in_an_object_store_is_looked_at_only_now_and_then(client, index, monkeypatch):
    monkeypatch.setattr(index, "uri", "s3://videos/index")
    monkeypatch.setattr(client.app.state.service, "looked", float("-inf"))
    for _ in range(20):
        client.get("/api/search?q=x")
    assert index.refreshed == 1


def test_the_first_visitor_waits_neither_for_the_model_nor_for_thumbnails(
    client, index, monkeypatch
):
    opened = []
    monkeypatch.setattr(index, "thumbnail", opened.append)  # the first opens the database
    client.app.state.service.warm()
    assert len(opened) == 1 and len(index.asked) == 1


def test_an_index_that_was_not_made_yet(client, index):
    index.exists = False
    answer = client.get("/api/search?q=x").json()
    assert answer["moments"] == [] and "tempme index" in answer["message"]
    assert client.get("/api/stats").json()["windows"] == 0
    assert client.get("/api/folders").json() == []
    error(client.get(f"/thumbnail/{BEACH}-00001"), 404)
    error(client.get(f"/media/{BEACH}"), 404)


def test_the_api_describes_itself(client):
    described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/search", "/api/similar/{window}", "/api/folders", "/api/stats", "/api/failures",
        "/api/queries", "/query/{number}", "/media/{file_id}", "/preview/{file_id}",
        "/clip/{file_id}", "/thumbnail/{window}", "/merged/{window}",
    }  # fmt: skip
    assert "SearchAnswer" in described["components"]["schemas"]
    for page in ("/docs", "/redoc", "/openapi.json"):
        error(client.get(page), 404)


def test_the_page_and_its_parts(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in page.text and "style=" not in page.text and "http" not in page.text
    for name, kind in (("search.js", "javascript"), ("search.css", "css"), ("icon.svg", "svg")):
        assert kind in client.get(f"/page/{name}").headers["content-type"]
    error(client.get("/page/server.py"), 404)


def test_every_answer_has_the_headers(client):
    paths = ("/", "/page/search.css", "/api/search?q=broken", "/api/nothing", f"/media/{BEACH}")
    for path in paths:
        headers = client.get(path).headers
        assert {name: headers.get(name) for name in guard.HEADERS} == guard.HEADERS
    assert "unsafe" not in guard.HEADERS["Content-Security-Policy"]


def test_a_video_is_sent_whole_and_described(client, index):
    answer = client.get(f"/media/{HOSTILE_ID}")
    assert answer.content == index.paths[HOSTILE_ID].read_bytes()
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    shown = answer.headers["content-disposition"]
    assert shown.startswith("inline; filename*=UTF-8''%3Cimg%20src") and HOSTILE not in shown
    assert client.get(f"/media/{AVI}").headers["content-type"] == "video/x-msvideo"
    head = client.head(f"/media/{BEACH}")
    assert head.content == b""
    assert int(head.headers["content-length"]) == index.paths[BEACH].stat().st_size


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=0-99": (0, 100),
    "bytes=100-": (100, None),
    "bytes=-10": (-10, None),
    "bytes=-99999999": (0, None),
    "bytes=50-999999999": (50, None),
    "Bytes=0-9": None,
    "bytes=5-2": None,
    "bytes=-0": None,
    "bytes=-": None,
    "bytes=": None,
    "bytes=a-b": None,
    "bytes=0x0-9": None,
    "bytes=+1-9": None,
    "bytes= 0-9": None,
    "bytes=0-9,20-29": None,
    "bytes=999999999-": None,
    "bytes=0-9999999999999999999999999": None,
    "bytes=٣-٩".encode(): None,
    "bytes=" + "0-,".ljust(30) * 5: None,
}


@pytest.mark.parametrize("given", RANGES)
def test_ranges(client, index, given):
    whole = index.paths[BEACH].read_bytes()
    answer = client.get(f"/media/{BEACH}", headers={"Range": given})
    if RANGES[given] is None:
        error(answer, 416)
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
        return
    start, stop = RANGES[given]
    wanted = whole[start:stop]
    assert answer.status_code == 206 and answer.content == wanted
    first = len(whole) - len(wanted) if stop is None else start
    said = f"bytes {first}-{first + len(wanted) - 1}/{len(whole)}"
    assert answer.headers["content-range"] == said


def test_ranges_that_are_not_meant_for_this_are_passed_over(client):
    path = f"/media/{BEACH}"
    tag = client.get(path).headers["etag"]
    assert client.get(path, headers={"Range": "lines=0-9"}).status_code == 200
    assert client.get(path, headers={"Range": "bytes=0-9", "If-Range": tag}).status_code == 206
    assert client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"x"'}).status_code == 200
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_a_thousand_ranges_cost_nothing(client):
    many = "bytes=" + ",".join(f"{i}-{i + 1}" for i in range(1_000))
    began = time.perf_counter()
    error(client.get(f"/media/{BEACH}", headers={"Range": many}), 416)
    assert time.perf_counter() - began < 0.5


def test_a_large_file_is_sent_in_small_pieces(tmp_path, index, monkeypatch):
    big = tmp_path / "big.mp4"
    big.write_bytes(os.urandom(3 * media.CHUNK + 5))
    sizes = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: sizes.append(given[1]) or pread(*given))
    monkeypatch.setattr(index, "file", lambda _: big)
    before = len(os.listdir("/proc/self/fd"))
    with TestClient(server.create_application(index), base_url=HERE) as client:
        assert client.get("/media/ab").content == big.read_bytes()
    assert sizes == [media.CHUNK] * 3 + [5] and media.CHUNK <= 2**20
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1", 200), ("localhost:99", 200), ("[::1]:8765", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost@evil.example", 421),
        ("evil.example:8765", 421), ("", 421), ("127.0.0.1:x", 421), ("localhost/evil", 421),
        ("2130706433", 421), ("[::1", 421), ("localhost, evil.example", 421),
    ],
)  # fmt: skip
def test_only_known_names_are_answered(client, host, status):
    assert client.get("/api/stats", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "path, headers, status",
    [
        ("/api/stats", {"Sec-Fetch-Site": "same-origin", "Origin": HERE}, 200),
        ("/api/stats", {"Sec-Fetch-Site": "none"}, 200),
        ("/api/stats", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/api/stats", {"Sec-Fetch-Site": "same-site"}, 403),
        ("/api/stats", {"Origin": "https://evil.example"}, 403),
        ("/api/stats", {"Origin": "http://127.0.0.1:1"}, 403),
        ("/api/stats", {"Origin": "null"}, 403),
        (f"/media/{BEACH}", {"Sec-Fetch-Site": "cross-site"}, 403),
        (f"/thumbnail/{BEACH}-1", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/", {"Sec-Fetch-Site": "cross-site"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(client, path, headers, status):
    assert client.get(path, headers=headers).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_it_only_shows(client, method):
    answer = client.request(method, "/api/stats")
    assert "GET and HEAD" in error(answer, 405) and answer.headers["allow"] == "GET, HEAD"


def test_with_a_token_every_path_wants_it(index):
    app = server.create_application(index, token="sesame open")
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        paths = ("/", "/page/search.js", "/api/search?q=x", f"/media/{BEACH}", "/api/openapi.json",
                 f"/thumbnail/{BEACH}-1", "/nothing", "/?token=", "/?token=wrong",
                 "/api/stats?token=sesame%20open")  # fmt: skip
        for path in paths:
            assert "needs its token" in error(client.get(path), 401)
        for header in ("Bearer wrong", "Bearer", "Basic sesame open", "sesame open", "Bearer \xe9"):
            headers = {"Authorization": header.encode("latin-1")}
            error(client.get("/api/stats", headers=headers), 401)
        error(client.get("/", headers={"Cookie": "tempme=sesame open"}), 401)
        right = {"Authorization": "Bearer sesame open"}
        assert client.get("/api/stats", headers=right).status_code == 200


def test_a_token_in_the_address_becomes_a_cookie(index):
    app = server.create_application(index, token="sesame")
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        answer = client.get("/?q=a+dog&token=sesame")
        assert answer.status_code == 303 and answer.headers["location"] == "/?q=a+dog"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "sesame" not in cookie
        assert client.get("/").status_code == 200 and client.get("/api/stats").status_code == 200
        # Not even then does it stay there.
        assert client.get("/?token=sesame").headers["location"] == "/"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_without_a_token_it_does_not_leave_the_machine(index, host, monkeypatch):
    monkeypatch.delenv(server.TOKEN, raising=False)
    monkeypatch.setattr(server, "listen", lambda *_: pytest.fail("it began to listen"))
    with pytest.raises(ValueError, match="give a token, or set TEMPME_TOKEN"):
        server.serve(index, host=host)


def test_the_token_may_come_from_the_environment(index, monkeypatch, capsys):
    monkeypatch.setenv(server.TOKEN, "sesame")
    made = []
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda self, sockets: made.append(self))
    server.serve(index, host="0.0.0.0", port=0, allow_host=["films.example"])
    guarded = made[0].config.app.user_middleware[0].kwargs
    assert guarded["token"] == "sesame" and {"films.example", "0.0.0.0"} <= set(guarded["hosts"])
    assert "sesame" not in capsys.readouterr().out


def test_a_taken_port_and_an_old_starlette_are_named(index, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1"):
            server.serve(index, port=port)
    monkeypatch.setattr(server.metadata, "version", lambda _: "0.49.0")
    with pytest.raises(RuntimeError, match="install starlette>=0.49.1"):
        server.create_application(index)


@pytest.fixture(scope="module")
def port(library):
    with serving(server.create_application(library)) as port:
        yield port


def raw(port, target, headers=()):
    """Send exactly these bytes as the target of a request, which client libraries would change."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
        connection.sendall(b"\r\n".join([*lines, *headers, b"", b""]))
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


UP = [b"../" * 3, b"..%2f" * 3, b"%2e%2e/" * 3, b"%2e%2e%2f" * 3, b"%252e%252e%252f" * 3,
      b"..%5c" * 3, b"..\\" * 3, b"....//" * 3, b"..;/" * 3, b"%c0%ae%c0%ae/" * 3,
      b"%uff0e%uff0e/" * 3, b"\xe2\x80\xa5/" * 3, b"%ef%bc%8e%ef%bc%8e%ef%bc%8f" * 3]  # fmt: skip
TARGETS = [
    *(b"/media/" + up + b"secret.mp4" for up in UP),
    *(b"/page/" + up + b"secret.txt" for up in UP),
    *(b"/thumbnail/" + up + b"secret.txt" for up in UP[:5]),
    b"/media//etc/passwd", b"/media/%2fetc%2fpasswd", b"/media/file:%2f%2f%2fetc%2fpasswd",
    b"/media/C:%5cWindows%5cwin.ini", b"/media/%5c%5cserver%5cshare%5cx.mp4",
    b"/media//server/share/x.mp4", b"/media/%00", b"/media/" + BEACH.encode() + b"%00.txt",
    b"/media/" + BEACH.encode() + b"/../../secret.mp4", b"/media/" + BEACH.encode() + b"%2f..",
    b"/media/" + b"a" * 5_000, b"/media/" + b"%2e" * 5_000, b"/media/%F0%9F%8E%AC", b"/media/%ff",
    b"/media/*", b"/media/' OR 1=1 --", b"/media/%27%20OR%201%3D1", b"/media/.", b"/media/..",
    b"/media/~", b"/media/$HOME", b"/media/{0}", b"/media/", b"/media", b"/merged/..%2f..%2fsecret",
    b"/api/similar/..%2f..%2fsecret.txt", b"/etc/passwd", b"../../etc/passwd", b"/../secret.txt",
    b"http://evil.example/secret.txt", b"/media?file_id=/etc/passwd", b"//etc/passwd", b"/.tempme",
    b"/page/search.html/../../server.py", b"/page/", b"/page/.", b"/proc/self/environ",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target)[2:40])
def test_no_address_leads_out(port, target, monkeypatch):
    head, _, body = raw(port, target).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"400", b"404", b"422"), head
    assert SECRET not in body and b"root:" not in body and b"def " not in body


def test_the_longest_text_passes_through(port):
    head, _, body = raw(port, b"/api/search?q=" + b"%E6%9D%B1" * 20_000).partition(b"\r\n\r\n")
    assert b" 200 OK" in head and b"reads no more of the text" in body


def test_nothing_is_read_for_those_who_left(port, library, monkeypatch):
    big = library.root / "big.mp4"
    with big.open("wb") as file:
        file.truncate(2**30)
    monkeypatch.setitem(library.paths, "b16", big)
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /media/b16 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    big.unlink()


def with_range(*lines):
    return [b"Range: " + line for line in lines]


@pytest.mark.parametrize(
    "headers",
    [
        with_range(b"bytes=0-1", b"bytes=2-3"),
        with_range(b"bytes=0-" + b",0-" * 1_300),
        with_range(b"bytes=" + b"9" * 4_000 + b"-"),
        with_range(b"bytes=-" + b"9" * 4_000),
        with_range(b"bytes=0-\x00"),
        with_range(b"bytes=1-\xb2"),
        with_range(b"bytes=0-9\r\n folded"),
        with_range(b"bytes=--1"),
    ],
)
def test_odd_ranges_get_an_error_at_once(port, headers):
    began = time.perf_counter()
    head, _, body = raw(port, f"/media/{BEACH}".encode(), headers).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"400", b"416") and len(body) < 200
    assert time.perf_counter() - began < 1


def swapped(kind, index):
    """Replace an indexed video by something else."""
    path = index.paths[BEACH]
    outside = index.root.parent
    if kind in ("link to a folder", "link to the folder above"):
        shutil.move(path.parent, outside / "moved")
        (outside / "elsewhere").mkdir(exist_ok=True)
        (outside / "elsewhere" / path.name).write_bytes(SECRET)
        path.parent.symlink_to(outside / "elsewhere" if kind == "link to a folder" else "..")
        (index.root.parent / path.name).write_bytes(SECRET)
        return
    path.rename(outside / "moved.mp4")
    if kind == "link":
        path.symlink_to(outside / "secret.mp4")
    elif kind == "relative link":
        path.symlink_to("../../secret.mp4")
    elif kind == "chain of links":
        (path.parent / "between.mp4").symlink_to(outside / "secret.mp4")
        path.symlink_to("between.mp4")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "link to another kind":
        (index.root / "notes.txt").write_bytes(SECRET)
        path.symlink_to(index.root / "notes.txt")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")


KINDS = (
    "link", "relative link", "chain of links", "link to itself", "link to another kind", "pipe",
    "folder", "device", "nothing", "link to a folder", "link to the folder above",
)  # fmt: skip


@pytest.fixture
def own(library, tmp_path):
    """An index of its own, to be changed."""
    shutil.copytree(library.root, tmp_path / "videos")
    (tmp_path / "secret.mp4").write_bytes(SECRET)
    own = object.__new__(FakeIndex)
    own.__dict__.update(library.__dict__, root=tmp_path / "videos")
    moved = {id: own.root / path.relative_to(library.root) for id, path in library.paths.items()}
    own.paths = moved
    return own


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_replaced_after_indexing(own, kind):
    swapped(kind, own)
    with TestClient(server.create_application(own), base_url=HERE) as client:
        answer = client.get(f"/media/{BEACH}")
        parts = [client.get(f"/{name}/{BEACH}?start=0&end=1") for name in ("preview", "clip")]
        found = client.get("/api/search?q=x&k=1").json()["moments"][0]
    for one in (answer, *parts):
        assert SECRET not in one.content
        assert "beach.mp4 " in error(one, 410)
    assert found["gone"] and found["name"] == "beach.mp4"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing"])
@pytest.mark.parametrize("proc", [True, False], ids=["linux", "elsewhere"])
def test_a_file_that_is_replaced_after_it_was_approved(own, kind, proc, monkeypatch, tmp_path):
    approved = own.file(BEACH)
    if not proc:
        monkeypatch.setattr(media, "_OPENED", tmp_path / "none")
    times = itertools.count()

    def find(_):
        if next(times):
            return own.file(BEACH)
        swapped(kind, own)
        return approved

    before = len(os.listdir("/proc/self/fd"))
    assert media.open_media(find, BEACH) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_slow_work_does_not_keep_others_waiting(port, library):
    library.go_on.clear()
    slow = [b"/merged/" + BEACH.encode() + b"-%05d" % i for i in range(8)]
    slow += [b"/api/search?q=slow"] * service.SEARCHES[0]
    with ThreadPoolExecutor(len(slow)) as pool:
        try:
            waiting = [pool.submit(raw, port, target) for target in slow]
            time.sleep(0.2)
            for target in (f"/thumbnail/{BEACH}-00001", f"/media/{BEACH}", "/", "/api/stats"):
                began = time.perf_counter()
                assert b" 200 OK" in raw(port, target.encode())
                assert time.perf_counter() - began < 1
            assert not any(one.done() for one in waiting)
        finally:
            library.go_on.set()
        assert all(b" 200 OK" in one.result(10) for one in waiting)


def until(condition):
    """Wait for something that happens in the background."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
