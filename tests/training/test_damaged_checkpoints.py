"""Damage on the disk is noticed: the checkpoint before is taken, or an error says what to do."""

import contextlib
import json
import shutil

import jax
import numpy as np
import optax
import pytest
import toy_run

import tempme_jax
from tempme_jax.training.checkpoint import (
    Checkpoints,
    read_progress,
    restore_newest,
    restore_selected,
)
from tempme_jax.training.checksums import Progress
from tempme_jax.training.model import load_trained
from tempme_jax.training.step import TrainState
from tempme_jax.training.workdir import WorkdirError

UPDATE = optax.adam(1e-3)


def state_of(step):
    rng = np.random.default_rng(step)
    array = jax.numpy.asarray(rng.normal(size=(30, 20)).astype(np.float32))
    params = {"layer": {"lora_a": array, "scale": jax.numpy.ones(()) * step}}
    return TrainState(jax.numpy.int32(step), params, UPDATE.init(params))


def progress_of(step):
    return Progress(step, 1.5 * step, 40.0, 2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for kind, steps in (("last", (2, 4)), ("best", (2,))):
        with contextlib.closing(Checkpoints(folder, kind)) as checkpoints:
            for step in steps:
                checkpoints.save(state_of(step), progress_of(step))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def resume(folder):
    """The step that a training resumes from, whose state is whole; then it saves the next."""
    with (
        contextlib.closing(Checkpoints(folder, "last")) as last,
        contextlib.closing(Checkpoints(folder, "best")) as best,
    ):
        state, progress = restore_newest(last, best, state_of(0))
        assert_same(state, state_of(progress.step))
        assert progress == progress_of(progress.step)
        for step in range(progress.step + 1, progress.step + 4):
            last.save(state_of(step), progress_of(step))
        last.wait()
        assert_same(last.read_newest(trainable=state.trainable)[0]["trainable"],
                    state_of(progress.step + 3).trainable)  # fmt: skip
    return progress.step


def list_files(folder):
    return sorted(file for file in folder.rglob("*") if file.is_file())


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 16
    file.write_bytes(data)


def test_a_flipped_bit_is_noticed_wherever_it_is(folder, capsys):
    """Among the files of the arrays, those that Orbax itself does not need may change."""
    checkpoint = folder / "last" / "4"
    whole = {file: file.read_bytes() for file in list_files(checkpoint)}
    noticed = 0
    with contextlib.closing(Checkpoints(folder, "last", writes=False)) as checkpoints:
        for number, file in enumerate(whole):
            flip(file, (0.45, 0.9)[number % 2])
            like = {"trainable": state_of(0).trainable, "optimizer": state_of(0).optimizer}
            found, progress = checkpoints.read_newest(**like)
            expected = state_of(progress.step)
            assert_same(found["trainable"], expected.trainable)
            assert_same(found["optimizer"], expected.optimizer)
            assert progress == progress_of(progress.step)
            told = capsys.readouterr().err
            assert ("last/4 is damaged (" in told) == (progress.step == 2)
            assert "Traceback" not in told
            noticed += progress.step == 2
            file.write_bytes(whole[file])
    assert noticed >= 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: shutil.rmtree(step / "trainable"),
        lambda step: shutil.rmtree(step / "progress"),
        lambda step: (step / "progress" / "metadata").write_text(""),
        lambda step: (step / "progress" / "metadata").write_bytes(bytes(50)),
        lambda step: (step / "progress" / "metadata").write_text('{"step": "4", "best": []}'),
        lambda step: (step / "progress" / "metadata").write_text("[4]"),
        lambda step: (step / "optimizer" / "_METADATA").write_text('{"tree_metadata": 3}'),
        lambda step: [file.write_bytes(b"") for file in list_files(step)],
        lambda step: [file.write_bytes(file.read_bytes()[:20]) for file in list_files(step)],
    ],
)  # fmt: skip
def test_training_resumes_from_the_checkpoint_before(folder, damage, capsys):
    damage(folder / "last" / "4")
    assert resume(folder) == 2
    told = capsys.readouterr().err
    assert "last/4 is damaged (" in told and "the one of step 2 is taken instead" in told
    assert "Traceback" not in told
    assert (folder / "damaged-last-4").is_dir()


@pytest.mark.parametrize("content", ["", "[]", '{"item_handlers": 3, "metrics": []}', None])
def test_what_only_describes_a_checkpoint_is_not_needed(folder, content):
    for file in folder.glob("last/*/_CHECKPOINT_METADATA"):
        file.unlink() if content is None else file.write_text(content)
    assert resume(folder) == 4


def test_progress_that_has_changed_is_noticed(folder):
    file = folder / "last" / "4" / "progress" / "metadata"
    file.write_text(file.read_text().replace('"best": 40.0', '"best": 90.0'))
    assert resume(folder) == 2


def test_without_an_intact_last_checkpoint_the_best_is_resumed(folder, capsys):
    for step in ("2", "4"):
        shutil.rmtree(folder / "last" / step / "optimizer")
    assert resume(folder) == 2
    assert "no checkpoint in" in (told := capsys.readouterr().err) and "best is taken" in told


def test_without_any_intact_one_an_error_says_what_to_do(folder):
    for step in folder.glob("*/[0-9]*"):
        shutil.rmtree(step / "trainable")
    with pytest.raises(WorkdirError, match=r"no checkpoint in .*last is intact: .* Restore this"):
        resume(folder)
    with pytest.raises(WorkdirError, match=r"no checkpoint in .*best is intact: .* Restore this"):
        restore_selected(folder, state_of(0).trainable)
    assert len(list(folder.glob("*/[0-9]*"))) == 3
    # The progress can still be read.
    assert read_progress(folder).step == 4


def test_a_damaged_best_one_is_sought_among_the_last(folder, capsys):
    shutil.rmtree(folder / "best" / "2" / "trainable")
    params, progress = restore_selected(folder, state_of(0).trainable)
    assert_same(params, state_of(2).trainable)
    assert progress.step == progress.best_step == 2
    assert "last/2 is taken instead" in capsys.readouterr().err
    shutil.rmtree(folder / "last" / "2" / "trainable")
    assert restore_selected(folder, state_of(0).trainable)[1].step == 4
    assert "last/4 is taken instead" in capsys.readouterr().err


def test_a_damaged_one_of_the_same_step_is_replaced(folder):
    shutil.rmtree(folder / "best" / "2" / "trainable" / "ocdbt.process_0")
    with contextlib.closing(Checkpoints(folder, "best")) as best:
        best.save(state_of(2), progress_of(2))
        best.wait()
        found, _ = best.read(2, trainable=state_of(0).trainable)
        assert_same(found["trainable"], state_of(2).trainable)


def test_checkpoints_of_an_earlier_version_are_taken(folder):
    for file in folder.glob("*/*/progress/metadata"):
        about = json.loads(file.read_text())
        file.write_text(json.dumps({k: about[k] for k in ("step", "seconds", "best", "best_step")}))
    assert resume(folder) == 4


@pytest.mark.parametrize("kind", ["last", "best"])
def test_files_in_place_of_folders(folder, kind):
    shutil.rmtree(folder / kind)
    (folder / kind).write_text("")
    with pytest.raises(WorkdirError, match=f"{kind} must be a folder of checkpoints"):
        resume(folder)
    with pytest.raises(WorkdirError, match=f"{kind} must be a folder of checkpoints"):
        read_progress(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture
def workdir(home, tmp_path):
    return shutil.copytree(toy_run.finish_whole(home), tmp_path / "run")


def test_a_damaged_best_checkpoint_is_not_loaded_without_a_word(workdir, capsys):
    whole = load_trained(workdir)
    [best] = (workdir / "best").iterdir()
    for file in list_files(best / "trainable"):  # which of them Orbax needs differs
        for place in (0.3, 0.5, 0.7) if file.parent.name == "d" else ():
            flip(file, place)
    model = tempme_jax.load(workdir)
    assert "is damaged (" in capsys.readouterr().err
    if (workdir / "last" / best.name).exists():
        assert_same(model.params, whole.params)
