"""A workdir, saved models and an index of the first version open, and mean what they meant.

`fixtures/saved_0_1.tar.xz` was written before the package got its folders. `expected.npz` in it
holds what that version embedded and found.
"""

import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from repository import FIXTURES

import tempme_jax
from tempme_jax.training.flags import build_config
from tempme_jax.training.result_tables import print_results
from tempme_jax.training.results import read_results
from tempme_jax.training.workdir import open_workdir, read_config
from tempme_jax.weights.files import load_weights

ARCHIVE = FIXTURES / "saved_0_1.tar.xz"
TEXTS = ["a red circle", "two words"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "saved"


@pytest.fixture(scope="module")
def expected(saved):
    with np.load(saved / "expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    "name, source",
    [
        ("workdir", "workdir"),
        ("trained", "trained.safetensors"),
        ("model", "model.safetensors"),
    ],
)
def test_saved_models_embed_as_they_did(saved, expected, name, source):
    model = tempme_jax.load(saved / source)
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3)).astype(np.uint8)
    np.testing.assert_allclose(model.embed_video(frames), expected[f"{name}_video"], atol=1e-5)
    np.testing.assert_allclose(model.embed_text(TEXTS), expected[f"{name}_text"], atol=1e-5)


@pytest.mark.parametrize("name", ["trained", "model"])
def test_a_saved_model_saved_again_says_what_was_given_and_folded(saved, tmp_path, name):
    """Version 0.1 saved only settled options, and deduced both from them."""
    model = tempme_jax.load(saved / f"{name}.safetensors")
    old = load_weights(saved / f"{name}.safetensors").settings
    model.save(tmp_path / "new.safetensors")
    new = load_weights(tmp_path / "new.safetensors").settings
    assert "given" not in old and new["given"] == model.options
    assert {key: new[key] for key in old} == old
    again = tempme_jax.load(tmp_path / "new.safetensors")
    assert (again.network, again.options) == (model.network, model.options)


def test_a_workdir_can_be_continued_and_printed(saved, tmp_path, capsys):
    workdir = shutil.copytree(saved / "workdir", tmp_path / "workdir")
    config = build_config(read_config(workdir))
    assert open_workdir(workdir, config) == workdir
    results = read_results(workdir)
    assert results["method"] == "tempme" and results["step"] == 4
    print_results([results])
    assert "tempme" in capsys.readouterr().out


def test_an_index_is_searched_and_brought_up_to_date(saved, expected, tmp_path):
    videos = shutil.copytree(saved / "videos", tmp_path / "videos")
    for file in videos.rglob("*.mp4"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns))
    index = tempme_jax.VideoIndex(videos, model=tempme_jax.load(saved / "trained.safetensors"))
    moments = index.search("a red circle", k=5).moments
    files = [Path(moment.file).relative_to(videos).as_posix() for moment in moments]
    assert files == list(expected["files"])
    figures = [[moment.start, moment.end, moment.score] for moment in moments]
    np.testing.assert_allclose(figures, expected["moments"], atol=1e-4)
    report = index.add(videos, quiet=True)
    assert (report.embedded, len(report.failures)) == (0, 1)
    assert index.verify().problems == []


def test_a_testa_of_before_merges_frames_as_it_did(tmp_path):
    """Class tokens then attended across frames and voted, and the mean similarity counted."""
    model = tempme_jax.create(
        width=16, heads=2, depth=3, text_width=12, text_heads=2, text_depth=1, embed_dim=8,
        image_size=24, patch=8, vocab_size=30, context_length=16, num_frames=4, max_words=6,
        method="testa", method_options={"gate": False, "vote": "mean", "classes_across": True},
    )  # fmt: skip
    model.save(tmp_path / "new.safetensors")
    with safetensors.safe_open(tmp_path / "new.safetensors", "np") as file:
        about = json.loads(file.metadata()["tempme_jax"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    del about["settings"]["options"]["classes_across"]
    about["settings"]["given"] = {"gate": False}
    metadata = {"tempme_jax": json.dumps(about)}
    safetensors.numpy.save_file(arrays, tmp_path / "old.safetensors", metadata)

    old = tempme_jax.load(tmp_path / "old.safetensors")
    assert old.reducer == model.reducer
    assert old.options == {"gate": False, "vote": "mean", "classes_across": True}
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 24, 24, 3)).astype(np.uint8)
    np.testing.assert_array_equal(old.embed_video(frames), model.embed_video(frames))
    longer = tempme_jax.load(tmp_path / "old.safetensors", num_frames=5)
    assert (longer.reducer.vote, longer.reducer.classes_across) == ("mean", True)
    other = tempme_jax.load(tmp_path / "old.safetensors", method_options={"vote": "min"})
    assert (other.reducer.vote, other.reducer.classes_across) == ("min", True)


def test_a_workdir_of_testa_of_before_says_what_it_meant(saved, tmp_path):
    workdir = shutil.copytree(saved / "workdir", tmp_path / "workdir")
    config = json.loads((workdir / "config.json").read_text())
    config["model"] |= {"method": "testa", "options": {"vote": "min", "r": 1}}
    (workdir / "config.json").write_text(json.dumps(config))
    options = read_config(workdir)["model"]["options"]
    assert options == {"vote": "min", "r": 1, "classes_across": True}
