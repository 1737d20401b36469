"""run.sh does what its first lines say."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def run_sh(*words, **environment):
    return subprocess.run(
        ["bash", str(ROOT / "run.sh"), *words],
        capture_output=True, text=True, timeout=600, env=os.environ | environment,
    )  # fmt: skip


def test_it_says_what_it_can_do():
    usage = run_sh("--help")
    assert usage.returncode == 0 and "bash run.sh test" in usage.stdout
    unknown = run_sh("tset")
    assert unknown.returncode == 2 and "There is no 'tset'" in unknown.stderr


@pytest.mark.processes
def test_the_whole_story_in_small(tmp_path):
    """The main job on the built-in set, as a user starts it, with fewer videos and steps."""
    settings = {
        "data.variant": "small",
        "data.root": tmp_path / "videos",
        "data.prepared": tmp_path / "prepared",
        "train.steps": 4,
        "train.batch_size": 16,
        "evaluate.draws": 20,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    done = run_sh(
        "story", *flags, VIRTUAL_ENV=sys.prefix, WORKDIR=str(tmp_path / "story"),
        JAX_ENABLE_COMPILATION_CACHE="0", JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 4/4" in done.stderr
    before, after = (
        json.loads((tmp_path / "story" / method / "results.json").read_text())
        for method in ("clip", "tempme")
    )
    assert before["id_hash"] == after["id_hash"] and before["videos"] == 96
    # Frames are averaged: of a video and its reverse at best one can be told.
    assert 40 < before["text_to_video"]["R@1"] < 60
    assert after["step"] == 4
    table = done.stdout[done.stdout.rindex("Text-video retrieval") :]
    assert "clip" in table and "tempme" in table
