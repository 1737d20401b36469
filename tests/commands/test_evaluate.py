"""`tempme evaluate`: the model is MODEL's, the data and the protocol are the config's."""

import json
import re
import shutil

import click.testing
import pytest
import toy_run

import tempme_jax
from tempme_jax.cli import main
from tempme_jax.training.results import read_results

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def workdir(home):
    return toy_run.finish_whole(home)


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "model.safetensors"
    tempme_jax.load(workdir).save(file)
    return file


def evaluate(home, model, *words, config=toy_run.FILE, code=0):
    places = [f"--config.{name}={value}" for name, value in toy_run.list_places(home).items()]
    words = ["evaluate", model, f"--config={config}", *places, *words]
    result = click.testing.CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())  # without the breaks of long lines


def read_files(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_workdir_is_measured_as_its_run_was(home, workdir, tmp_path):
    before, file = read_files(workdir), tmp_path / "out.json"
    told = evaluate(home, workdir, "--output", file)
    assert read_files(workdir) == before
    found, results = read_results(file), read_results(workdir)
    for name in ("text_to_video", "video_to_text", "costs", "id_hash", "step", "dataset", "split"):
        assert found[name] == results[name]
    assert found["training"]["steps"] == results["training"]["steps"] == 12
    assert found["protocol"] == results["protocol"]
    assert "Embedding 8 videos and 8 texts of folder" in told
    assert "folder, test: 8 texts, 8 videos" in told and f"tempme: model {workdir}" in told
    assert "exists; give another name, or --overwrite" in evaluate(
        home, workdir, "--output", file, code=1
    )


def test_other_data_are_named_and_those_of_training_too(home, workdir, tmp_path):
    other = shutil.copytree(home / "videos", tmp_path / "other")
    captions = (other / "captions.csv").read_text().replace("validation", "train")
    captions = captions.replace("24.mp4,video 24 of many,train", "24.mp4,video 24,validation")
    (other / "captions.csv").write_text(captions)
    places = [f"--config.data.root={other}", f"--config.data.prepared={tmp_path}/prepared"]
    told = evaluate(home, workdir, *places)
    assert "checkpoint selected on validation of folder" in told and "TRAINED ON" not in told
    told = evaluate(home, workdir, "--config.data.test=train")
    assert "folder, train: 24 texts" in told and "TRAINED ON: 24 of 24" in told
    told = evaluate(home, workdir, "--config.data.test=validation")
    assert "which is what is measured here: NOT UNSEEN DATA" in told


def test_each_video_of_the_training_is_counted(home, workdir, tmp_path):
    """Under its own name and another one; the name alone with another file is said, too."""
    other = shutil.copytree(home / "videos", tmp_path / "other")
    train, test = ("00.mp4", "01.mp4", "02.mp4"), ("32.mp4", "33.mp4", "34.mp4")
    (other / train[0]).replace(other / test[0])  # the same file under the name of another one
    shutil.copy(other / test[1], other / train[2])
    rows = ["file,caption,split"]
    rows += [f"{name},a video,test" for name in (test[0], train[1], train[2], test[2])]
    rows += ["03.mp4,a video,train", "24.mp4,a video,validation"]
    (other / "captions.csv").write_text("\n".join(rows))
    places = [f"--config.data.root={other}", f"--config.data.prepared={tmp_path}/prepared"]
    told = evaluate(home, workdir, *places)
    assert "MEASURED ON VIDEOS THAT IT WAS TRAINED ON: 2 of 4" in told
    assert "1 of 4 videos are named as ones that it was trained on, but have other files" in told
    old = shutil.copytree(workdir, tmp_path / "old")
    (old / "trained_on.txt").write_text("0" * 16 + " -\n")
    assert "trained_on.txt lists the videos" in evaluate(home, old, *places, code=1)
    (old / "trained_on.txt").unlink()
    told = evaluate(home, old, *places)
    assert "whether it was trained on some of these videos is not known" in told
    assert "THAT IT WAS TRAINED ON" in evaluate(home, old, "--config.data.test=train")


def test_a_file_has_its_method_and_frames(home, workdir, exported, tmp_path):
    file = tmp_path / "out.json"
    words = ("--config.model.num_frames=4", "--config.evaluate.dual_softmax=True")
    # The config's method is another one, which nobody has asked for.
    config = tmp_path / "lora.py"
    config.write_text(
        "import toy_run\n\n\ndef get_config(method='lora'):\n"
        "    return toy_run.get_config(method)\n"
    )
    told = evaluate(home, exported, *words, "--output", file, config=config)
    found = read_results(file)
    assert found["method"] == found["config"]["model"]["method"] == "tempme"
    assert "transductive: dual softmax" in told
    assert "checkpoint selected on data that the file does not name" in told
    assert found["costs"] == read_results(workdir)["costs"]


@pytest.mark.parametrize(
    ("words", "config", "problem"),
    [
        (["--config.model.num_frames=8"], "", "num_frames=8 contradicts .*, whose num_frames is 4"),
        (["--config.model.options.rank=2"], "", "options.rank=2 contradicts .*options.rank is 8"),
        (["--config.model.max_words=9"], "", "max_words=9 contradicts .*, whose max_words is 12"),
        ([], ":lora", "method='lora' contradicts .*whose method is 'tempme'; leave it out"),
        (["--config.model.weights=tiny-clip"], "", "weights='tiny-clip' contradicts"),
        (["--config.model.architecture.width=8"], "", "architecture.width=8 contradicts"),
        (["--xyzzy=x"], "", "unknown word: --xyzzy=x; settings are --config.NAME=VALUE"),
        (["--output=nowhere/x.json"], "", "there is no folder nowhere"),
        (["--config.data.root=nowhere"], "", "nowhere: no such folder"),
        (["--config.data.test=tset"], "", "unknown split of folder: 'tset' .did you mean 'test'"),
    ],
)
def test_what_contradicts_is_refused(home, exported, words, config, problem):
    told = evaluate(home, exported, *words, config=f"{toy_run.FILE}{config}", code=1)
    assert "Error" in told and "Traceback" not in told
    assert re.search(problem, told), told


def test_plain_weights_are_measured_without_training(home, tmp_path):
    file = tmp_path / "out.json"
    told = evaluate(home, "tiny-clip", "--output", file)
    found = read_results(file)
    assert (found["method"], found["costs"]["trainable"], found["step"]) == ("clip", 0, 0)
    assert found["config"]["model"]["num_frames"] == 4 and "zero-shot" in told


@pytest.mark.slow
def test_plain_weights_with_a_method_are_not_trained(home):
    told = evaluate(home, "tiny-clip", config=f"{toy_run.FILE}:tome")
    assert "tome" in told and "NOT TRAINED: what the method learns is as it was drawn" in told


def test_models_that_cannot_be_opened_are_named(home, workdir, tmp_path):
    assert "did you mean 'tiny-clip'" in evaluate(home, "tiny-clp", code=1)
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    told = evaluate(home, tmp_path, code=1)
    assert "holds no checkpoint yet; train with it first" in told
    (tmp_path / "config.json").write_text(json.dumps({"model": 3}))
    assert "Error" in evaluate(home, tmp_path, code=1)
