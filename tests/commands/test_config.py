"""`tempme config` prints what a config resolves to, as Python."""

import click.testing
import pytest
from repository import ROOT

from tempme_jax.cli import main
from tempme_jax.training.flags import build_config, parse_flags

# Of ml_collections, at every config file that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def show(*words):
    return click.testing.CliRunner().invoke(main, ["config", *words])


def test_the_output_is_python_that_makes_the_same_config():
    file, setting = f"{ROOT}/configs/msrvtt.py:tempme,b16", "--config.train.batch_size=64"
    result = show(file, setting)
    assert result.exit_code == 0, result.stderr
    names = {}
    exec(result.stdout, names)
    assert build_config(names["config"]) == parse_flags([f"--config={file}", setting])
    lines = result.stdout.splitlines()
    assert lines[0] == "from tempme_jax.training.flags import make_defaults"
    assert "config.train.batch_size = 64" in lines
    assert "config.model.weights = 'openai/clip-vit-base-patch16'" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["configs/msrvtt.py:tempmee"], "unknown method: 'tempmee' (did you mean 'tempme'"),
        (["configs/msrvt.py"], "no config file configs/msrvt.py (did you mean 'configs/msrvtt.py'"),
        (["configs/msrvtt.py", "--config.train.stpes=1"], "'stpes' (did you mean 'steps'"),
        (["configs/msrvtt.py", "--config.data.missing=skp"], "'skp' (did you mean 'skip'"),
    ],
)
def test_mistakes_are_answered_in_a_line(words, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = show(*words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_names_an_example():
    result = show("--help")
    assert "configs/msrvtt.py:tempme,b16" in result.stdout
