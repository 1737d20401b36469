"""The cross product of settings: a row for each combination, named by it."""

import pytest
import toy_run
from click.testing import CliRunner

from tempme_jax.cli import main
from tempme_jax.compare.grid import expand, split_values
from tempme_jax.compare.runs import Contender, plan_runs

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
ROWS = [Contender("lora", "lora"), Contender("TempMe, B/16", "tempme", ("--x",), {"R@1": 3}, "why")]


def test_every_combination_is_a_row_with_its_settings():
    rows = expand(ROWS, ["train.learning_rate=1e-4,6e-4", "--config.train.steps=3,4"])
    assert [row.name for row in rows[:5]] == [
        "lora, learning_rate=1e-4, steps=3",
        "lora, learning_rate=1e-4, steps=4",
        "lora, learning_rate=6e-4, steps=3",
        "lora, learning_rate=6e-4, steps=4",
        "TempMe, B/16, learning_rate=1e-4, steps=3",
    ]
    assert len(rows) == 8
    flags = "--config.train.learning_rate=1e-4", "--config.train.steps=3"
    assert rows[4].flags == ("--x", *flags) and rows[0].words == "lora"
    assert (rows[4].printed, rows[4].note) == ({}, "")  # the paper's settings are others
    assert expand(ROWS, []) == ROWS


def test_the_runs_have_folders_and_settings_of_their_own(tmp_path):
    rows = expand([Contender("tempme", "tempme")], ["model.options.layers=(0,1),(1,)"])
    runs = plan_runs(
        toy_run.FILE, rows, 2, ["--config.model.options.groups=None"], tmp_path, "wandb"
    )
    assert [run.folder.relative_to(tmp_path).as_posix() for run in runs[:2]] == [
        "tempme,_layers__0,1_/seed_0",
        "tempme,_layers__1,_/seed_0",
    ]
    assert [run.config.model.options["layers"] for run in runs[:2]] == [(0, 1), (1,)]
    assert "--log=wandb" in runs[0].command


def test_names_of_settings_that_end_alike_are_whole():
    (row,) = expand(ROWS[:1], ["train.batch_size=8", "evaluate.batch_size=4"])
    assert row.name == "lora, train.batch_size=8, evaluate.batch_size=4"


def test_commas_in_brackets_and_quotes_do_not_separate():
    assert split_values("(3,4),[5],'a,b'") == ["(3,4)", "[5]", "'a,b'"]
    assert split_values("1") == ["1"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["train.steps"], "--grid 'train.steps' is not of the form train.learning_rate=1e-4,6e-4"),
        (["=3"], "is not of the form"),
        (["seed=1,2"], "seed is set by compare; choose the seeds instead"),
        (["model.method=lora,tome"], "choose the methods instead"),
        (["train.steps=3", "train.steps=4"], "train.steps is given twice"),
        (["train.batch_size=8,16"], "train.batch_size is given twice"),
        (["train.steps=3,3"], "has 3 twice"),
        (["train.steps=3,"], "has an empty value"),
    ],
)
def test_mistakes(grid, message):
    with pytest.raises(ValueError, match=message):
        expand(ROWS, grid, ["--config.train.batch_size=4"])


def test_a_mistyped_setting_is_found_before_any_run(tmp_path):
    words = ["compare", str(toy_run.FILE), "--methods", "lora", "--workdir", str(tmp_path / "w")]
    told = CliRunner().invoke(main, [*words, "--grid", "model.rank=2,4"])
    assert told.exit_code == 1 and "did you mean 'model.options.rank'" in told.output
    assert not (tmp_path / "w").exists()
