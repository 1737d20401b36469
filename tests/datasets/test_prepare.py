"""A set is prepared once, as a whole, whatever comes between, or an error says what to do."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from repository import ROOT, SUPPORT
from video_files import make_listed_set, make_video_entry, write_grey_video

from tempme_jax.datasets.base import Storage, Video
from tempme_jax.datasets.prepare import PreparationError, prepare
from tempme_jax.datasets.prepared import Prepared

LOST = Video(id="lost", file=None, captions=("x",), looked_for="lost.mp4 or lost.avi")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Seven small videos."""
    folder = tmp_path_factory.mktemp("videos")
    return [make_video_entry(write_grey_video(folder / f"{i}.mp4", range(4 + i))) for i in range(7)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "empty.mp4"
    path.touch()
    return make_video_entry(path)


def prepare_here(builder, **options):
    """Prepare in one process, two videos to a shard."""
    return prepare(builder, **{"workers": 1, "videos_per_shard": 2, "quiet": True} | options)


def read_files(builder):
    folder = Path(builder.data_dir)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_splits_are_stored(tmp_path, videos):
    builder = make_listed_set(tmp_path, train=videos[:5], test=videos[5:])
    seen = []
    builder.download_and_prepare(
        workers=1, videos_per_shard=2, quiet=True, report=lambda *numbers: seen.append(numbers)
    )
    assert builder.is_prepared()
    assert seen == [(i + 1, 0, 7) for i in range(7)]
    assert sorted(read_files(builder)) == [
        "dataset_info.json",
        "features.json",
        *(f"listed-test.array_record-{i:05}-of-00001" for i in range(1)),
        *(f"listed-train.array_record-{i:05}-of-00003" for i in range(3)),
        "report.json",
        "source.json",
        "test.jsonl",
        "train.jsonl",
    ]
    source = tfds.builder_from_directory(builder.data_dir).as_data_source("train")
    assert [record["video_id"].decode() for record in source] == [v.id for v in videos[:5]]
    assert len(builder.as_data_source("test")) == 2


def test_a_complete_set_is_left_alone(tmp_path, videos):
    builder = make_listed_set(tmp_path, test=videos[:2])
    report = prepare_here(builder)
    before = read_files(builder)
    assert prepare_here(builder, decode=None) == report
    assert read_files(builder) == before


def test_progress_is_shown(tmp_path, videos, empty, capsys):
    prepare_here(make_listed_set(tmp_path, test=[*videos[:2], empty]), quiet=False, max_bad=1)
    assert "Preparing listed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"captions": ("a dog",)},
        {"id": "other"},
        {"start": 0.1},
        {"group": "same"},
    ],
)
def test_other_annotations_are_an_error(tmp_path, videos, change):
    builder = make_listed_set(tmp_path, test=videos[:1])
    prepare_here(builder)
    builder.listed = {"test": [dataclasses.replace(videos[0], **change)]}
    with pytest.raises(PreparationError, match=r"'test' changed .*Delete that folder"):
        prepare_here(builder)


def test_a_root_that_is_not_there_is_an_error_also_for_a_prepared_set(tmp_path, videos):
    builder = make_listed_set(tmp_path, test=videos[:1])
    report = prepare_here(builder)
    builder.root = tmp_path / "elsewhere"
    with pytest.raises(PreparationError, match=r"elsewhere: no such folder, .*copy them to the"):
        prepare_here(builder)
    builder.root = videos[0].file
    with pytest.raises(PreparationError, match="0.mp4: is not a folder, where the annotations"):
        prepare_here(builder)
    builder.MAKES_ITSELF = True  # a set whose videos are the same below every root
    builder.root = tmp_path / "elsewhere"
    assert prepare_here(builder) == report


def test_a_set_is_used_without_its_videos_and_at_another_place(tmp_path, videos):
    builder = make_listed_set(tmp_path, test=videos[:2])
    report = prepare_here(builder)
    builder.root = tmp_path / "moved"
    builder.root.mkdir()
    builder.listed["test"] = [dataclasses.replace(v, file=None) for v in videos[:2]]
    assert prepare_here(builder) == report


def test_replaced_videos_are_an_error(tmp_path, videos):
    """The annotations may be the same for other videos."""
    builder = make_listed_set(tmp_path, test=videos[:2])
    prepare_here(builder)
    builder.listed["test"] = [videos[0], dataclasses.replace(videos[1], file=videos[5].file)]
    with pytest.raises(PreparationError, match=r"1 video with another file, such as .*1.mp4"):
        prepare_here(builder)


def test_a_subset_is_only_used_by_who_accepts_it(tmp_path, videos, empty):
    builder = make_listed_set(tmp_path, test=[*videos[:3], LOST, empty])
    prepare_here(builder, missing="skip", max_bad=0.5)
    prepare_here(builder, missing="skip", max_bad=0.5)
    with pytest.raises(PreparationError, match="without 1 videos that were missing, such as lost"):
        prepare_here(builder, max_bad=0.5)
    with pytest.raises(PreparationError, match="1 of 5 videos of the split 'test' are bad"):
        prepare_here(builder, missing="skip")


def test_a_set_of_an_earlier_version_is_taken_and_gets_its_hashes(tmp_path, videos, capsys):
    builder = make_listed_set(tmp_path, test=videos[:2])
    folder = Path(builder.data_dir)
    prepare_here(builder)
    now = read_files(builder)
    make_old(folder)
    prepare_here(builder, quiet=False)
    assert "could not be checked" in capsys.readouterr().err
    assert read_files(builder) == now
    prepare_here(builder, quiet=False)
    assert capsys.readouterr().err == ""


FILE_FIELDS = ("bytes", "samples", "mtime_ns")


def make_old(folder):
    """Remove what version 0.1 did not note."""
    (folder / "source.json").unlink()
    report = json.loads((folder / "report.json").read_text())
    for split, figures in report.items():
        del figures["lines"]
        lines = map(json.loads, (folder / f"{split}.jsonl").read_text().splitlines())
        lines = [{k: v for k, v in line.items() if k not in FILE_FIELDS} for line in lines]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text)
    (folder / "report.json").write_text(json.dumps(report, indent=2))


@pytest.mark.parametrize("name", ["report.json", "test.jsonl", "source.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"test": []}', b"\xff{}", None])
def test_damaged_files_are_named(tmp_path, videos, name, content):
    builder = make_listed_set(tmp_path, test=videos[:2])
    prepare_here(builder)
    file = Path(builder.data_dir) / name
    file.write_bytes(file.read_bytes()[:-9] + b"\n" if content is None else content)
    with pytest.raises(PreparationError, match=rf"{name}.*; delete .* to prepare the set anew"):
        prepare_here(builder)


def test_missing_videos(tmp_path, videos):
    builder = make_listed_set(tmp_path, test=[*videos[:2], LOST])
    with pytest.raises(PreparationError) as caught:
        prepare_here(builder)
    assert str(caught.value) == (
        f"1 of 3 videos of listed are not under {tmp_path}: lost (lost.mp4 or lost.avi). Run "
        '`tempme data doctor listed` to see all, or pass missing="skip" to continue without them'
    )
    assert not Path(builder.data_dir).exists()
    report = prepare_here(builder, missing="skip")["test"]
    assert (report["expected"], report["listed"], report["prepared"]) == (3, 3, 2)
    assert report["missing"] == [{"id": "lost", "looked_for": "lost.mp4 or lost.avi"}]
    builder.listed["test"][2] = dataclasses.replace(LOST, file=videos[3].file)
    with pytest.raises(PreparationError, match="1 videos that were missing are there now"):
        prepare_here(builder)
    with pytest.raises(
        ValueError, match="unknown value of missing: 'ignore'; there are: error, skip"
    ):
        prepare_here(builder, missing="ignore")


def test_too_many_bad_videos(tmp_path, videos, empty):
    builder = make_listed_set(tmp_path, test=[empty, *videos[:3]])
    with pytest.raises(PreparationError, match=r"1 of 4 videos of the split 'test' are bad"):
        prepare_here(builder)
    assert not builder.is_prepared()
    report = json.loads((Path(builder.data_dir) / "report.json").read_text())["test"]
    assert report["prepared"] == 3
    (bad,) = report["bad"]
    assert (bad["id"], bad["file"]) == ("empty.mp4", str(empty.file))
    assert bad["reason"] == "an empty file"
    decoded = []
    prepare_here(builder, max_bad=0.25, report=lambda *numbers: decoded.append(numbers))
    assert decoded == []  # it was all there
    assert len(Prepared(builder.data_dir, "test")) == 3


def test_replaced_files_and_other_limits_are_tried_again(tmp_path, videos):
    path = tmp_path / "late.mp4"
    path.touch()
    builder = make_listed_set(tmp_path, test=[make_video_entry(path), *videos[:3]])
    decoded = []
    for options in ({}, {}, {"seconds_per_video": 50}):
        decoded.append(0)
        with pytest.raises(PreparationError, match="are bad"):
            prepare_here(builder, **options, report=lambda *numbers: decoded.append(numbers[0]))
    # The shard with the bad one of two is done again only where something may have changed.
    assert decoded == [0, 1, 2, 3, 4, 0, 0, 3, 4]
    path.write_bytes(videos[5].file.read_bytes())
    assert prepare_here(builder)["test"]["prepared"] == 4
    assert Prepared(builder.data_dir, "test").ids[0] == "late.mp4"


def test_splits_without_videos(tmp_path, videos, empty):
    with pytest.raises(PreparationError, match="no video for the split 'test'"):
        prepare_here(make_listed_set(tmp_path, train=videos, test=[]))
    with pytest.raises(PreparationError, match="1 of 1 videos .* and 0 prepared"):
        prepare_here(make_listed_set(tmp_path, test=[empty]), max_bad=1)
    with pytest.raises(PreparationError, match="'0.mp4' 2 times"):
        prepare_here(make_listed_set(tmp_path, test=[videos[0], videos[0]]))


PROGRAM = """
import pathlib, sys
from video_files import make_video_entry, make_listed_set
from tempme_jax.datasets.prepare import prepare
folder, *files = map(pathlib.Path, sys.argv[1:])
builder = make_listed_set(folder, test=[make_video_entry(file) for file in files])
def report(done, bad, total):
    print(done, flush=True)
    if done == 5:
        input("waits to be killed")
prepare(builder, workers=2, videos_per_shard=2, quiet=True, report=report)
"""


def start_preparation(folder, videos):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, *(video.file for video in videos)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)])},
        text=True,
    )


def test_goes_on_after_a_kill(tmp_path, videos):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = (make_listed_set(tmp_path / name, test=videos) for name in ("whole", "killed"))
    prepare_here(whole)
    with start_preparation(tmp_path / "killed", videos) as process:
        while process.stdout.readline() != "5\n":
            assert process.poll() is None
        with pytest.raises(PreparationError, match=f"is being prepared by process {process.pid} "):
            prepare_here(killed)
        process.send_signal(signal.SIGKILL)
    assert not killed.is_prepared()
    folder = Path(killed.data_dir)
    (folder / "unfinished-1").mkdir()  # as earlier versions left
    (folder / ".listed-test.array_record-00003-of-00004.99").touch()
    decoded = []
    prepare_here(killed, report=lambda *numbers: decoded.append(numbers))
    assert decoded == [(5, 0, 7), (6, 0, 7), (7, 0, 7)]
    expected = read_files(whole) | {"source.json": read_files(killed)["source.json"]}
    assert read_files(killed) == expected


def test_shards_of_other_annotations_are_done_again(tmp_path, videos, empty):
    builder = make_listed_set(tmp_path, test=[*videos[:6], empty])
    with pytest.raises(PreparationError, match="are bad"):
        prepare_here(builder)
    builder.listed["test"] = videos[2:4]
    prepare_here(builder)
    assert Prepared(builder.data_dir, "test").ids == ["2.mp4", "3.mp4"]
    records = [name for name in read_files(builder) if "array_record" in name]
    assert records == ["listed-test.array_record-00000-of-00001"]


def test_storage_has_a_name():
    assert Storage().name == "default-224px-1fps-12to64"
    storage = Storage(variant="9k", size=64, fps=None, least=8, quality=90)
    assert storage.name == "9k-64px-8even-q90"
    for wrong in ({"size": 0}, {"fps": 0}, {"least": 9, "most": 8}, {"quality": 101}):
        with pytest.raises(ValueError, match="must be"):
            Storage(**wrong)


def test_builder(tmp_path, videos):
    builder = make_listed_set(tmp_path, test=videos[:1])
    with pytest.raises(ValueError, match="no variant '9k'; it has default"):
        type(builder)(data_dir=tmp_path, root=tmp_path, config=Storage(variant="9k"))
    copy = pickle.loads(pickle.dumps(builder))
    assert (copy.data_dir, copy.root) == (builder.data_dir, tmp_path)
    ((key, record),) = builder._generate_examples(videos[:1])
    assert (key, record["times"]) == ("0.mp4", pytest.approx([0.0, 0.1, 0.2, 0.3]))
