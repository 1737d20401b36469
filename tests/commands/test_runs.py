"""The commands about data and runs, as a user gives them."""

import json

import click.testing
import numpy as np
import pytest
import toy_run

import tempme_jax
from tempme_jax.bench import printing
from tempme_jax.bench.data import DataSpeed
from tempme_jax.cli import main

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


def tempme(*words, code=0):
    result = click.testing.CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == code, result.output
    return result.output


def settings(home):
    return [f"--config.{name}={value}" for name, value in toy_run.list_places(home).items()]


def test_prepare_and_doctor(home, tmp_path):
    tempme("data", "prepare", toy_run.FILE, *settings(home), f"--config.data.prepared={tmp_path}")
    [report] = tmp_path.glob("folder/*/*/report.json")
    counts = {split: entry["prepared"] for split, entry in json.loads(report.read_text()).items()}
    assert counts == toy_run.VIDEOS
    told = tempme("data", "doctor", "folder", "--root", home / "videos")
    assert [line.split()[:2] for line in told.splitlines() if "24" in line.split()] == [
        ["train", "-"]
    ]
    (tmp_path / "captions.csv").write_text("file,caption\nnone.mp4,nothing\n")
    told = tempme("data", "doctor", "folder", "--root", tmp_path, "--quick", code=1)
    assert "none.mp4" in told


def test_bench_data(home, capsys):
    words = ["bench", "data", toy_run.FILE, "--steps", "2", *settings(home)]
    told = click.testing.CliRunner().invoke(main, [*map(str, words), "--json"])
    speed = json.loads(told.stdout)
    assert speed["batch_size"] == 8 and speed["read_videos_per_second"] > 0
    assert 0 <= speed["waited"] <= 1
    printing.print_data_speed(DataSpeed(**speed))
    assert "Videos/s" in capsys.readouterr().out
    assert "choose fewer" in tempme(*words[:4], "500", *settings(home), code=1)


def test_what_was_trained_is_exported_and_shown(home, tmp_path):
    workdir = toy_run.finish_whole(home)
    target = tmp_path / "model.safetensors"
    tempme("export", workdir, target)
    assert "exists" in tempme("export", workdir, target, code=1)
    frames = np.random.default_rng(0).integers(0, 255, (1, 4, 16, 16, 3), np.uint8)
    trained, exported = tempme_jax.load(workdir), tempme_jax.load(target)
    assert exported.method == "tempme" and exported.reducer == trained.reducer
    np.testing.assert_array_equal(exported.embed_video(frames), trained.embed_video(frames))
    told = tempme("results", workdir)
    assert "tempme" in told and "8 texts, 8 videos" in told


def test_a_backbone_is_a_plain_clip(home, tmp_path):
    """LoRA folds into it; clip positions have no place."""
    workdir, target = toy_run.finish_whole(home), tmp_path / "clip.safetensors"
    assert "clip_position" in tempme("export", workdir, target, "--backbone", code=1)
    tiny = tempme_jax.load("tiny-clip", method="lora", num_frames=1)
    tiny.save(target, backbone=True)
    frames = np.random.default_rng(0).integers(0, 255, (1, 1, 64, 64, 3), np.uint8)
    ours = tempme_jax.load(target, method="clip", num_frames=1).embed_video(frames)
    np.testing.assert_array_equal(ours, tiny.embed_video(frames))
