"""`tempme search` saves what it found, tells what it could not save, and replaces nothing."""

import json
import os
import types

import click.testing
import pytest
import toy_index
from video_files import write_grey_video

from tempme_jax.cli import main
from tempme_jax.search import index as index_module
from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.saving.sources import find_source
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.videos import IndexVideos


class FakeIndex:
    """An index of three files, of which the last is gone."""

    uri = ""
    require_no_video = IndexVideos.require_no_video

    def __init__(self, place, **options):
        self.folder, self.rows = place, {}
        for number in range(3):
            path = os.path.join(place, f"{number}.mp4")
            status = os.stat(path) if os.path.exists(path) else os.stat(place)
            self.rows[str(number)] = FileRow(
                str(number), place, f"{number}.mp4".encode(), status.st_size, status.st_mtime_ns
            )
        searcher = types.SimpleNamespace(files=self.rows)
        self._state = types.SimpleNamespace(get_searcher=lambda: searcher)

    def search(self, text, k, **options):
        moments = [
            Moment(
                file=index_module.Path(self.folder, f"{number}.mp4"), start=0.0, end=0.5, at=0.0,
                score=0.3, percentile=99.0, window=f"{number}-00000", file_id=str(number),
                copies=(),
            )
            for number in range(3)
        ]  # fmt: skip
        return Results(query=text, moments=moments, confident=True, searched=3, message="")

    def stats(self):
        return types.SimpleNamespace(outdated=0)

    def locate(self, file_id):
        return find_source("", [self.rows[file_id]])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of two videos, one of them no video, in place of an index; all is done here."""
    toy_index.decode_here(monkeypatch)
    monkeypatch.setattr(index_module, "VideoIndex", FakeIndex)
    write_grey_video(tmp_path / "0.mp4", range(8))
    (tmp_path / "1.mp4").write_text("a page")
    (tmp_path / ".tempme").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempme_jax.search.paths.find_place", lambda place: (str(tmp_path), None))
    return tmp_path


def search(*options, code=0):
    result = click.testing.CliRunner().invoke(main, ["search", "a", "cat", *options])
    assert result.exit_code == code, result.output
    return result


def test_saving_what_can_be_saved(place):
    out = place / "clips"
    result = search("--save", "clips", "--reel", "reel.mp4", "--json", code=1)
    saved = json.loads(result.stdout)["saved"]
    # Clips among the videos are copies, which the next run does not index.
    assert (out / ".tempmeignore").read_text().splitlines()[-1] == "*"
    names = [name for name in os.listdir(out) if name != ".tempmeignore"]
    assert len(names) == 1 and names[0].startswith("0 0m00s-0m00.5s ")
    assert [one["file"] for one in saved] == [
        f"clips/{names[0]}",
        None,
        None,
        "reel.mp4",
        None,
        None,
    ]
    assert "1.mp4: not a video (text)" in result.stderr and "2.mp4: is gone" in result.stderr
    assert "Error: 4 moments could not be saved" in result.stderr
    before = (out / names[0]).stat()
    again = search("--save", "clips", "--format", "csv", code=1)
    assert "is there already" in again.stderr and (out / names[0]).stat() == before
    assert again.stdout.startswith("file,start")
    assert sorted(os.listdir(place)) == [".tempme", "0.mp4", "1.mp4", "clips", "reel.mp4"]


@pytest.mark.parametrize("option", ["--save", "--reel"])
def test_an_empty_path(place, option):
    told = search(option, "", code=2).stderr
    assert f"Invalid value for '{option}': the path is empty" in told


def test_a_video_of_the_index_is_never_replaced(place):
    before = (place / "1.mp4").read_bytes()
    os.symlink("1.mp4", place / "other.mp4")
    for name in ("1.mp4", "other.mp4"):
        refused = search("--reel", name, "--overwrite", code=1)
        assert f"Error: {name} is a video of the index; choose another name" in refused.stderr
    assert (place / "1.mp4").read_bytes() == before


def test_places_that_cannot_be_written(place):
    missing = search("--reel", "missing/reel.mp4", code=2)
    assert "--reel missing/reel.mp4: there is no folder missing" in missing.stderr
    below = search("--save", "0.mp4/clips", code=1)
    assert "0.mp4/clips cannot be written (Not a directory)" in below.stderr


def test_options_that_do_not_fit(place):
    (place / "reel.mp4").write_text("mine")
    for options, reason in [
        (["--reel", "reel.mp4"], "reel.mp4 exists; give another name, or --overwrite"),
        (["--reel", "reel.avi"], "write it reel.mp4"),
        (["--overwrite"], "--overwrite belongs to"),
        (["--json", "--format", "edl"], "not both"),
        (["--save", "0.mp4"], "is a file"),
    ]:
        assert reason in search(*options, code=2).stderr
    assert (place / "reel.mp4").read_text() == "mine"
