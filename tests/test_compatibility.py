"""A workdir, saved models and an index of the first version open, and mean what they meant.

`fixtures/saved_0_1.tar.xz` was written before the package got its folders. `expected.npz` in it
holds what that version embedded and found.
"""

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
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
