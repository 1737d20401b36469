"""Curves and results also go to a service, if it is asked for and installed."""

import contextlib
import importlib.util

import pytest
import toy_run
from click.testing import CliRunner

from tempme_jax import cli
from tempme_jax.training import tracking
from tempme_jax.training.log import Log
from tempme_jax.training.metrics import measure_retrieval
from tempme_jax.training.run import run

IS_INSTALLED = importlib.util.find_spec("wandb") is not None
needs_wandb = pytest.mark.skipif(not IS_INSTALLED, reason="wandb is not installed")


class Kept(tracking.Tracker):
    def __init__(self):
        self.points = []

    def write(self, step, kind, values):
        self.points.append((step, kind, values))


def test_the_log_hands_its_numbers_on(tmp_path):
    tracker = Kept()
    with contextlib.closing(Log(tmp_path, step=0, steps=3, tracker=tracker)) as log:
        log.write(1, "train", {"loss": 1.5, "note": "no number"})
    assert tracker.points == [(1, "train", {"loss": 1.5})]


def test_results_have_plain_names():
    found = measure_retrieval([[0.9, 0.1], [0.8, 0.2]], [0, 1], ties="average")
    flat = tracking.flatten_results({"split": "test", "costs": {"tokens": 40}, **found})
    assert flat["test/text_to_video R@1"] == 50.0 and flat["costs/tokens"] == 40
    assert set(map(type, flat.values())) == {float, int}
    answers = {"split": "test", "accuracy": 61.0, "costs": {}}
    assert tracking.flatten_results(answers) == {"test/accuracy": 61.0}


def test_a_workdir_keeps_its_id(tmp_path):
    name = tracking.choose_id(tmp_path)
    assert len(name) == 8 and tracking.choose_id(tmp_path) == name
    (tmp_path / tracking.ID).write_bytes(b"\xff../")
    assert tracking.choose_id(tmp_path).isalnum()


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_missing_package_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"needs the package wandb; install it with: pip install 'tempme-jax\[wandb\]'"
    with pytest.raises(ValueError, match=message):
        run(toy_run.make_config(tmp_path), tmp_path / "run", log="wandb")
    assert not (tmp_path / "run").exists()
    told = CliRunner().invoke(cli.main, ["compare", "configs/msrvtt.py", "--log", "wandb"])
    assert told.exit_code == 1 and "pip install 'tempme-jax[wandb]'" in told.output


@needs_wandb
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_kept_offline_and_goes_on_under_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = toy_run.make_config(tmp_path)
    for step in (1, 2):
        with tracking.open_tracker("wandb", tmp_path, config) as tracker:
            tracker.write(step, "train", {"loss": 1.0 / step})
            tracker.summarize({"split": "test", "accuracy": 61.0, "costs": {}})
            assert tracker.run.project == "tempme" and tracker.run.name == tmp_path.name
            assert tracker.run.config["model"]["method"] == "tempme"
            assert tracker.run.summary["test/accuracy"] == 61.0
    name = (tmp_path / tracking.ID).read_text().strip()
    kept = list((tmp_path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert kept and all(file.stat().st_size for file in kept)


@needs_wandb
@pytest.mark.filterwarnings("ignore")
def test_a_service_that_refuses_says_what_to_do(tmp_path, monkeypatch):
    import wandb

    def refuse(**settings):
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(
        ValueError, match="--log wandb: No API key.* to log in. Or set WANDB_MODE=offline"
    ):
        with tracking.open_tracker("wandb", tmp_path, toy_run.make_config(tmp_path)):
            pass
