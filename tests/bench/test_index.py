"""`tempme bench index` measures what `tempme index` does, and leaves nothing behind."""

import dataclasses
import json

import av
import pytest
from click.testing import CliRunner

from tempme_jax.bench import index
from tempme_jax.bench.index import IndexSpeed
from tempme_jax.cli import main

TINY = ("bench", "index", "--model", "tiny-tempme", "--workers", "1")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The videos that are made last a second, not ten."""
    monkeypatch.setattr(index, "SECONDS", 1)


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="tempme")
    assert result.exit_code == exit_code, result.output
    return result


def test_help():
    text = run("bench", "index", "--help").stdout
    names = ["--folder", "--videos", "--model", "--method", "--workers", "--json"]
    assert [name for name in names if name not in text] == []


def test_the_videos_that_are_made(tmp_path):
    files = list(index.make_videos(tmp_path, 2))
    assert files == sorted(tmp_path.iterdir())
    assert len({file.read_bytes() for file in files}) == 2
    with av.open(files[0]) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 30)
    assert (len(frames), frames[0].width, frames[0].height) == (30, 320, 240)
    assert [frame.key_frame for frame in frames] == [True] + 29 * [False]
    first, last = (
        frame.to_ndarray(format="gray").astype(int) for frame in frames[:: len(frames) - 1]
    )
    assert abs(first - last).mean() > 5


def test_as_json():
    result = run(*TINY, "--videos", 3, "--json")
    speed = IndexSpeed(**json.loads(result.stdout))
    assert (speed.videos, speed.failed, speed.windows, speed.workers) == (3, 0, 3, 1)
    assert speed.minutes == pytest.approx(3 / 60)
    assert speed.videos_per_second == pytest.approx(3 / speed.seconds)
    assert speed.minutes_per_minute == pytest.approx(3 / speed.seconds)
    assert speed.windows_per_second == pytest.approx(3 / speed.seconds)
    assert speed.waited == pytest.approx(speed.waited_seconds / speed.seconds)
    assert speed.ratio == speed.read_windows_per_second / speed.embed_windows_per_second
    inside = speed.first_seconds + speed.waited_seconds + speed.embed_seconds
    assert 0 < inside < speed.seconds
    values = dataclasses.asdict(speed)
    assert [name for name, value in values.items() if not value > 0 and name != "failed"] == []
    told = [line for line in result.stderr.splitlines() if not line.endswith(" s")]  # if it is slow
    assert told[-3:] == ["compiling...", "indexing...", "decoding alone..."]


def test_of_a_folder_as_a_table(tmp_path):
    """Nothing is written to it; what cannot be read is counted."""
    list(index.make_videos(tmp_path, 2))
    (tmp_path / "broken.mp4").write_text("no video")
    before = sorted(tmp_path.iterdir())
    text = run(*TINY, "--folder", tmp_path).stdout
    assert sorted(tmp_path.iterdir()) == before
    assert "Indexing 2 videos (0.0 min, 2 windows), workers: 1" in text
    assert "Files that could not be indexed: 1;" in text
    assert "times as fast" in text


def test_of_a_folder_that_cannot_be_indexed(tmp_path):
    assert "there is no video in" in run(*TINY, "--folder", tmp_path, exit_code=1).stderr
    (tmp_path / "broken.mp4").write_text("no video")
    result = run(*TINY, "--folder", tmp_path, exit_code=1)
    assert f"Error: no video in {tmp_path} can be read" in result.stderr


def test_a_backbone_has_random_weights(monkeypatch):
    """Anything else is opened as weights are."""
    called = []
    monkeypatch.setattr(index, "create", lambda *a, **k: called.append(("create", a, k)))
    monkeypatch.setattr(index, "load", lambda *a, **k: called.append(("load", a, k)))
    index.open_model("ViT-B/16", None)
    index.open_model("tiny-clip", "tome")
    assert called == [
        ("create", ("ViT-B/16",), {"method": "tempme"}),
        ("load", ("tiny-clip",), {"method": "tome"}),
    ]
