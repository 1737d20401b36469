"""Every command and every piece of Python in the README runs."""

import dataclasses
import os
import shlex
import subprocess
import sys

import click.testing
import pytest
from documents import SMALL, read_blocks, read_commands, stand_in, write_black_video
from repository import ROOT

import tempme_jax
from tempme_jax import building
from tempme_jax.cli import main
from tempme_jax.compare import paper
from tempme_jax.datasets.base import AnnotationError
from tempme_jax.training.flags import parse_flags
from tempme_jax.training.splits import prepare_data

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

README = (ROOT / "README.md").read_text()
COMMANDS = read_commands(README)
CLONE = ["git clone ADDRESS tempme_jax", "cd tempme_jax"]
SETUP = [*CLONE, "bash run.sh setup", ". .venv/bin/activate"]
# test_run_sh.py runs the last two in small.
SCRIPT = [*SETUP, "bash run.sh", "bash run.sh index"]
# What needs data that cannot be here says so, and what to do.
WITHOUT_DATA = "msrvtt/annotations: no such folder, where MSRVTT_"

COMPARED = ["lora", "tome", "tempme"]


def test_nothing_is_left_out():
    runs = ("tempme ", "python -m tempme_jax.main ")
    known = set(SCRIPT) | {line for line in COMMANDS if line.startswith(runs)}
    assert set(COMMANDS) == known
    assert len(read_blocks(README, "python")) == 3
    assert len(README.splitlines()) < 200


def test_setup():
    """In an environment that is ready it installs nothing; the clone is made in test_start.py."""
    assert COMMANDS[: len(SETUP)] == SETUP
    done = subprocess.run(
        ["bash", "run.sh", "setup"],
        env=os.environ | {"VIRTUAL_ENV": sys.prefix}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and ". .venv/bin/activate" in done.stdout


def commands_of(*names):
    return [line for line in COMMANDS if line.split()[:2] in [["tempme", name] for name in names]]


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    """One folder with an index, as the samples and as videos of one's own."""
    videos, samples = tmp_path / "home" / "videos", tmp_path / "data" / "samples"
    write_black_video(videos / "00-00.mp4")
    samples.parent.mkdir()
    samples.symlink_to(videos)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch)
    tempme_jax.VideoIndex(videos, model="openai/clip-vit-base-patch32").add(videos, quiet=True)


def test_searching(indexed, monkeypatch):
    served = []
    monkeypatch.setattr("tempme_jax.search.serve.service.Service.warm", lambda service: None)
    monkeypatch.setattr(
        "tempme_jax.search.serve.server.uvicorn.Server.run", lambda *_, **__: served.append(1)
    )
    outputs = {}
    for command in commands_of("index", "search", "serve"):
        words = [os.path.expanduser(word) for word in shlex.split(command)[1:]]
        result = click.testing.CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        outputs[words[0]] = result.output
    assert "1 unchanged" in outputs["index"]
    assert "home/videos/00-00.mp4" in outputs["search"]
    assert served == [1] and "http://127.0.0.1:8765/" in outputs["serve"]


@pytest.mark.parametrize(
    "command",
    sorted(
        {c for c in COMMANDS if c.startswith("tempme ")}
        - {*commands_of("index", "search", "serve")}
    ),
)
def test_command(command, monkeypatch, tmp_path):
    compared = []
    monkeypatch.setattr(
        "tempme_jax.compare.runs.run",
        lambda *words, **options: compared.append((words, options)) or 0,
    )
    if " costs " in command:  # test_costs.py counts the other rows
        [first, *_] = paper.select_rows((2,))
        monkeypatch.setattr(paper, "select_rows", {(2,): [first]}.get)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    result = click.testing.CliRunner().invoke(main, shlex.split(command)[1:])
    if " compare " in command:  # test_compare.py runs it
        [((file, entries, seeds), _)] = compared
        names = [entry.name for entry in entries]
        assert (ROOT / file).is_file() and {"LoRA", "TempMe"} & set(names) or names == COMPARED
        assert seeds == 3
    else:
        assert result.exit_code == 0, result.output
        assert result.output


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--config=" in c])
def test_training(command, tmp_path):
    """Up to where the videos are wanted; test_run_sh.py goes on with those of the built-in set."""
    flags = [word for word in shlex.split(command) if word.startswith("--")]
    (tmp_path / "msrvtt").mkdir()
    with pytest.raises(AnnotationError, match=WITHOUT_DATA):
        prepare_data(dataclasses.replace(parse_flags(flags).data, root=str(tmp_path / "msrvtt")))


def test_python(tmp_path, monkeypatch, capsys):
    """As one program, from top to bottom."""

    def small(source, **options):
        options = {name: value for name, value in options.items() if value is not None}
        return building.create("ViT-B/32", **options, **SMALL)

    monkeypatch.setattr(tempme_jax, "load", small, raising=False)
    monkeypatch.setattr(tempme_jax, "create", small, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempme_jax.search.opening.load", small)
    monkeypatch.setattr("tempme_jax.search.query.unrelated.read_texts", lambda: ["a band bows"] * 2)
    for name in ("cat.mp4", "dog.mp4", "videos/cat.mp4"):
        write_black_video(tmp_path / name)
    names = {}
    exec(compile("\n".join(read_blocks(README, "python")), "README.md", "exec"), names)
    assert names["tokens"].shape == (42, 768)
    printed = capsys.readouterr().out
    assert "videos/cat.mp4 0.0 0.1" in printed
