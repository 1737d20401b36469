"""docs/start.md leads to a hit, and its commands are those of the README or known."""

import os
import shlex

import click.testing
import pytest
from documents import read_blocks, read_commands, stand_in, write_black_video
from repository import ROOT

from tempme_jax.cli import main

PAGE = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
FIVE = read_commands(read_blocks(PAGE, "bash")[0].join(["```bash\n", "```"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_five_commands_lead_to_a_hit(tmp_path, monkeypatch):
    """From the doctor on; test_readme.py runs the setup."""
    setup, activate, *commands = FIVE
    assert setup == "bash run.sh setup" and activate == ". .venv/bin/activate"
    assert [command.split()[1] for command in commands] == ["doctor", "index", "search"]
    write_black_video(tmp_path / "videos" / "lake.mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch)
    outputs = []
    for command in commands:
        words = [os.path.expanduser(word) for word in shlex.split(command)[1:]]
        result = click.testing.CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        outputs.append(result.output)
    assert "Ready" in outputs[0] or "ready" in outputs[0]
    assert "1 video indexed" in outputs[1]
    assert "videos/lake.mp4" in outputs[2]


def test_the_other_commands_are_in_the_readme():
    """There they are run."""
    readme = read_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    others = [command for command in read_commands(PAGE) if command not in FIVE]
    assert others and set(others) <= set(readme)
