"""The page docs/search.md is right: its commands exist, its Python runs, its numbers are right."""

import re
import shlex

import click
import pytest
from repository import ROOT

import tempme_jax
from tempme_jax.cli import main
from tempme_jax.datasets import moving_shapes
from tempme_jax.search.query import unrelated
from tempme_jax.search.query.results import PER_VIDEO
from tempme_jax.search.query.scoring import MIN_SCORES, STRETCH
from tempme_jax.search.query.verdicts import LEAST_POSSIBLE, LEAST_STRONG, SAME_COSINE
from tempme_jax.search.store import sidewriter, store
from tempme_jax.video.windows import Sampling, cut_into_windows

PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^ *```{language}\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE)


def commands():
    lines = [line.strip() for block in blocks("bash") for line in block.strip().splitlines()]
    return [line for line in lines if line.startswith("tempme ")]


@pytest.mark.parametrize("command", commands())
def test_command_is_known(command, monkeypatch):
    """Its options, too, and what is given to them; nothing is run."""
    group, words, parent = main, shlex.split(command)[1:], None
    while isinstance(group, click.Group):
        parent = click.Context(group, parent=parent, info_name=words[0])
        group, words = group.get_command(parent, words[0]), words[1:]
        assert group, command
    # The folders are not there.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: value)
    context = group.make_context(command, words, parent=parent)
    assert context.params


@pytest.mark.slow
def test_python(tmp_path, monkeypatch, capsys):
    samples = tmp_path / "samples"
    samples.mkdir()
    for number in range(4, 96):  # what is there is not made
        (samples / f"{number:02}-00.mp4").touch()
    moving_shapes.write_samples(samples)
    for number in range(4, 96):
        (samples / f"{number:02}-00.mp4").unlink()
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile("\n".join(blocks("python")), "search.md", "exec"), names)
    assert [moment.file.name for moment in names["results"].moments][0] == "00-00.mp4"
    assert "4 videos indexed" in capsys.readouterr().out
    [others] = re.findall(r"There are (`search_image`.*?) as well\.", PAGE, flags=re.DOTALL)
    for name in re.findall(r"`(\w+)`", others):
        assert hasattr(tempme_jax.VideoIndex, name)


def test_numbers():
    texts = unrelated.read_texts()
    flowing = " ".join(PAGE.split())
    assert f"against {len(texts)} unrelated sentences" in flowing
    assert f"| strong | it scores higher than {LEAST_STRONG:.0f} % of" in PAGE
    assert f"| possible | it scores higher than {LEAST_POSSIBLE:.0f} % of" in PAGE
    assert f"a cosine above {SAME_COSINE}" in PAGE and f"at most {STRETCH} times as far" in flowing
    assert PER_VIDEO == 2 and "At most two moments of one video are listed" in PAGE
    assert all(quoted in texts for quoted in re.findall(r'\("(.*?)", "(.*?)"\)', flowing)[0])
    assert f"fewer than {MIN_SCORES} to compare" in PAGE
    assert f"Up to {sidewriter.EXACT_WINDOWS:,} windows" in PAGE
    assert f"up to {store.EXACT_LIMIT:,} windows" in PAGE
    windows = cut_into_windows(3600, Sampling(frames=12))
    assert abs(len(windows) - 600) < 2 and "an hour of video has 600 windows" in PAGE
