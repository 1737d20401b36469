"""Whatever is asked, the service answers; never with an error of its own."""

import random
import string
from urllib.parse import quote

import pytest
from fake_index import FakeIndex
from starlette.testclient import TestClient

from tempme_jax.search.serve import previews, server
from tempme_jax.search.serve.previews import PartCache

HERE = "http://127.0.0.1:8765"
CONTENT = f"{0:024x}"
IDS = (
    "-1", "0", "", "-", "--", "00-", "-00001", "ab-00001", "AB-1", "0x1-1", "1.5", "1e9", "nan",
    "NaN-1", "inf", "null", "true", "[]", "{}", str(2**63), f"ab-{2**63}", f"ab-{2**64}", "ab--1",
    "٣-٣", "ab-٣", "ab-１", "𝟙-1", "ab-1\n", "ab-1\r\n", "ab-1\0", "\0", "ab-1 ", " ab-1",
    "ab-1/..", "..", ".", "%", "%00", "ab-1%00", "' OR 1=1 --", "ab-1' OR '1'='1", "a" * 65 + "-1",
    "a" * 9999, CONTENT, f"{CONTENT}-1", f"{CONTENT}-0000000001", f"{CONTENT}-00000000001",
    f"{CONTENT}-1.0",
    f"{CONTENT}-+1", f"{CONTENT}-1e0", f"{CONTENT}-0x1", "é", "😀",
)  # fmt: skip
NUMBERS = (
    "", "0", "-0", "-1", "1", "1.0", "1.5", "1e3", "1e400", "-1e400", "nan", "inf", "-inf", "0x10",
    "٣", "１", "1_000", " 1", "1 ", "1\0", "true", "null", "[]", "{}", str(2**31), str(2**63),
    str(2**64), "9" * 400, "9" * 5000, "1,5", "1;2", "--1", "+1", "²",
)  # fmt: skip
TEXTS = (
    "",
    " ",
    "\0",
    "a",
    "a" * 20_000,
    "a" * 20_001,
    "\u202e",
    "é",
    "東" * 500,
    "\ufffe",
    "<b>",
    "%s",
)
FOLDERS = ("", "/", "..", "\0", "/etc", "a" * 5000, "a" * 20_000, "' OR 1=1", "é", "/\0")
ROUTES = (
    "/thumbnail/", "/merged/", "/media/", "/api/similar/", "/page/", "/", "/preview/", "/clip/",
    "/query/", "/api/queries",
)  # fmt: skip
WORDS = ("", "match", "date", "strong", "*", "[", "?*[!", "2026-01-31", "2026-02-30", "9999-12-31",
         "0001-01-01", "0" * 32, ",,", "a," * 20)  # fmt: skip
NUMBERED = ("k", "per_video", "min_seconds", "max_seconds", "weight", "rerank", "start", "end")
NAMES = (
    *NUMBERED, "q", "folder", "token", "x", "q[]", "", "name", "after", "before", "verdict", "sort",
    "without", "file", "query", "like",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    index = FakeIndex(tmp_path_factory.mktemp("top") / "videos")
    with TestClient(server.create_application(index), base_url=HERE) as client:
        client.app.state.service.parts = PartCache(tmp_path_factory.mktemp("kept"))
        yield client


@pytest.fixture(autouse=True)
def nothing_goes_wrong(caplog):
    yield
    assert "could not be answered" not in caplog.text


def check(client, method, path, **options):
    answer = client.request(method, path, **options)
    assert answer.status_code < 500, (method, path, options, answer.text)
    assert answer.headers["content-security-policy"]
    if answer.status_code >= 400 and method == "GET":
        assert list(answer.json()) == ["error"]
    return answer.status_code


@pytest.mark.parametrize("route", ROUTES[:-1])
def test_ids(client, route):
    known = {f"{CONTENT}-1", f"{CONTENT}-0000000001", CONTENT, "", ".", "..", "ab-1/.."}
    for given in IDS:
        for sent in (quote(given, safe=""), quote(given, safe="/'")):
            status = check(client, "GET", route + sent)
            assert status in (404, 422) or given in known, (route, given)


@pytest.mark.parametrize(
    "route, name",
    [
        ("/api/search?q=x&", "k"), ("/api/search?q=x&", "min_seconds"),
        ("/api/search?q=x&", "weight"), (f"/api/similar/{CONTENT}-1?", "per_video"),
        (f"/preview/{CONTENT}?start=0&", "end"),
    ],
)  # fmt: skip
def test_numbers(client, route, name, monkeypatch):
    monkeypatch.setattr(previews, "cut", lambda part, target: target.write_bytes(b"x"))
    for given in NUMBERS:
        check(client, "GET", f"{route}{name}={quote(given)}")
        check(client, "GET", f"{route}{name}={quote(given)}&{name}=2")


def test_anything(client):
    """Random parameters, headers and methods, on all addresses."""
    rng = random.Random(0)
    values = (*IDS, *NUMBERS, *TEXTS, *FOLDERS, *WORDS)
    headers = ("Range", "If-Range", "If-None-Match", "Authorization", "Cookie", "Accept", "Origin",
               "Sec-Fetch-Site", "Host", "Content-Length", "X-Forwarded-For")  # fmt: skip
    for _ in range(400):
        path = rng.choice(
            [*ROUTES, "/api/search", "/api/stats", "/api/folders", "/api/openapi.json"]
        )
        path += quote(rng.choice(IDS)) if rng.random() < 0.7 and path.endswith("/") else ""
        query = [(rng.choice(NAMES), rng.choice(values)) for _ in range(rng.randint(0, 4))]
        path += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        noise = "".join(rng.choices(string.printable[:95], k=rng.randint(0, 60))).strip()
        sent = {rng.choice(headers[:8]): rng.choice([noise, "bytes=0-1", "none", "Bearer x"])}
        method = rng.choice(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"])
        check(client, method, path, headers=sent)
