"""The paper's tables are comparisons that can be run, with its figures beside ours."""

import pathlib

import pytest

from tempme_jax.compare import paper, runs
from tempme_jax.compare.contenders import choose_contenders, read_table
from tempme_jax.loading import load
from tempme_jax.methods import METHODS, build
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.training.flags import parse_flags

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

FOLDER = pathlib.Path("configs/tables")
FILES = sorted(FOLDER.glob("*.py"))
WANTED = {f"table{number}" for number in (2, 3, 4, 5, 8, 9, 10, 13, 14, 15, 16)} | {"figure5"}


def test_every_table_has_a_file():
    assert {file.stem for file in FILES} == WANTED


@pytest.fixture(scope="module")
def tiny():
    """The architecture of the built-in set's model."""
    return load("tiny-clip", method="clip").arch


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_runs_on_the_built_in_set(file, tiny):
    """Its settings are accepted, and its method fits the tiny model; no two rows are the same."""
    if file.stem == "table14":
        with pytest.raises(ValueError, match="Table 14.*224 pixels; give --data"):
            choose_contenders(str(file), None, None, None)
        return
    config, contenders, name = choose_contenders(str(file), None, None, None)
    assert (config, name) == ("configs/moving_shapes.py", file.stem)
    settings = [parse_flags(runs.make_flags(config, one, 0, [])) for one in contenders]
    for one in settings:
        options = {k: v for k, v in one.model.options.items() if v is not None}
        words = {"max_words": one.model.max_words}
        build(one.model.method, tiny, one.model.num_frames, options, **words)
    assert len({str(one) for one in settings}) == len(contenders)
    assert len({one.name for one in contenders}) == len(contenders)
    assert runs.check_contenders(contenders)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_runs_with_the_paper_s_backbone(file):
    data = "configs/lsmdc.py" if file.stem == "table3" else "configs/msrvtt.py"
    config, contenders, name = choose_contenders(str(file), None, data, "shared")
    assert (config, name) == (data, f"{file.stem}-{pathlib.Path(data).stem}")
    for one in contenders:
        settings = parse_flags(runs.make_flags(config, one, 0, []))
        arch = ARCHITECTURES["ViT-B/16" if "b16" in one.words else "ViT-B/32"]
        options = {k: v for k, v in settings.model.options.items() if v is not None}
        build(settings.model.method, arch, settings.model.num_frames, options)
        assert settings.train.learning_rate == 6e-4


def test_the_paper_s_figures_stand_beside():
    contenders = choose_contenders("configs/tables/table2.py", None, None, None)[1]
    printed = {one.name: one.printed for one in contenders}
    assert printed["TempMe"] == {
        "trainable": 0.50, "gflops": 34.8, "tokens": None, "R@1": 46.1, "R-Sum": 198.6,
    }  # fmt: skip
    assert printed["CLIP4Clip"]["R@1"] is None


def test_rows_of_the_right_data_set():
    """The long sets have 64 frames; on the built-in set every method of Table 3 runs once."""
    file = "configs/tables/table3.py"
    of_activitynet = choose_contenders(file, None, "configs/activitynet.py", None)[1]
    of_lsmdc = choose_contenders(file, None, "configs/lsmdc.py", None)[1]
    assert "--config.model.num_frames=64" in of_activitynet[0].flags
    assert "--config.model.num_frames=12" in of_lsmdc[0].flags
    built_in = choose_contenders(file, None, None, None)[1]
    assert [one.name for one in built_in] == [one.name for one in of_lsmdc]
    with pytest.raises(ValueError, match="rows for activitynet, didemo, lsmdc, not for"):
        choose_contenders(file, None, "configs/msrvtt.py", None)


def test_all_methods_and_both_recipes():
    config, contenders, _ = choose_contenders("configs/moving_shapes.py", "all", None, "own")
    assert [one.name for one in contenders] == list(METHODS)
    assert contenders[1].words == "full,own"
    names = [e.name for e in choose_contenders(config, None, None, None)[1]]
    assert names == ["lora", "tome", "tempme"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("configs/tables/table2.py", "lora", None, None), "--methods=lora is for data sets"),
        (("configs/msrvtt.py", None, "configs/lsmdc.py", None), "--data=configs/lsmdc.py is for"),
    ],
)
def test_what_does_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_contenders(*arguments)


def test_no_such_file_and_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config file .*table99.py .did you mean"):
        read_table(FOLDER / "table99.py")
    file = tmp_path / "table.py"
    file.write_text("TABLE = 3\n")
    with pytest.raises(ValueError, match="is not a tempme_jax.compare.contenders.Table: 3"):
        read_table(file)


def test_every_row_of_the_paper_has_a_known_method():
    for row in paper.ROWS:
        build(row.method, ARCHITECTURES[row.backbone], row.frames, row.options)
