"""The command: every way of running it, and mistakes answered in a line."""

import shutil

import jax
import numpy as np
import pytest
import toy_run
from absl import flags
from absl.testing import flagsaver

from tempme_jax import main
from tempme_jax.parameters import split
from tempme_jax.training.model import build_model
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.results import read_results
from tempme_jax.training.run import Run, run
from tempme_jax.training.sharding import make_mesh

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


def answer(*words):
    """What the command ends with."""
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        main.main(main.parse(["tempme_jax.main", *words]))
    flags.FLAGS.unparse_flags()
    flags.FLAGS.mark_as_parsed()
    return ended.value.code


def toy(home, workdir, *words):
    places = (f"--config.{name}={place}" for name, place in toy_run.list_places(home).items())
    return [f"--config={toy_run.FILE}", *places, f"--workdir={workdir}", *words]


def losses_of(workdir):
    return [line["loss"] for line in toy_run.read_lines(workdir, "train")]


def assert_one_line(text, *parts):
    assert text.startswith("Error: ") and "\n" not in text, text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "words, parts",
    [
        ((), ["--config is missing; name a file such as configs/msrvtt.py:tempme"]),
        (("--confg=x",), ["Unknown command line flag 'confg'. Did you mean: config ?"]),
        (
            ("--config=x.py", "--learning_rate=1"),
            ["flag 'learning_rate' (did you mean '--config.train.learning_rate'?)"],
        ),
        (("--config=x.py", "--processes=two"), ["--processes=two", "--help lists the flags"]),
        (
            ("configs/msrvtt.py", "--config=x.py"),
            ["unknown words: configs/msrvtt.py; write --config="],
        ),
        (
            ("--config=configs/msrvt.py:lora",),
            ["there is no config file configs/msrvt.py (did you mean 'configs/msrvtt.py'"],
        ),
        (
            (f"--config={toy_run.FILE}:tempmee",),
            ["unknown method: 'tempmee' (did you mean 'tempme'"],
        ),
        (
            (f"--config={toy_run.FILE}", "--config.train.lerning_rate=1"),
            ["unknown setting", "'lerning_rate' (did you mean 'learning_rate'"],
        ),
        (
            (f"--config={toy_run.FILE}", "--config.train.steps=many"),
            ["--config.train.steps=many", "invalid literal"],
        ),
        (
            (f"--config={toy_run.FILE}", "--processes=2"),
            ["--processes=2 --process=None: give all three, or none on a cluster"],
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_answered_in_a_line(words, parts):
    assert_one_line(answer(*words), *parts)


def test_data_that_are_not_there_are_named(tmp_path, workdir):
    words = ["--config=configs/msrvtt.py", f"--config.data.root={tmp_path}/data"]
    places = [f"--config.data.prepared={tmp_path}/prepared", f"--workdir={workdir}"]
    assert_one_line(answer(*words, *places), f"{tmp_path}/data: no such folder", "data/README.md")
    (tmp_path / "data").mkdir()
    assert_one_line(answer(*words, *places), "no such folder", "data/README.md", "MSRVTT_data.json")


@pytest.mark.parametrize(
    "setting, parts",
    [
        ("mesh.data=3", ["mesh of data=3 x model=1 does not use the 1 devices"]),
        ("train.batch_size=30", ["no batch of 30", "choose a smaller train.batch_size"]),
        ("train.gradient_cache=3", ["train.gradient_cache=3; choose one that divides it"]),
        (
            "evaluate.select_on=tset",
            ["unknown evaluate.select_on: 'tset' (did you mean 'test'", "test"],
        ),
        ("model.method=tempm", ["unknown method: 'tempm' (did you mean 'tempme'"]),
        ("evaluate.frame_sampling=random", ["unknown evaluate.frame_sampling: 'random'"]),
        ("data.name=mrsvtt", ["unknown data set: 'mrsvtt' (did you mean 'msrvtt'"]),
        ("model.weights=nowhere/x.safetensors", ["nowhere/x.safetensors"]),
    ],
)
def test_settings_that_do_not_fit_are_answered_in_a_line(home, workdir, setting, parts):
    assert_one_line(answer(*toy(home, workdir, f"--config.{setting}")), *parts)


def test_after_a_mistake_the_same_workdir_can_be_used(home, workdir):
    assert_one_line(answer(*toy(home, workdir, "--config.train.batch_size=30")))
    assert_one_line(answer(*toy(home, workdir, "--config.train.batch_size=32")), "no batch of 32")


def test_a_process_ends_with_one_line_and_a_code(home, workdir):
    process = toy_run.start(home, workdir, "--config.train.batch_size=12", devices=8)
    _, err = process.communicate(timeout=toy_run.SECONDS)
    assert process.returncode == 1
    # A slow machine also says how long it has been starting, every few seconds.
    assert [line for line in err.splitlines() if not line.startswith("Starting... ")] == [
        "Starting...",
        "Error: train.batch_size=12 cannot be split over 8 devices; choose a multiple of 8, such "
        "as 8, or fewer devices by mesh.data",
    ]
    assert not workdir.exists()


def test_what_is_trained_is_only_evaluated_again(home, workdir, capsys):
    shutil.copytree(toy_run.finish_whole(home), workdir)
    before = read_results(workdir)
    run(toy_run.make_config(home), workdir)
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "Opening the model...",
        "already finished: all 12 steps were made; it is measured again",
    ]
    assert "folder, test: 8 texts, 8 videos" in out
    after = read_results(workdir)
    before["training"].pop("peak_memory_bytes"), after["training"].pop("peak_memory_bytes")
    assert after == before


def test_many_options_together(home, workdir):
    config = toy_run.make_config(
        home,
        {
            "train.steps": 2, "train.gradient_cache": 4, "data.train": "train+test",
            "train.batches": "shuffle", "train.frame_sampling": "repeat", "model.remat": True,
            "model.dtype": "bfloat16", "evaluate.select_on": "last", "evaluate.dual_softmax": True,
        },
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):  # which bfloat16 needs in Flax
        found = run(config, workdir)
    assert found == read_results(workdir)
    assert found["step"] == found["training"]["steps"] == 2
    assert found["protocol"]["selected_on"] == "last"
    assert found["remarks"] == ["MEASURED ON VIDEOS THAT IT WAS TRAINED ON: 8 of 8"]
    assert np.isfinite(losses_of(workdir)).all()
    assert toy_run.read_lines(workdir, "validation") == []

    with jax.numpy_dtype_promotion("standard"):
        again = run(config, workdir, evaluate_only=True)
    assert again["text_to_video"] == found["text_to_video"]
    assert again["training"]["seconds"] == found["training"]["seconds"] > 0


def test_what_is_not_trained_to_its_end_is_said(home, workdir, capsys):
    config = toy_run.make_config(home)
    found = run(config, workdir, evaluate_only=True)
    assert not found["finished"] and found["step"] == 0
    assert "NOT TRAINED: what the method learns is as it was drawn" in capsys.readouterr().out
    whole = shutil.copytree(toy_run.finish_whole(home), workdir.with_name("whole"))
    shutil.rmtree(whole / "last" / "12")
    shutil.rmtree(whole / "best")
    found = run(config, whole, evaluate_only=True)
    assert not found["finished"] and found["protocol"]["selected_on"] == "last"
    assert "TRAINING IS NOT FINISHED: 10 of 12 steps" in capsys.readouterr().out


def test_a_method_that_trains_nothing_is_evaluated(home, workdir):
    found = run(toy_run.make_config(home, method="clip"), workdir)
    assert found["step"] == found["costs"]["trainable"] == 0
    assert not (workdir / "last").exists()


def test_the_objective_has_the_settings_of_the_run(home, tmp_path, monkeypatch):
    settings = {"train.gradient_cache": 4, "train.temperature": 0.5, "evaluate.select_on": "last"}
    config = toy_run.make_config(home, settings)
    model = build_model(config.model, config.seed)
    trainable, frozen = split(model.network, model.params)
    objectives = []
    module = "tempme_jax.training.run"
    monkeypatch.setattr(
        f"{module}.CompiledSteps.make", lambda steps, objective, *_: objectives.append(objective)
    )
    monkeypatch.setattr(f"{module}.train", lambda plan, state: (plan.step(state, {}), None, True))
    assert Run(config, tmp_path, make_mesh(-1, 1), model, frozen).train(trainable)
    assert objectives == [
        ContrastiveObjective(model.network, gradient_cache=4, seed=config.seed, temperature=0.5)
    ]


def test_a_huge_learning_rate_ends_with_the_step(home, workdir):
    every = ("--config.train.checkpoint_every=1", "--config.train.learning_rate=1e30")
    # Already the numbers after the second step, the first one with a rate, are too large.
    assert_one_line(answer(*toy(home, workdir, *every)), "step 2: not all param", "smaller train")
    arrays, step = toy_run.read_arrays(workdir, "last")
    assert step == 1
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"train.gradient_cache": 4},
        {"model.remat": True},
        {"model.dtype": "bfloat16"},
        {"train.augmentation": "randaugment"},
        {"train.batches": "shuffle", "train.epochs": 2, "train.steps": 0},
        {"train.frame_sampling": "repeat", "evaluate.frame_sampling": "uniform"},
        {"evaluate.select_on": "test", "evaluate.qb_norm": True},
        {"data.workers": 1},
        {"train.clip_norm": 0.0, "train.warmup": 0.0},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_option(home, workdir, settings):
    with jax.numpy_dtype_promotion("standard"):  # which bfloat16 needs in Flax
        found = run(toy_run.make_config(home, {"train.steps": 3} | settings), workdir)
    assert found["training"]["steps"] == (6 if "train.epochs" in settings else 3)
    selection = settings.get("evaluate.select_on", "validation")
    assert toy_run.read_lines(workdir, selection)[-1]["step"] == found["training"]["steps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["full", "lora", "tome", "adapter+tempme", "prompt", "full+tome"]
)
def test_every_kind_of_method(home, workdir, method):
    found = run(toy_run.make_config(home, {"train.steps": 3}, method), workdir)
    losses = losses_of(workdir)
    assert len(losses) == found["training"]["steps"] == 3 and np.isfinite(losses).all()
    assert found["costs"]["trainable"] > 0
