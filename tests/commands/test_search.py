"""`tempme index` and `tempme search` do what they are told, and say in a line what they cannot."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal

import click.testing
import pytest
import toy_index
from PIL import Image
from toy_index import write_films

from tempme_jax.cli import main
from tempme_jax.commands.index import parse_duration
from tempme_jax.commands.search import answer_prompt
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.query.mixing import MixedQuery
from tempme_jax.search.query.results import Moment
from tempme_jax.search.store import locking

SOME = {"a.mp4": "1", "b [red]\\[bold]:cat:\n\x1b[31m\u202e.mp4": "2", "deep/d.mp4": "long"}
SHOWN = "b [red]\\[bold]:cat:\ufffd\ufffd[31m\ufffd.mp4"
BAD = b"bad\xff.mp4"


@pytest.fixture
def here(monkeypatch):
    """Decodes in this process."""
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    toy_index.make_model().save(file)
    return file


@pytest.fixture(scope="module")
def indexed(model, tmp_path_factory):
    """A folder with an index, and what was printed; its videos were read in child processes."""
    folder = write_films(tmp_path_factory.mktemp("videos"), SOME)
    with open(os.path.join(os.fsencode(folder), BAD), "wb") as file:
        file.write(b"no video")
    return folder, tempme("index", folder, "--model", model)


@pytest.fixture
def folder(indexed, monkeypatch):
    """Where the index is, and where one is."""
    monkeypatch.chdir(indexed[0])
    return indexed[0]


def tempme(*words, code=0):
    result = click.testing.CliRunner().invoke(main, list(map(str, words)), prog_name="tempme")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def list_lines(stderr):
    """The lines on standard error but those that say what is being done."""
    return [line for line in stderr.splitlines() if not line.endswith("...")]


def error(*words, code=1):
    """The line that it says is wrong."""
    result = tempme(*words, code=code)
    assert result.stdout == ""
    *usage, line = list_lines(result.stderr)
    assert code == 2 or usage == []
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def moments(*words):
    return json.loads(tempme("search", *words, "--json").stdout)["moments"]


def names(found):
    return sorted(os.path.basename(moment["file"]) for moment in found)


def test_what_an_index_says(indexed):
    folder, result = indexed
    first, *failed, last, search, serve = result.stdout.splitlines()
    assert first.startswith("3 videos indexed (16 s, 9 windows) in ")
    assert failed[0] == "1 file could not be indexed:"
    assert failed[1].startswith("  bad\ufffd.mp4: not a video")
    file = folder / ".tempme" / "failed.jsonl"
    assert last == f"All of them are listed in {file}"
    place = shlex.quote(str(folder))
    assert search == f'Next: tempme search "what is to be seen" --index {place}'
    assert serve == f"  or: tempme serve {place} --open"
    [line] = file.read_text().splitlines()
    row = json.loads(line)
    assert (os.fsencode(row["file"]), row["stage"]) == (BAD, "open")
    assert failed[1].endswith(f": {row['reason']}")
    lines = result.stderr.splitlines()
    assert lines[:4] == [
        "Starting...", "Looking for videos...", "Opening the model...",
        "Embedding texts to compare scores with...",
    ]  # fmt: skip
    told, last = list_lines(result.stderr)
    assert told == "To embed: 3 videos, 16 s"
    assert last.endswith(".mp4: 0:16 of 0:16, 3 of 3 videos")


def test_excluding_for_one_run_and_the_report_as_json(folder, here):
    name = next(name for name in os.listdir(".") if os.fsencode(name) != BAD and name[-1] == "4")
    report = json.loads(tempme("index", ".", "--exclude", name, "--json", "--quiet").stdout)
    assert (report["withdrawn"], report["left_out"]) == (1, {"by --exclude": 1})
    assert [failure["file"] for failure in report["failures"]] == [os.fsdecode(BAD)]
    result = tempme("index", ".", "--exclude", "none/", "--quiet").stdout
    assert "--exclude none/ left nothing out" in result
    assert "'!' is not a pattern" in error("index", ".", "--exclude", "!")


def test_a_second_run(folder, here):
    before = signal.getsignal(signal.SIGTERM)
    result = tempme("index", ".")
    assert signal.getsignal(signal.SIGTERM) is before
    assert result.stdout.startswith("0 videos indexed (0 s, 0 windows) in 0 s, 3 unchanged\n")
    assert here == []
    assert "1 file could not be indexed" in result.stdout
    assert list_lines(tempme("index", ".", "--retry-failed").stderr) == []
    assert here == [("probe_file", os.fsdecode(BAD))]
    first = tempme("index", ".", "--verify").stdout.splitlines()[0]
    assert first == "3 files and 9 windows checked: no problems"


def test_a_table_of_moments(folder):
    result = tempme("search", "a red circle")
    lines = result.stdout.splitlines()
    rows = [line.split("   ") for line in lines if line.strip()[:1].isdigit()]
    assert sorted(row[1].strip() for row in rows) == ["a.mp4", SHOWN, "deep/d.mp4"]
    assert [row[0].strip() for row in rows] == ["1", "2", "3"]
    assert "\x1b" not in result.output and "\u202e" not in result.output
    assert "Weak match: " in lines[-1]
    assert result.stderr == ""


def test_a_long_path_is_shown_whole(folder, tmp_path, here, model):
    name = "x" * 200 + ".mp4"
    write_films(tmp_path, {name: "1"})
    tempme("index", tmp_path, "--model", model)
    shown = tempme("search", "a cat", "--index", tmp_path).stdout
    assert sum(len(part) for part in re.findall("x{5,}", shown)) == 200
    assert "…" not in shown


def test_moments_as_json(folder):
    result = json.loads(tempme("search", "a red circle", "--json").stdout)
    assert (result["query"], result["searched"], result["confident"]) == ("a red circle", 9, False)
    index = VideoIndex(folder)
    expected = index.search("a red circle").moments
    assert [(one["file"], one["window"]) for one in result["moments"]] == [
        (str(one.file), one.window) for one in expected
    ]
    assert result["moments"][0].keys() == {field.name for field in dataclasses.fields(Moment)}


def test_fewer_moments_and_those_of_a_folder(folder):
    assert names(moments("a cat")) == sorted(map(os.path.basename, SOME))
    assert moments("a cat", "-k", "1") == moments("a cat")[:1]
    for name in ("deep", folder / "deep", "./deep/"):
        assert names(moments("a cat", "--in", name)) == ["d.mp4"]
    assert moments("a cat", "--in", "nowhere") == []
    told = tempme("search", "a cat", "--in", "nowhere").stdout
    assert told == "Nothing to search: the index has no video in nowhere.\n"


def test_words_to_leave_out(folder):
    plain, without = moments("a cat"), moments("a cat", "--without", "snow, a dog ,")
    query = MixedQuery(text="a cat", without=("snow", "a dog"))
    found = VideoIndex(folder).search_mixed(query, per_video=2).moments
    assert [one["window"] for one in without] == [one.window for one in found]
    assert [one["score"] for one in without] != [one["score"] for one in plain]


def test_one_video_alone_and_names(folder):
    assert names(moments("a cat", "--in", "deep/d.mp4")) == ["d.mp4"]
    result = tempme("search", "deep", "--per-video", "1")
    assert "Names with these words:\n  deep/ (1 video)\n" in result.stdout
    assert "At most 1 of each video; --in VIDEO shows all of one.\n" in result.stdout
    assert "Names" not in tempme("search", "a shallow one").stdout


def test_an_index_that_is_named(folder, tmp_path, monkeypatch):
    found = moments("a cat")
    monkeypatch.chdir(tmp_path)
    for place in (folder, folder / ".tempme", os.path.relpath(folder)):
        assert moments("a cat", "--index", place) == found


def test_a_picture_and_a_clip(folder, tmp_path, here):
    [best] = moments("--clip", "a.mp4", "-k", "1")
    assert (best["file"], round(best["score"], 4)) == (str(folder / "a.mp4"), 1)
    assert best["verdict"] == "same" and " same " in tempme("search", "--clip", "a.mp4").stdout
    [best] = moments("--clip", "deep/d.mp4", "--from", "2", "--to", "6", "-k", "1")
    assert (best["file"], best["at"]) == (str(folder / "deep/d.mp4"), 2)
    assert round(best["score"], 4) == 1
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(VideoIndex(folder).thumbnail(best["window"]))
    assert len(moments("--image", picture)) == 3
    text = tempme("search", "--image", picture).stdout
    assert "deep/d.mp4" in text


def test_queries_that_cannot_be(folder, tmp_path, here):
    sentence = "give exactly one of TEXT, --image FILE and --clip FILE"
    assert error("search", code=2) == sentence
    assert error("search", "a cat", "--image", "x.jpg", code=2) == sentence
    assert error("search", "  ", code=2).startswith("the TEXT is empty")
    assert error("search", "--clip", "none.mp4") == f"{folder}/none.mp4: no such file"
    assert "not a regular file" in error("search", "--image", "")
    assert "not a picture that can be read" in error("search", "--image", "a.mp4")
    Image.new("RGB", (20, 20)).save(tmp_path / "picture.png")
    assert "not a video" in error("search", "--clip", tmp_path / "picture.png")
    long = f"{folder}/deep/d.mp4: 15.3 s long; nothing is left from 20 s on"
    assert error("search", "--clip", "deep/d.mp4", "--from", "20") == long
    for start, end in (("0:05", "3"), ("0", "0")):
        line = error("search", "--clip", "deep/d.mp4", "--from", start, "--to", end)
        assert "are not a part of a video" in line
    for time in ("-1", "nan", "inf", "1:2:3:4", ""):
        line = error("search", "--clip", "deep/d.mp4", "--from", time, code=2)
        assert f"{time!r} is not a time; write it in seconds, or like 1:30" in line
    assert "x>=1" in error("search", "a cat", "-k", "0", code=2)
    line = error("search", "--image", "a.mp4", "--without", "snow", code=2)
    assert line == "--without is for a TEXT; leave it out, or give a TEXT"
    line = error("search", "a cat", "--without", "snow", "--rerank", "2", code=2)
    assert line == "give --without or --rerank, not both"


@pytest.mark.parametrize("pressed", [KeyboardInterrupt, EOFError])
def test_interrupted_searches(folder, monkeypatch, pressed):
    """Ctrl-C ends with the status of a shell; Ctrl-D at the prompt is no mistake."""

    def press(*_, **options):
        raise pressed

    monkeypatch.setattr("tempme_jax.commands.search.is_terminal", lambda: True)
    for place in ("click.termui.visible_prompt_func", "tempme_jax.search.index.VideoIndex.search"):
        monkeypatch.setattr(place, press)
    if pressed is EOFError:
        answer_prompt(None)
        return
    with pytest.raises(KeyboardInterrupt):
        answer_prompt(None)
    assert tempme("search", "a cat", code=130).stderr == "Interrupted.\n"


def test_a_long_text_is_cut_with_a_warning(folder):
    result = tempme("search", " ".join(["cat"] * 10_000))
    [line] = result.stderr.splitlines()
    assert line.startswith("Warning: 1 of 1 texts did not fit and were cut.")
    assert "deep/d.mp4" in result.stdout


def test_no_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = error("search", "a cat")
    assert line.startswith(f"there is no index in {tmp_path}; `tempme index FOLDER` makes one")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "my videos").mkdir()
    (tmp_path / "my videos" / "a.mp4").touch()
    line = error("search", "a cat", "--index", "my videos")
    assert f"`tempme index '{tmp_path}/my videos'` makes one of the videos in it" in line
    line = error("search", "a cat", "--index", "my vidoes")
    assert line.endswith("/my vidoes does not exist (did you mean 'my videos'?)")


def test_folders_that_cannot_be_indexed(tmp_path, model):
    assert "there is no video in" in error("index", tmp_path, "--model", model)
    assert "nowhere does not exist" in error("index", tmp_path / "nowhere", "--model", model)
    (tmp_path / "file").touch()
    assert "is a file, not a folder; give a folder" in error("index", tmp_path / "file")
    hostile = tmp_path / os.fsdecode(b"\xff\x1b[31m")
    hostile.mkdir()
    assert "there is no video in" in error("index", hostile)


def test_models_that_cannot_be_opened(folder, tmp_path):
    assert "nowhere.safetensors' is not a file" in error(
        "index", folder, "--rebuild", "--model", "nowhere.safetensors"
    )
    other = tmp_path / "other.safetensors"
    toy_index.make_model("clip").save(other)
    for words in (("search", "a cat"), ("index", folder)):
        assert "another model (method tempme, not clip" in error(*words, "--model", other)
    assert "not of 8 at 1" in error("index", folder, "--frames", "8")
    assert "method tempme, not clip" in error("index", folder, "--method", "clip")
    assert len(moments("a cat")) == 3  # none of this has changed anything


def test_a_model_that_is_gone(folder, model, tmp_path):
    moved = tmp_path / "moved.safetensors"
    found = moments("a cat")
    shutil.move(model, moved)
    try:
        line = error("search", "a cat")
        assert str(model) in line and "name their new place with --model" in line
        assert moments("a cat", "--model", moved) == found
    finally:
        shutil.move(moved, model)


def test_an_index_that_is_being_written(folder):
    with locking.lock_index(folder / ".tempme"):
        line = error("index", folder)
        assert f"is being written by process {os.getpid()}" in line
        assert len(moments("a cat")) == 3  # searching goes on


@pytest.mark.parametrize("budget", ["", "0", "0s", "soon", "-1h", "1d", "1.2.3s", "nan"])
def test_budgets_that_are_none(folder, budget):
    line = error("index", folder, "--budget", budget, code=2)
    assert f"{budget!r} is not a duration; write it like 2h, 1h30m, 90m or 45s" in line


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 45), ("45s", 45), ("1h30m", 5400), (".5h", 1800), (" 2m ", 120)]
)
def test_budgets(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("shard", ["", "1", "2/2", "-1/2", "0/0", "1/2/3", "a/b"])
def test_shards_that_are_none(folder, shard):
    line = error("index", folder, "--shard", shard, code=2)
    assert f"{shard!r} is not a shard; four shards are 0/4, 1/4, 2/4 and 3/4" in line


def test_shards_budgets_and_starting_anew(tmp_path, model, here):
    folder = write_films(tmp_path / "videos", {f"{number}.mp4": str(number) for number in range(4)})
    place = tmp_path / "index"
    given = ("index", folder, "--index", place, "--quiet")
    for number in (0, 1):
        result = tempme(*given, "--model", model, "--shard", f"{number}/2", "--workers", "1")
        assert result.stderr == ""
        assert (place / f"failed-{number}-of-2.jsonl").read_text() == ""
    assert len(moments("a cat", "--index", place)) == 4
    first, last = tempme(
        *given, "--rebuild", "--model", model, "--budget", "0.000001s"
    ).stdout.splitlines()
    assert first.startswith("1 video indexed ")
    assert last == "The time is up: 3 videos left. Run the same command to resume."
    assert tempme(*given, "--verify").stdout.startswith("1 file and 1 window checked")
    assert not (folder / ".tempme").exists()


def test_verify_of_an_index_that_is_not_there_yet(tmp_path, model, here):
    write_films(tmp_path, {"a.mp4": "1"})
    told = tempme("index", tmp_path, "--verify", "--model", model, "--quiet").stdout
    assert told.startswith("1 video indexed ")


def test_an_interrupted_run_says_how_it_goes_on(tmp_path, model, here, monkeypatch):
    write_films(tmp_path, {"a.mp4": "1", "b.mp4": "2"})

    def interrupted(*_, **options):
        raise KeyboardInterrupt

    def interrupted_later(*_, **options):
        yield from ()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tempme_jax.search.indexing.run.embed_locally", interrupted_later)
        result = tempme("index", tmp_path, "--model", model, "--quiet", code=130)
        assert "Interrupted: 2 videos left. Run the same command to resume." in result.stdout
    with monkeypatch.context() as patch:
        patch.setattr("tempme_jax.search.indexing.run.survey_folder", interrupted)
        result = tempme("index", tmp_path, "--quiet", code=130)
        assert result.stderr == "Interrupted. Run the same command to resume.\n"
    assert tempme("index", tmp_path, "--quiet").stdout.startswith("2 videos indexed")


def test_after_a_repair_the_other_folders_are_named(tmp_path, model, here):
    place = tmp_path / "index"
    for name in ("one", "two"):
        folder = write_films(
            tmp_path / name, {"a.mp4": "1" if name == "one" else "2", "b.mp4": "3"}
        )
        tempme("index", folder, "--index", place, "--quiet", "--model", model)
    (tmp_path / "two" / "a.mp4").unlink()
    told = tempme("index", tmp_path / "one", "--index", place, "--quiet", "--verify").stdout
    assert f"Also index {tmp_path / 'two'} again, to embed its files" in told.splitlines()
    (tmp_path / "two" / "bad.mp4").write_bytes(b"no video")
    tempme("index", tmp_path / "two", "--index", place, "--quiet")
    told = tempme("index", tmp_path / "two", "--index", place, "--forget").stdout
    others = "1 file that could not be indexed"
    assert told == f"Removed from the index {place}: 1 video, and {others}\n"
