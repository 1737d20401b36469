"""What the guides and the reference say to type is known, and the guides' Python runs."""

import shlex

import pytest
from documents import read_blocks, read_commands, require_known
from repository import ROOT

from tempme_jax.datasets import moving_shapes
from tempme_jax.training.flags import parse_flags

GUIDES = [page for name in ("guides", "reference") for page in (ROOT / "docs" / name).glob("*.md")]
COMMANDS = sorted({c for page in GUIDES for c in read_commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_command_is_known(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    if command.startswith("tempme "):
        require_known(command, monkeypatch)
    else:
        assert command.startswith("python -m tempme_jax.main --config=")
        assert parse_flags(shlex.split(command)[3:])


def test_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(2, 96):  # files that are there are not rendered
        (tmp_path / moving_shapes.make_file_name(number, 0)).touch()
    moving_shapes.write_samples(tmp_path)
    page = (ROOT / "docs" / "guides" / "program.md").read_text(encoding="utf-8")
    names = {}
    exec(compile("\n".join(read_blocks(page, "python")), "program.md", "exec"), names)
    similar = names["model"].similarity(names["texts"], names["videos"])
    assert similar.shape == (1, 2) and similar[0, 0] > similar[0, 1]
    assert names["videos"].shape == (2, 64)
