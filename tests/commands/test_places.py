"""An index is found from the folders in it, and `tempme stats` tells what it holds."""

import json
import os
import subprocess
import sys

import click.testing
import pytest
import toy_index

from tempme_jax.cli import main
from tempme_jax.commands import group
from tempme_jax.search import paths
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """An indexed folder with a folder in it, and another in that one without videos."""
    folder = tmp_path_factory.mktemp("home") / "videos"
    toy_index.write_films(folder, {"a.mp4": "1", "sub/b.mp4": "2", "sub/c.mp4": "3"})
    (folder / "sub" / "deep").mkdir()
    (folder / "sub" / "bad.mp4").write_bytes(b"no video")
    file = folder.parent / "model.safetensors"
    toy_index.make_model().save(file)
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        tempme("index", folder, "--model", file, "--quiet")
    return folder


def tempme(*words, code=0):
    result = click.testing.CliRunner().invoke(main, list(map(str, words)), prog_name="tempme")
    assert result.exit_code == code, result.output
    return result


def list_found(*words):
    result = tempme("search", *words, "--json")
    found = json.loads(result.stdout)
    return sorted(os.path.basename(moment["file"]) for moment in found["moments"]), result.stderr


def test_from_a_folder_in_it_only_that_folder_is_searched(videos, monkeypatch):
    monkeypatch.chdir(videos / "sub")
    names, told = list_found("a", "red", "circle")
    assert names == ["b.mp4", "c.mp4"]
    assert f"In {videos / 'sub'}, of the index {videos / '.tempme'}\n" in told
    monkeypatch.chdir("deep")
    assert list_found("a red circle")[0] == []
    names, told = list_found("red", "--in", videos)
    assert names == ["a.mp4", "b.mp4", "c.mp4"] and "of the index" not in told
    monkeypatch.chdir(videos)
    names, told = list_found("red", "circle")
    assert names == ["a.mp4", "b.mp4", "c.mp4"] and "of the index" not in told
    assert list_found("red", "--index", videos / "sub")[0] == ["b.mp4", "c.mp4"]


def test_words_are_joined(videos, monkeypatch):
    monkeypatch.chdir(videos)
    assert json.loads(tempme("search", "red", "square", "--json").stdout)["query"] == "red square"
    told = tempme("search", "red", f"{videos}/", code=2).stderr
    assert f"{videos}/ is a folder; to search in it, write --index {videos}/" in told


def test_a_place(videos, tmp_path, monkeypatch):
    index = str(videos / ".tempme")
    assert paths.find_place(videos) == paths.find_place(index) == (index, None)
    assert paths.find_place(videos / "sub" / "deep") == (index, videos / "sub" / "deep")
    assert paths.find_place(videos / "nowhere") == (str(videos / "nowhere"), None)
    assert paths.find_place("s3://bucket/index") == ("s3://bucket/index", None)
    (tmp_path / "link").symlink_to(videos / "sub")
    assert paths.find_place(tmp_path / "link") == (index, videos / "sub")
    monkeypatch.chdir(videos / "sub")
    assert paths.find_place(None) == (index, videos / "sub")


def test_an_index_of_somebody_else_is_not_taken_by_mistake(videos, monkeypatch):
    monkeypatch.setattr(paths.os, "getuid", lambda: os.stat(videos).st_uid + 1)
    with pytest.raises(VideoIndexError, match="belongs to another user; if you trust it, name it"):
        paths.find_place(videos / "sub")
    assert paths.find_place(videos).folder is None


def test_a_part_is_brought_up_to_date_with_the_whole(videos, monkeypatch):
    toy_index.decode_here(monkeypatch)
    result = tempme("index", videos / "sub", "--quiet")
    assert f"{videos / 'sub'} is a part of {videos}, whose index is brought up" in result.stderr
    assert "3 unchanged" in result.stdout and not (videos / "sub" / ".tempme").exists()
    for option in (["--rebuild"], ["--forget"], ["--exclude", "b.mp4"]):
        told = tempme("index", videos / "sub", *option, code=2).stderr
        assert f"or give {videos / 'sub'} an index of its own: --index " in told


def test_an_index_of_other_folders_above_is_no_index_of_this_one(videos, tmp_path, monkeypatch):
    toy_index.decode_here(monkeypatch)
    folder = toy_index.write_films(tmp_path / "own", {"a.mp4": "4"})
    model = videos.parent / "model.safetensors"
    VideoIndex(tmp_path / ".tempme", model=str(model)).add(videos, quiet=True)
    tempme("index", folder, "--model", model, "--quiet")
    assert (folder / ".tempme").is_dir()
    assert VideoIndex(tmp_path / ".tempme").stats().folders == (str(videos),)


def test_serving_a_folder(videos, monkeypatch):
    served = []
    monkeypatch.setattr(
        "tempme_jax.search.serve.server.serve", lambda index, **_: served.append(index.uri)
    )
    assert tempme("serve", videos).stderr == ""
    told = tempme("serve", videos / "sub").stderr
    assert told == f"{videos / 'sub'} lies in an indexed folder, whose videos are all served\n"
    assert served == [str(videos / ".tempme")] * 2
    assert "not both" in tempme("serve", videos, "--index", videos, code=2).stderr


def test_what_an_index_holds(videos, monkeypatch):
    text = tempme("stats", videos).stdout
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if line[0] != " ")
    assert lines["Index"] == str(videos / ".tempme") and lines["Folder"] == str(videos)
    assert lines["Videos"].startswith("3 files, ") and lines["Failed"] == "1 file"
    assert f"  {videos / 'sub' / 'bad.mp4'}: not a video" in text
    assert lines["Model"].startswith(f"{videos.parent / 'model.safetensors'} (")
    assert lines["Size"].endswith(" kB") and lines["Last"].startswith("run  20")
    stats = VideoIndex(videos).stats()
    found = json.loads(tempme("stats", videos, "--json").stdout)
    assert (found["videos"], found["size"], found["last_run"]) == (3, stats.size, stats.last_run)
    assert [each["stage"] for each in found["failures"]] == ["open"]
    monkeypatch.chdir(videos / "sub" / "deep")
    assert "Videos    0 files" in tempme("stats").stdout
    (videos / ".tempme" / "failed.jsonl").rename(videos / "failed.jsonl")
    assert VideoIndex(videos).stats().last_run <= stats.last_run
    (videos / "failed.jsonl").rename(videos / ".tempme" / "failed.jsonl")
    assert "there is no index in" in tempme("stats", videos.parent, code=1).stderr


def test_python_runs_it_too(videos):
    command = [sys.executable, "-m", "tempme_jax", "stats", str(videos), "--nothing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "Usage: tempme stats" in done.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ModuleNotFoundError("No module named 'resource'", name="resource"),
            "needs Linux or macOS",
        ),
        (BrokenPipeError(32, "Broken pipe"), ""),
    ],
)
def test_errors_of_the_system(error, told):
    @click.command()
    def fail():
        raise error

    commands = group.Group("commands")
    commands.add_command(fail)
    result = click.testing.CliRunner().invoke(commands, ["fail"])
    assert result.exit_code == 1 and told in result.stderr and bool(told) == bool(result.stderr)
