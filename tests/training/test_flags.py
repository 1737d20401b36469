"""Config files are found in the installation, too, and a config can be printed as Python."""

import pathlib
import shutil
import sys

import pytest
from repository import ROOT

from tempme_jax.training.flags import (
    build_config,
    find_config_file,
    format_config,
    parse_flags,
)

# Of ml_collections, at every config file that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

HOME = ROOT / "configs"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An environment outside a checkout, with the configs where a wheel puts them."""
    prefix, elsewhere = tmp_path / "env", tmp_path / "elsewhere"
    shutil.copytree(HOME, prefix / "share/tempme_jax/configs")
    elsewhere.mkdir()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.chdir(elsewhere)
    return prefix / "share/tempme_jax/configs"


def test_configs_of_the_installation_are_found_from_any_folder(installed, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(ROOT)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    (installed / "common.py").write_text(
        (installed / "common.py").read_text().replace("config.seed = 42", "config.seed = 43")
    )
    assert find_config_file("configs/msrvtt.py") == str(installed / "msrvtt.py")
    assert find_config_file("configs/tables/table2.py") == str(installed / "tables/table2.py")
    found = parse_flags(["--config=configs/msrvtt.py:tempme,b16", "--config.train.steps=3"])
    assert (found.data.name, found.model.weights[-2:]) == ("msrvtt", "16")
    assert (found.seed, found.train.steps) == (43, 3)  # its own `configs.common` was read


def test_a_config_of_the_current_folder_comes_first(installed, monkeypatch):
    file = pathlib.Path("configs/msrvtt.py")
    file.parent.mkdir()
    file.write_text(
        "from tempme_jax.training.flags import make_defaults\n\n\n"
        "def get_config(words='tempme'):\n    return make_defaults('lora')\n"
    )
    assert find_config_file("configs/msrvtt.py") == "configs/msrvtt.py"
    assert parse_flags(["--config=configs/msrvtt.py"]).model.method == "lora"


def test_a_missing_config_says_where_it_was_looked_for(installed, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        find_config_file("configs/msrvt.py")
    message, _, places = str(caught.value).partition("; looked for it in ")
    assert message.startswith("there is no config file configs/msrvt.py (did you mean 'configs/ms")
    assert places == f"{tmp_path}/elsewhere and in {tmp_path}/env/share/tempme_jax"
    with pytest.raises(FileNotFoundError, match="no config file /nowhere/x.py$"):
        find_config_file("/nowhere/x.py")


@pytest.mark.parametrize(
    "file", ["msrvtt.py:tempme,b16", "moving_shapes.py:rap+tempme", "tiny_clip.py", "didemo.py:dgl"]
)
def test_a_printed_config_gives_itself(file):
    flags = ["--config.train.learning_rate=3e-5", "--config.data.fps=None"]
    expected = parse_flags([f"--config={HOME / file}", *flags])
    text = format_config(expected)
    names = {}
    exec(text, names)
    assert build_config(names["config"]) == expected
    assert "config.train.batch_size = " in text
    assert "config.train.learning_rate = 3e-05\n" in text
