"""run.sh does what its first lines say."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from repository import ROOT


def run_sh(*words, folder=ROOT, here=None, **environment):
    return subprocess.run(
        ["bash", str(folder / "run.sh"), *words],
        capture_output=True, text=True, timeout=600, env=os.environ | environment, cwd=here,
    )  # fmt: skip


def test_it_says_what_it_can_do():
    usage = run_sh("--help")
    assert usage.returncode == 0 and "bash run.sh test" in usage.stdout
    assert "bash run.sh index FOLDER" in usage.stdout and "set -e" not in usage.stdout
    assert usage.stdout.endswith("and an interrupted run resumes.\n")
    folder = [f"{name} FOLDER" for name in ("serve", "stats", "duplicates", "watch", "mcp")]
    for command in ("search WORDS", *folder, "download", "doctor"):
        assert f"  bash run.sh {command}" in usage.stdout
    unknown = run_sh("tset")
    assert unknown.returncode == 2 and "There is no 'tset' here" in unknown.stderr


@pytest.fixture
def told(tmp_path):
    """A copy of run.sh whose tempme only notes where it was started, and with which words."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    command = tmp_path / "environment" / "bin" / "tempme"
    command.parent.mkdir(parents=True)
    notes = tmp_path / "notes"
    command.write_text(f'#!/bin/sh\nprintf "%s|" "$PWD" "$@" >> "{notes}"\necho >> "{notes}"\n')
    command.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()

    def run(*words):
        notes.unlink(missing_ok=True)
        done = run_sh(
            *words, folder=tmp_path, here=tmp_path / "elsewhere",
            VIRTUAL_ENV=str(tmp_path / "environment"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [line.split("|")[:-1] for line in notes.read_text().splitlines()]

    return run


def test_samples_are_indexed(told, tmp_path):
    assert told("index") == [
        [str(tmp_path), "data", "samples", "data/samples"],
        [str(tmp_path), "index", "data/samples", "--model", "tiny-tempme"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["index", "my videos"], ["index", "videos", "--nice", "10"], ["index", "--help"],
        ["search", "red", "circle", "--index", "my videos"], ["serve", "videos"], ["stats"],
        ["download", "--from", "a file"], ["doctor"],
    ],
)  # fmt: skip
def test_own_videos_are_indexed_and_searched(told, tmp_path, words):
    """From where the user is, with all words."""
    assert told(*words) == [[str(tmp_path / "elsewhere"), *words]]


def test_without_an_environment_it_says_what_to_type(told, tmp_path):
    """The one that it made is used, and need not be active."""
    (tmp_path / "environment").rename(tmp_path / ".venv")
    (tmp_path / ".venv" / "ready[all]").touch()
    command = tmp_path / ".venv" / "bin" / "tempme"
    command.write_text(f'{command.read_text()}echo "Next: $TEMPME_PROGRAM search"\n')
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for words, told in (
        (["index"], "It finds: bash run.sh search a red circle moves right then up --index"),
        (["index", "videos"], "Next: bash run.sh search"),
    ):
        done = subprocess.run(
            ["bash", "run.sh", *words],
            capture_output=True, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0 and told in done.stdout, done


@pytest.mark.slow
def test_the_samples_can_be_searched(tmp_path):
    """As a user starts it, but in a copy: it makes files in data/samples beside run.sh."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    environment = {"VIRTUAL_ENV": sys.prefix, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = run_sh("index", folder=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "96 videos indexed (3 min, 96 windows)" in done.stdout
    query = re.search("It finds: tempme search (.*) --index", done.stdout)[1]
    [command] = re.findall("Next: (.*)", done.stdout)
    words = [*shlex.split(command.replace("what is to be seen", query))[1:], "--json"]
    python = [sys.executable, "-m", "tempme_jax.cli", *words]
    best = json.loads(subprocess.check_output(python, env=os.environ | environment))["moments"][0]
    assert best["file"] == str(tmp_path / "data" / "samples" / "00-00.mp4")


@pytest.mark.slow
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
