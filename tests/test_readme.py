"""Every command and every piece of Python in the README runs."""

import dataclasses
import os
import re
import shlex

import av
import click.testing
import numpy as np
import pytest
from repository import ROOT

import tempme_jax
from tempme_jax import building
from tempme_jax.cli import main
from tempme_jax.compare import paper
from tempme_jax.compare import runs as compare
from tempme_jax.datasets.base import AnnotationError
from tempme_jax.training.flags import from_flags
from tempme_jax.training.splits import prepare

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

README = (ROOT / "README.md").read_text()
# Small enough to run here; everything else is as the README says.
SMALL = dict(width=64, heads=1, depth=5, text_depth=1, text_width=64, text_heads=1)
# `bash run.sh test` is what runs this test; test_run_sh.py runs the others in small.
SCRIPT = ["bash run.sh", "bash run.sh index", "bash run.sh test"]
# What needs data that cannot be here says so, and what to do.
WITHOUT_DATA = "msrvtt/annotations: no such folder, where MSRVTT_"


RUN = ["lora", "tome", "tempme"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    return [line for block in blocks("bash") for line in block.strip().splitlines()]


def test_nothing_is_left_out():
    runs = ("tempme ", "python -m tempme_jax.main ", "bash run.sh --config=")
    known = set(SCRIPT) | {line for line in commands() if line.startswith(runs)}
    assert set(commands()) == known
    assert len(blocks("python")) == 4


def commands_of(*names):
    return [line for line in commands() if line.split()[:2] in [["tempme", name] for name in names]]


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    """One folder with an index, as the samples and as videos of one's own."""
    videos, samples = tmp_path / "home" / "videos", tmp_path / "data" / "samples"
    write_video(videos / "00-00.mp4")
    samples.parent.mkdir()
    samples.symlink_to(videos)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = tempme_jax.create("ViT-B/32", method="clip", num_frames=2, **SMALL | {"depth": 1})
    monkeypatch.setattr("tempme_jax.search.opening.load", lambda **options: model)
    monkeypatch.setattr("tempme_jax.search.header.load", lambda **options: model)
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
        {c for c in commands() if c.startswith("tempme ")}
        - {*commands_of("index", "search", "serve")}
    ),
)
def test_command(command, monkeypatch, tmp_path):
    compared = []
    monkeypatch.setattr(
        compare, "run", lambda *words, **options: compared.append((words, options)) or 0
    )
    if " costs " in command:  # test_costs.py counts the other rows
        [first, *_] = paper.rows_of((2,))
        monkeypatch.setattr(paper, "rows_of", {(2,): [first]}.get)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    result = click.testing.CliRunner().invoke(main, shlex.split(command)[1:])
    if " compare " in command:  # test_compare.py runs it
        [((file, entries, seeds), _)] = compared
        names = [entry.name for entry in entries]
        assert (ROOT / file).is_file() and {"LoRA", "TempMe"} & set(names) or names == RUN
        assert seeds == 3
    elif " doctor " in command:
        assert result.exit_code == 1 and WITHOUT_DATA in result.output
    else:
        assert result.exit_code == 0, result.output
        assert result.output


@pytest.mark.parametrize("command", [c for c in commands() if "--config=" in c])
def test_training(command, tmp_path):
    """Up to where the videos are wanted; test_run_sh.py goes on with those of the built-in set."""
    flags = [word for word in shlex.split(command) if word.startswith("--")]
    with pytest.raises(AnnotationError, match=WITHOUT_DATA):
        prepare(dataclasses.replace(from_flags(flags).data, root=str(tmp_path / "msrvtt")))


def test_python(tmp_path, monkeypatch, capsys):
    """As one program, from top to bottom."""

    def small(source, **options):
        options = {name: value for name, value in options.items() if value is not None}
        return building.create("ViT-B/32", **options, **SMALL)

    monkeypatch.setattr(tempme_jax, "load", small, raising=False)
    monkeypatch.setattr(tempme_jax, "create", small, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempme_jax.search.opening.load", small)
    monkeypatch.setattr("tempme_jax.search.query.unrelated.texts", lambda: ["a band bows"] * 2)
    for name in ("cat.mp4", "dog.mp4", "videos/cat.mp4"):
        write_video(tmp_path / name)
    names = {}
    exec(compile("\n".join(blocks("python")), "README.md", "exec"), names)
    assert names["tokens"].shape == (42, 768)
    printed = capsys.readouterr().out
    assert "TempMe(" in printed
    assert "videos/cat.mp4 0.0 0.1" in printed


def write_video(file):
    """One frame, black."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
