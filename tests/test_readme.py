"""Every command and every piece of Python in the README runs."""

import pathlib
import re
import shlex

import av
import click.testing
import numpy as np
import pytest

import tempme_jax
from tempme_jax import loading
from tempme_jax.cli import main

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# Small enough to run here; everything else is as the README says.
SMALL = dict(width=64, heads=1, depth=5, text_depth=1, text_width=64, text_heads=1)
# What only a shell can do. `bash run.sh test` is what runs this test.
SETUP = ["bash run.sh setup", ". .venv/bin/activate", "bash run.sh test"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    return [line for block in blocks("bash") for line in block.strip().splitlines()]


def test_nothing_is_left_out():
    known = set(SETUP) | {line for line in commands() if line.startswith("tempme ")}
    assert set(commands()) == known
    assert len(blocks("python")) == 3


@pytest.mark.parametrize("command", [line for line in commands() if line not in SETUP])
def test_command(command):
    result = click.testing.CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert result.output


def test_python(tmp_path, monkeypatch, capsys):
    """As one program, from top to bottom."""

    def small(arch, **options):
        return loading.create("ViT-B/32", **options, **SMALL)

    monkeypatch.setattr(tempme_jax, "load", small, raising=False)
    monkeypatch.setattr(tempme_jax, "create", small, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("cat.mp4", "dog.mp4"):
        with av.open(name, "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode()])
    names = {}
    exec(compile("\n".join(blocks("python")), "README.md", "exec"), names)
    assert names["tokens"].shape == (42, 768)
    assert "TempMe(" in capsys.readouterr().out
