"""An assistant searches an index by the protocol's own client: it reads, within bounds, no more."""

import base64
import io
import shutil
import sys

import anyio
import numpy as np
import pytest
import toy_index
from PIL import Image
from toy_index import make_toy_index, write_films

from tempme_jax.search.index import VideoIndex
from tempme_jax.video import stills

mcp = pytest.importorskip("mcp")

from tempme_jax.search.mcp import server  # noqa: E402

LINE = "1\n00:00:01,000 --> 00:00:02,000\nWe need a bigger boat.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        films = {"a.mp4": "long", "b.mp4": "30"}
        folder = write_films(tmp_path_factory.mktemp("videos"), films)
        (folder / "a.srt").write_text(LINE)
        make_toy_index(folder)
        return folder


@pytest.fixture(autouse=True)
def decode_here(monkeypatch):
    def decode_all(requests, *, decode, **_):
        for request in requests:
            try:
                yield request, decode(request)
            except server.VideoError as error:
                yield request, error

    monkeypatch.setattr(server, "decode_all", decode_all)


def talk(folder, *calls, within=None):
    """The answers to some calls, each a name and arguments, and the tools that are offered."""
    index = VideoIndex(folder, model=toy_index.make_model())

    async def ask():
        async with mcp.Client(server.make_server(index, within)) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(*call) for call in calls]

    return anyio.run(ask)


def test_tools_are_offered_as_reading_only(folder):
    tools, _ = talk(folder)
    assert {tool.name for tool in tools} == {"search", "similar", "moment", "stats"}
    assert all(tool.annotations.read_only_hint for tool in tools)
    assert all(tool.description and tool.input_schema for tool in tools)


def test_what_is_found_can_be_looked_at(folder):
    _, (answer, numbers) = talk(folder, ("search", {"text": "bigger boat"}), ("stats", {}))
    found = answer.structured_content
    assert {moment["file"] for moment in found["moments"]} <= set(map(str, folder.glob("*.mp4")))
    (said,) = found["said"]
    assert (said["text"], said["clock"]) == ("We need a bigger boat.", "0:01 to 0:02")
    assert numbers.structured_content["videos"] == 2
    part = {"file_id": said["file_id"], "start": 0, "end": 6, "frames": 3}
    _, (shown, alike) = talk(folder, ("moment", part), ("similar", {"window": said["window"]}))
    times, pictures = shown.content[::2], shown.content[1::2]
    assert len(times) == len(pictures) == 3
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture.data))).format == "JPEG"
    assert [one["file"] for one in alike.structured_content["moments"]] == [str(folder / "b.mp4")]


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("search", {"text": ""}, "at least 1 character"),
        ("search", {"text": "a" * 2001}, "at most 2000 characters"),
        ("search", {"text": "a cat", "k": 51}, "less than or equal to 50"),
        ("search", {"text": "a cat", "after": "yesterday"}, "match pattern"),
        ("search", {"text": "a cat", "folder": "/etc"}, "search has no argument 'folder'; it has"),
        ("stats", {"folder": "/etc"}, "it has none"),
        ("delete", {"file": "a.mp4"}, "Unknown tool"),
        ("similar", {"window": "../../etc/passwd"}, "match pattern"),
        ("similar", {"window": "ab-1"}, "there is no 'ab-1'"),
        ("moment", {"file_id": "ab", "start": 0, "end": 1}, "there is no 'ab'"),
        ("moment", {"file_id": "/etc", "start": 0, "end": 1}, "match pattern"),
        ("moment", {"file_id": "ab", "start": 0, "end": 1, "frames": 99}, "less than or equal"),
    ],
)
def test_what_cannot_be_asked_is_answered_by_a_sentence(folder, name, arguments, words):
    _, (answer,) = talk(folder, (name, arguments))
    assert answer.is_error and words in answer.content[0].text


def test_parts_that_are_none_and_files_that_changed(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    (said,) = VideoIndex(other, model=toy_index.make_model()).search("boat").said
    part = {"file_id": said.file_id, "start": 1, "end": 2}
    calls = (("moment", part | {"end": 1}), ("moment", part | {"start": 50, "end": 51}))
    _, answers = talk(other, *calls)
    assert "is not after" in answers[0].content[0].text
    assert "nothing is left from 50 s on" in answers[1].content[0].text
    (other / "a.mp4").write_bytes(b"private")
    _, (answer,) = talk(other, ("moment", part))
    assert answer.is_error and "has changed" in answer.content[0].text
    (other / "a.mp4").unlink()
    (other / "a.mp4").symlink_to(folder / "b.mp4")
    _, (answer,) = talk(other, ("moment", part))
    assert answer.is_error and "is gone" in answer.content[0].text


def test_a_folder_in_an_index_is_all_that_is_seen(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "deep").mkdir()
    for name in ("a.mp4", "a.srt"):
        (other / name).rename(other / "deep" / name)
    index = VideoIndex(other, model=toy_index.make_model())
    index.add(other, quiet=True)
    (outer,) = (moment for moment in index.search("a cat").moments if moment.file.name == "b.mp4")
    part = {"file_id": outer.file_id, "start": 0, "end": 1}
    calls = (("search", {"text": "boat"}), ("moment", part), ("stats", {}))
    _, (found, shown, numbers) = talk(other, *calls, within=other / "deep")
    groups = found.structured_content
    files = {one["file"] for one in groups["moments"] + groups["said"]}
    assert files == {str(other / "deep" / "a.mp4")} and groups["said"]
    assert shown.is_error and "there is no" in shown.content[0].text
    assert numbers.structured_content["videos"] == 1
    assert numbers.structured_content["folders"] == [str(other / "deep")]


def test_without_an_index_each_call_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    _, answers = talk(tmp_path / "empty", ("search", {"text": "a cat"}), ("stats", {}))
    assert all("there is no index" in answer.content[0].text for answer in answers)


def test_pictures_are_of_limited_size():
    pixels = np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.uint8)
    small = stills.encode_still(pixels, 512, 20_000)
    assert len(small) <= 20_000
    assert Image.open(io.BytesIO(stills.encode_still(pixels, 300, 10**6))).size == (300, 200)


def test_over_stdin_and_stdout(folder):
    command = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "tempme_jax.cli", "mcp", str(folder)]
    )

    async def ask():
        async with mcp.Client(command) as client:
            return await client.call_tool("stats", {})

    assert anyio.run(ask).structured_content["videos"] == 2
