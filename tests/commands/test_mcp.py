"""Where the package for assistants is missing, the command says what to install."""

import sys

from click.testing import CliRunner

from tempme_jax.cli import main


def test_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mcp", None)
    result = CliRunner().invoke(main, ["mcp", str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install 'tempme-jax[mcp]'" in result.output
