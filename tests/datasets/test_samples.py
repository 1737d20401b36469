"""The samples are written, kept, and found by the model that comes with the package."""

import csv

import click.testing
import numpy as np
import pytest

import tempme_jax
from tempme_jax.cli import main
from tempme_jax.datasets import moving_shapes, shapes

MOTIONS = shapes.list_motions()
# Ten videos with their reverses, of all colours and shapes.
PAIRS = [(i, MOTIONS.index(m.reverse)) for i, m in enumerate(MOTIONS) if m < m.reverse][::5]


def name_file(number):
    return f"{number:02}-00.mp4"


def run_tempme(*words, code=0):
    result = click.testing.CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Samples of which those of the ten pairs were missing; the others are empty files."""
    made = tmp_path_factory.mktemp("samples") / "some samples"
    made.mkdir()
    for number in set(range(96)) - set(sum(PAIRS, ())):
        (made / name_file(number)).touch()
    told = run_tempme("data", "samples", made)
    assert f"96 videos and captions.csv. Next:\n  tempme index '{made}' --model tiny-tempme" in told
    assert f"tempme search \"a red circle moves right then up\" --index '{made}'" in told
    return made


def test_samples_are_the_test_split(folder):
    with open(folder / "captions.csv", encoding="utf-8", newline="") as file:
        said = {row["file"]: row["caption"] for row in csv.DictReader(file)}
    assert list(said.values()) == [motion.caption for motion in MOTIONS]
    assert {file.name for file in folder.iterdir()} == said.keys() | {"captions.csv"}
    videos = moving_shapes.write_samples(folder)
    assert videos[5].id == "test-05-00"
    assert {video.file.name: video.captions[0] for video in videos} == said


def test_samples_are_kept(folder):
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.mp4")}
    made = {name_file(number) for pair in PAIRS for number in pair}
    assert {name for name, size in sizes.items() if size} == made
    lost = folder / name_file(PAIRS[0][0])
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    content = lost.read_bytes()
    lost.unlink()
    run_tempme("data", "samples", folder)
    assert lost.read_bytes() == content
    assert [file for file, time in before.items() if file.stat().st_mtime_ns != time] == [lost]


def test_captions_of_other_videos_are_kept_too(tmp_path):
    (tmp_path / "captions.csv").write_text("file,caption\ncat.mp4,a cat\n", encoding="utf-8")
    assert "captions.csv is of other videos" in run_tempme("data", "samples", tmp_path, code=1)
    assert [file.name for file in tmp_path.iterdir()] == ["captions.csv"]


def test_the_tiny_tempme_tells_a_sample_from_its_reverse(folder):
    model = tempme_jax.load("tiny-tempme")
    assert (model.method, model.num_frames, model.max_words) == ("tempme", 8, 12)
    videos = model.embed_video([folder / name_file(number) for pair in PAIRS for number in pair])
    texts = model.embed_text([MOTIONS[number].caption for number, _ in PAIRS])
    found = (texts @ videos.T).argmax(axis=1)
    assert len(found) == 10
    assert (found == 2 * np.arange(10)).sum() >= 8
