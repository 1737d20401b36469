"""What the guides and the reference say to type is known, and the guides' Python runs."""

import shlex
from unittest import mock

import absl.flags
import pytest
from documents import read_blocks, read_commands, require_known
from repository import ROOT

import tempme_jax.main  # noqa: F401  # it defines the flags
from tempme_jax import plugins
from tempme_jax.datasets import DATASETS, moving_shapes
from tempme_jax.methods import METHODS
from tempme_jax.training.flags import parse_flags

GUIDES = [page for name in ("guides", "reference") for page in (ROOT / "docs" / name).glob("*.md")]
COMMANDS = sorted({c for page in GUIDES for c in read_commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@mock.patch.dict(METHODS)
@mock.patch.dict(DATASETS)
@mock.patch.dict(plugins.LOADED)
def test_command_is_known(command, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    page = (ROOT / "docs/guides/plugins.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(read_blocks(page, "python")[0])
    command = command.replace("mine.py", str(tmp_path / "mine.py"))
    if command.startswith("tempme "):
        require_known(command, monkeypatch)
    else:
        assert command.startswith("python -m tempme_jax.main ")
        words = shlex.split(command)[3:]
        for word in words:
            if word.startswith("--plugin="):
                plugins.load_plugin(word.removeprefix("--plugin="))
        assert parse_flags([word for word in words if word.startswith("--config")])
        own = [word for word in words if not word.startswith("--config.")]
        assert {word.partition("=")[0][2:] for word in own} <= set(absl.flags.FLAGS)


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
