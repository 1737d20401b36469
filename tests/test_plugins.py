"""Plugins add methods and data sets; only what the user gave or installed is run."""

import json
import re
import sys
import textwrap
from unittest import mock

import pytest
import toy_run
from click.testing import CliRunner
from repository import ROOT

import tempme_jax
from tempme_jax import building, cli, main, plugins
from tempme_jax.compare.runs import plan_runs
from tempme_jax.datasets import DATASETS, find_data_set
from tempme_jax.methods import METHODS, split_method
from tempme_jax.training.flags import build_config, format_config, make_defaults, parse_flags
from tempme_jax.training.model import read_settings
from tempme_jax.training.places import make_builder
from tempme_jax.training.workdir import open_workdir

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

METHOD = """
    import dataclasses

    from helpers_of_mine import WORDS
    from tempme_jax.adapters.lora import LoRA
    from tempme_jax.methods import METHODS
    from tempme_jax.reducers.tome import ToMe

    @dataclasses.dataclass(frozen=True)
    class Mine(ToMe):
        extra: int | None = 3

    METHODS["mine"] = (LoRA(), Mine(r=1))
"""
DATA_SET = """
    from tempme_jax.datasets import DATASETS
    from tempme_jax.datasets.base import Video
    from tempme_jax.datasets.prepare import VideoText

    class MySet(VideoText):
        name = "my-set"

        def list_videos(self, split):
            return [Video("a", self.root / "a.mp4", ("one", "two"))]

    DATASETS["my-set"] = MySet
"""


def forget():
    """Leave the tables as they are without plugins."""
    for table in plugins.TABLES.values():
        for name in table.sources:
            table.rows.pop(name, None)
        table.sources.clear()
    for module in plugins.LOADED.values():
        sys.modules.pop(module.__name__, None)
    plugins.LOADED.clear()


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.path", [*plugins.sys.path])
    with mock.patch.dict(METHODS), mock.patch.dict(DATASETS), mock.patch.dict("sys.modules"):
        yield
        forget()


def write(folder, text, name="mine.py"):
    folder.mkdir(exist_ok=True)
    (folder / "helpers_of_mine.py").write_text("WORDS = 3\n")
    (folder / name).write_text(textwrap.dedent(text))
    return folder / name


def toy(file, *flags, method="mine"):
    return parse_flags([f"--config={toy_run.FILE}:{method}", *flags])


def test_a_file_adds_a_method(tmp_path):
    file = write(tmp_path / "code", METHOD)
    assert tempme_jax.load_plugin(file) == str(file)
    assert type(split_method("mine")[1]).__name__ == "Mine"
    assert type(split_method("prompt+mine")[1]).__name__ == "Mine"
    with pytest.raises(ValueError, match="extra='x' must be a whole number or none"):
        build_config({"model": {"method": "mine", "options": {"extra": "x"}}})
    config = toy(file)
    assert config.plugins == (str(file),) and config.to_json()["plugins"] == [str(file)]
    assert (
        toy(file, method="lora").plugins == ()
        and "plugins" not in toy(file, method="lora").to_json()
    )
    names = {}
    exec(format_config(config), names)  # which loads the plugin itself
    assert build_config(names["config"]) == toy(file).__class__(**{**vars(config), "plugins": ()})


def test_the_plugin_of_the_guide_works(tmp_path):
    page = (ROOT / "docs/guides/plugins.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    file = write(tmp_path, code, name="guide.py")
    (tmp_path / "annotations").mkdir()
    rows = {"train": {"a": ["one", "two"]}, "validation": {}, "test": {}}
    (tmp_path / "annotations/kitchen.json").write_text(json.dumps(rows))
    tempme_jax.load_plugin(file)
    flags = ["--config.data.name=kitchen", f"--config.data.root={tmp_path}"]
    config = parse_flags(["--config=configs/folder.py:small-tempme", *flags])
    assert (config.model.options["rank"], config.plugins) == (4, (str(file),))
    (video,) = make_builder(config.data).list_videos("train")
    assert (video.captions, video.file) == (("one", "two"), tmp_path / "videos/a.mp4")


def test_a_run_and_a_comparison_pass_it_on(tmp_path):
    file = write(tmp_path / "code", METHOD)
    tempme_jax.load_plugin(file)
    (one,) = plan_runs(toy_run.FILE, ["mine"], 1, [], tmp_path / "work")
    assert f"--plugin={file}" in one.command
    defined = main.flags.FLAGS["plugin"]
    assert (defined.default, defined.help[:13]) == ([], "A Python file")


def test_a_data_set_of_a_plugin(tmp_path):
    file = write(tmp_path, DATA_SET)
    told = CliRunner().invoke(
        cli.main, ["data", "doctor", "my-set", "--quick", "--plugin", str(file)]
    )
    assert "my-set, variant default" in told.output and "Missing" in told.output
    assert find_data_set("my-set").name == "my-set"
    assert toy(file, "--config.data.name=my-set", method="lora").plugins == (str(file),)


def test_a_workdir_runs_a_plugin_only_if_the_user_gave_it(tmp_path):
    file = write(tmp_path / "code", METHOD)
    tempme_jax.load_plugin(file)
    folder = open_workdir(tmp_path / "run", toy(file))
    forget()
    assert read_settings(folder).model.method == "mine"  # it was given before
    forget()
    (tmp_path / "cache/tempme_jax/plugins.txt").unlink()
    with pytest.raises(plugins.PluginError, match=f"needs the plugin {file}, which you have not g"):
        read_settings(folder)
    assert "mine" not in METHODS
    moved = write(tmp_path / "moved", METHOD)
    tempme_jax.load_plugin(moved)
    assert read_settings(folder).plugins == (str(file),)  # one of that name is enough


def test_a_file_of_weights_never_runs_one(tmp_path):
    file = write(tmp_path / "code", METHOD)
    tempme_jax.load_plugin(file)
    saved = tmp_path / "model.safetensors"
    settings = dict(width=16, heads=2, depth=1, patch=8, image_size=16, embed_dim=16)
    settings |= dict(text_width=16, text_depth=1, text_heads=2, vocab_size=600, num_frames=2)
    building.create(**settings, method="mine").save(saved)
    assert str(tmp_path).encode() not in saved.read_bytes()  # nobody sees where it lay
    forget()
    with pytest.raises(plugins.PluginError, match="'mine' of .* comes from the plugin 'mine.py'"):
        tempme_jax.load(saved)
    tempme_jax.load_plugin(file)
    assert tempme_jax.load(saved).method == "mine"


def install(home, name, module, text):
    """Make a package with an entry point, as pip leaves it."""
    (home / f"{module}.py").write_text(textwrap.dedent(text))
    about = home / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[tempme_jax.plugins]\n{name} = {module}\n")


def test_installed_plugins_are_found_when_a_name_is_asked_for(tmp_path, monkeypatch):
    home = write(tmp_path / "site", "").parent
    install(home, "mine", "tempme_mine", METHOD)
    monkeypatch.syspath_prepend(home)
    split_method("lora")
    assert not plugins.LOADED
    assert type(split_method("mine")[1]).__name__ == "Mine"
    folder = open_workdir(tmp_path / "run", toy(None))
    forget()
    assert read_settings(folder).plugins == ("tempme_mine",)  # installed is as good as given
    with pytest.raises(ValueError, match="unknown method: 'mien' .did you mean 'mine'"):
        split_method("mien")
    install(home, "broken", "tempme_broken", "import nowhere")
    assert split_method("mine")
    with pytest.raises(
        ValueError, match="'mien'; an installed plugin fails: the plugin tempme_brok"
    ):
        split_method("mien")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\nimport nowhere",
            r"mine.py fails in line 2: ModuleNotFoundError: No module named 'nowh",
        ),
        ("def f(:", r"mine.py fails in line 1: SyntaxError"),
        ("import sys\nsys.exit(3)", r"mine.py fails in line 2: SystemExit: 3"),
        ("raise KeyError('x')", r"mine.py fails in line 1: KeyError: 'x'"),
        (METHOD.replace('"mine"', '"lora"'), "adds the method 'lora': this name is taken"),
        (METHOD.replace('"mine"', '"a+b"'), "adds the method 'a.b': a name has letters"),
        (METHOD.replace("(LoRA(), Mine(r=1))", "Mine"), "a row is a pair of an adapter and a red"),
        (METHOD.replace("extra", "rank"), "its adapter and its reducer both have an option 'rank'"),
        (
            "import tempme_jax\ndel tempme_jax.METHODS['lora']",
            "takes away the method 'lora'; it may",
        ),
        (DATA_SET.replace("= MySet", "= 3"), "'my-set': a row is a class derived from tempme_jax."),
        (
            DATA_SET.replace('name = "my-set"', ""),
            "its class is named 'my_set'; write name = 'my-s",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why_and_adds_nothing(tmp_path, text, message):
    rows = dict(METHODS), dict(DATASETS)
    file = write(tmp_path, text)
    with pytest.raises(plugins.PluginError, match=message):
        tempme_jax.load_plugin(file)
    assert (METHODS, DATASETS) == rows and not (tmp_path / "cache").exists()
    told = CliRunner().invoke(cli.main, ["config", "configs/msrvtt.py", "--plugin", str(file)])
    assert told.exit_code == 1 and told.output.startswith("Error: the plugin")


def test_a_plugin_that_is_not_there(tmp_path):
    write(tmp_path, METHOD)
    with pytest.raises(
        plugins.PluginError, match=r"no plugin .*mien.py .did you mean '.*/mine.py'"
    ):
        tempme_jax.load_plugin(tmp_path / "mien.py")
    with pytest.raises(plugins.PluginError, match="no module 'no.such' for a plugin; install"):
        tempme_jax.load_plugin("no.such")
    with pytest.raises(plugins.PluginError, match="/.* is a folder; give its Python file"):
        tempme_jax.load_plugin(tmp_path)


def test_rows_of_a_notebook_stay_when_a_plugin_fails(tmp_path):
    METHODS["own"] = METHODS["tome"]
    with pytest.raises(plugins.PluginError):
        tempme_jax.load_plugin(write(tmp_path, METHOD.replace('"mine"', '"lora"')))
    assert METHODS["own"] is METHODS["tome"]
    assert make_defaults("own").model.method == "own"
