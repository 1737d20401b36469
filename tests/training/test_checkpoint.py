"""Checkpoints hold what trains, and workdirs belong to one run."""

import contextlib
import dataclasses
import json
import re

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
import toy_run
from click.testing import CliRunner

import tempme_jax
from tempme_jax import cli
from tempme_jax.training.checkpoint import (
    Checkpoints,
    Progress,
    read_progress,
    restore_selected,
)
from tempme_jax.training.config import Config, DataSettings, ModelSettings, TrainSettings
from tempme_jax.training.metrics import measure_retrieval
from tempme_jax.training.order import make_pairs
from tempme_jax.training.sharding import make_mesh
from tempme_jax.training.split_embedder import SplitEmbedder
from tempme_jax.training.splits import open_split
from tempme_jax.training.step import TrainState
from tempme_jax.training.workdir import WorkdirError, open_workdir
from tempme_jax.weights.layouts import WeightsError

CONFIG = Config(model=ModelSettings(weights="x"))
UPDATE = optax.adam(1e-3)


def state_of(step):
    params = {"layer": {"lora_a": jax.numpy.full((3, 2), float(step)), "scale": jax.numpy.ones(())}}
    return TrainState(jax.numpy.int32(step), params, UPDATE.init(params))


def save(folder, kind, *steps):
    with contextlib.closing(Checkpoints(folder, kind)) as checkpoints:
        for step in steps:
            checkpoints.save(state_of(step), Progress(step, 1.5 * step, 40.0, 2))


def newest(folder, kind="last"):
    with contextlib.closing(Checkpoints(folder, kind)) as checkpoints:
        return checkpoints.restore(state_of(0))


def assert_same(tree, expected):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), tree, expected)


def test_the_newest_comes_back_as_it_was(tmp_path):
    assert newest(tmp_path) is None
    save(tmp_path, "last", 2, 4)
    state, progress = newest(tmp_path)
    assert_same(state, state_of(4))
    assert progress == Progress(4, 6.0, 40.0, 2)


def test_two_are_kept_and_one_best(tmp_path):
    save(tmp_path, "last", 1, 2, 3)
    save(tmp_path, "best", 1, 3)
    assert sorted(folder.name for folder in (tmp_path / "last").iterdir()) == ["2", "3"]
    assert [folder.name for folder in (tmp_path / "best").iterdir()] == ["3"]


def test_the_same_step_again_changes_nothing(tmp_path):
    save(tmp_path, "best", 3)
    save(tmp_path, "best", 3)
    assert_same(newest(tmp_path, "best")[0], state_of(3))


def test_what_was_not_complete_is_not_there(tmp_path):
    save(tmp_path, "last", 1)
    (tmp_path / "last" / "2.orbax-checkpoint-tmp").mkdir()
    assert newest(tmp_path)[1].step == 1
    assert [folder.name for folder in (tmp_path / "last").iterdir()] == ["1"]


def test_to_look_at_a_workdir_leaves_what_a_run_is_writing(tmp_path):
    save(tmp_path, "last", 1)
    writing = tmp_path / "last" / "2.orbax-checkpoint-tmp"
    writing.mkdir()
    assert restore_selected(tmp_path, state_of(0).trainable)[1].step == 1
    assert read_progress(tmp_path).step == 1
    assert writing.is_dir()
    assert not (tmp_path / "best").exists()


def test_the_best_is_selected_before_the_last(tmp_path):
    assert restore_selected(tmp_path, state_of(0).trainable) is None
    assert read_progress(tmp_path) == Progress()
    save(tmp_path, "last", 1, 2)
    assert restore_selected(tmp_path, state_of(0).trainable)[1].step == 2
    save(tmp_path, "best", 1)
    params, progress = restore_selected(tmp_path, state_of(0).trainable)
    assert_same(params, state_of(1).trainable)
    assert progress.step == 1
    assert read_progress(tmp_path).step == 2


def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path, capsys):
    save(tmp_path, "last", 1, 2)
    for file in (tmp_path / "last" / "2" / "trainable").rglob("*"):
        if file.is_file():
            file.unlink()
    assert newest(tmp_path)[1].step == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r".*last/2 is damaged \(.*\); the one of step 1 is taken instead\n", err)


def test_a_workdir_is_made_with_its_settings(tmp_path):
    folder = open_workdir(tmp_path / "some" / "run", CONFIG)
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert json.loads((folder / "config.json").read_text()) == CONFIG.to_json()


def changed(**settings):
    return dataclasses.replace(CONFIG, **settings)


def test_a_workdir_of_other_settings_is_refused_with_what_differs(tmp_path):
    open_workdir(tmp_path, CONFIG)
    save(tmp_path, "last", 1)
    other = changed(seed=7, train=TrainSettings(batch_size=64))
    with pytest.raises(WorkdirError, match="seed was 42, is 7; train.batch_size was 128, is 64. C"):
        open_workdir(tmp_path, other)
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG.to_json()


def test_settings_that_change_no_result_may_differ(tmp_path):
    open_workdir(tmp_path, CONFIG)
    save(tmp_path, "last", 1)
    moved = changed(data=DataSettings(root="elsewhere", workers=2), profile=3)
    assert open_workdir(tmp_path, moved) == tmp_path


def test_a_workdir_without_a_checkpoint_takes_other_settings(tmp_path):
    open_workdir(tmp_path, CONFIG)
    open_workdir(tmp_path, changed(seed=7))
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 7


def test_settings_that_were_not_written_to_the_end_do_no_harm(tmp_path):
    (tmp_path / ".config.json.123").write_text('{"se')
    open_workdir(tmp_path, CONFIG)
    assert (tmp_path / "config.json").exists()


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WorkdirError, match=r"holds other files \(notes.txt\) and no config.json"):
        open_workdir(tmp_path, CONFIG)
    with pytest.raises(WorkdirError, match="notes.txt is not a folder; choose another --workdir"):
        open_workdir(tmp_path / "notes.txt", CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_settings_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkdirError, match="config.json cannot be read .*is not JSON"):
        open_workdir(tmp_path, CONFIG)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def workdir(home):
    return toy_run.finish_whole(home)


@pytest.fixture(scope="module")
def model(workdir):
    return tempme_jax.load(workdir)


def test_a_run_saves_only_what_trains_and_its_optimizer(workdir, model):
    arrays, _ = toy_run.read_arrays(workdir, "last")
    trainable = sum(a.size for name, a in arrays.items() if name.startswith("['trainable']"))
    assert trainable == sum(leaf.size for leaf in jax.tree.leaves(model.trainable))
    optimizer = sum(a.size for name, a in arrays.items() if name.startswith("['optimizer']"))
    assert 2 * trainable < optimizer < 2 * trainable + 8  # two moments, and counts


def test_load_opens_the_best_with_the_vectors_of_its_evaluation(home, workdir, model):
    found = json.loads((workdir / "results.json").read_text())
    assert found["step"] == toy_run.read_arrays(workdir, "best")[1]
    assert found["training"]["steps"] == 12
    config = toy_run.make_config(home)
    prepared = open_split(config.data, "test")
    queries = make_pairs(prepared.captions, prepared.groups)
    embedder = SplitEmbedder(model, model.params, config, make_mesh(-1, 1))
    texts, videos = embedder.embed_texts(list(queries.texts)), embedder.embed_videos(prepared)
    ours = model.embed_text(list(queries.texts))
    np.testing.assert_allclose(ours, texts, rtol=0, atol=1e-6)
    measured = measure_retrieval(ours @ videos.T, queries.video, ties="average")
    for direction in ("text_to_video", "video_to_text"):
        assert measured[direction]["R-Sum"] == found[direction]["R-Sum"]
        assert measured[direction]["MnR"] == found[direction]["MnR"]
        assert model.trained["scores"][direction]["MnR"] == found[direction]["MnR"]
    assert model.trained["measured"].startswith("folder") and str(home) not in str(model.trained)


def test_a_workdir_is_loaded_as_it_was_trained(workdir, tmp_path):
    with pytest.raises(ValueError, match="which has its own method and settings"):
        tempme_jax.load(workdir, method="lora")
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    with pytest.raises(WeightsError, match="holds no checkpoint yet; train with it first"):
        tempme_jax.load(tmp_path)


def test_export_writes_one_file_that_embeds_alike(workdir, model, tmp_path):
    file = tmp_path / "model.safetensors"
    result = CliRunner().invoke(cli.main, ["export", str(workdir), str(file)])
    assert result.exit_code == 0, result.output
    assert safetensors.numpy.load_file(file)
    exported = tempme_jax.load(file)
    np.testing.assert_array_equal(
        exported.embed_text("video 30 of many"), model.embed_text("video 30 of many")
    )
    assert exported.trained == model.trained


def test_a_workdir_of_which_nothing_trains_needs_no_checkpoint(workdir, tmp_path):
    """Plain CLIP opens as it was evaluated."""
    config = json.loads((workdir / "config.json").read_text())
    config["model"] |= {"method": "clip", "options": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = tempme_jax.load(tmp_path)
    assert (model.method, model.trainable) == ("clip", {})
