"""The paper's tables are comparisons that can be run, with its figures beside ours."""

import functools
import pathlib

import pytest

from tempme_jax.compare import paper, runs
from tempme_jax.compare.contenders import (
    BACKBONES,
    choose_contenders,
    make_contenders,
    read_table,
)
from tempme_jax.loading import load
from tempme_jax.methods import METHODS, build
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.training.flags import parse_flags

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

FOLDER = pathlib.Path("configs/tables")
FILES = sorted(FOLDER.glob("*.py"))
# Tables 11 and 12 are the other direction of Tables 2 and 3.
WANTED = {f"table{number}" for number in (*range(2, 11), *range(13, 17))} | {"figure5"}


def test_every_table_has_a_file():
    assert {file.stem for file in FILES} == WANTED


# Data sets with which a table runs, where that is not MSR-VTT; and built-in sets.
DATA = {"table3": "lsmdc", "table6": "umt_msrvtt", "table7": "umt_msrvtt_qa"}
BUILT_IN = {"table6": "umt_moving_shapes", "table7": "umt_moving_shapes_qa"}


@functools.cache
def load_arch(weights, backbone):
    return load(weights, method="full", backbone=backbone).arch


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_runs_on_the_built_in_set(file):
    """Its settings are accepted, and its method fits the tiny model; no two rows are the same."""
    if file.stem == "table14":
        with pytest.raises(ValueError, match="Table 14.*224 pixels; give --data"):
            choose_contenders(str(file), None, None, None)
        return
    wanted = f"configs/{BUILT_IN.get(file.stem, 'moving_shapes')}.py"
    config, contenders, name = choose_contenders(str(file), None, None, None)
    assert (config, name) == (wanted, file.stem)
    settings = [parse_flags(runs.make_flags(config, one, 0, [])) for one in contenders]
    for one in settings:
        options = {k: v for k, v in one.model.options.items() if v is not None}
        words = {"max_words": one.model.max_words}
        arch = load_arch(one.model.weights, one.model.architecture.get("backbone"))
        build(one.model.method, arch, one.model.num_frames, options, **words)
    assert len({str(one) for one in settings}) == len(contenders)
    assert len({one.name for one in contenders}) == len(contenders)
    assert runs.check_contenders(contenders)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_runs_with_the_paper_s_backbone(file):
    data = f"configs/{DATA.get(file.stem, 'msrvtt')}.py"
    config, contenders, name = choose_contenders(str(file), None, data, "shared")
    assert (config, name) == (data, f"{file.stem}-{pathlib.Path(data).stem}")
    for one in contenders:
        settings = parse_flags(runs.make_flags(config, one, 0, []))
        arch = ARCHITECTURES[find_backbone(one.words)]
        options = {k: v for k, v in settings.model.options.items() if v is not None}
        build(settings.model.method, arch, settings.model.num_frames, options)
        if "umt" not in one.words:
            assert settings.train.learning_rate == 6e-4


def find_backbone(words):
    """The backbone that the words of a config name; its file may hold any of its kind."""
    named = [name for name, word in BACKBONES.items() if word in words.split(",")]
    return named[0] if named else "ViT-B/16"  # other weights of that backbone, as LaCLIP's


def test_the_paper_s_figures_stand_beside():
    contenders = choose_contenders("configs/tables/table2.py", None, None, None)[1]
    by_name = {one.name: one for one in contenders}
    printed = by_name["TempMe"].printed
    assert (printed["trainable"], printed["gflops"]) == (0.50, 34.8)
    assert "tokens" not in printed
    for direction, values in {
        "text_to_video": (46.1, 71.8, 80.7, 198.6, 14.8),
        "video_to_text": (45.6, 72.4, 81.2, 199.2, 10.2),
    }.items():
        names = ("R@1", "R@5", "R@10", "R-Sum", "MnR")
        assert tuple(printed[f"{direction} {name}"] for name in names) == values
    assert "190.5" in by_name["Adapter"].note


def test_umt_has_its_own_weights():
    """On a data set, every row has its backbone."""
    for number, data in ((6, "umt_msrvtt.py"), (7, "umt_msrvtt_qa.py")):
        table = read_table(FOLDER / f"table{number}.py")
        rows = make_contenders(table, f"configs/{data}")
        words = [f"{method},umt-b16" for method in ("full+joined", "full", "full+tempme")]
        assert [one.words for one in rows] == words


def test_rows_of_the_right_data_set():
    """The long sets have 64 frames; on the built-in set every method of Table 3 runs once."""
    file = "configs/tables/table3.py"
    of_activitynet = choose_contenders(file, None, "configs/activitynet.py", None)[1]
    of_lsmdc = choose_contenders(file, None, "configs/lsmdc.py", None)[1]
    assert "--config.model.num_frames=64" in of_activitynet[0].flags
    assert "--config.model.num_frames=12" in of_lsmdc[0].flags
    built_in = choose_contenders(file, None, None, None)[1]
    assert {one.name for one in built_in} == {one.name for one in of_lsmdc}
    with pytest.raises(ValueError, match="rows for activitynet, didemo, lsmdc, not for"):
        choose_contenders(file, None, "configs/msrvtt.py", None)


def test_all_methods_and_both_recipes():
    config, contenders, _ = choose_contenders("configs/moving_shapes.py", "all", None, "own")
    assert [one.name for one in contenders] == list(METHODS)
    assert contenders[1].words == "full,own"
    names = [e.name for e in choose_contenders(config, None, None, None)[1]]
    assert names == ["lora", "tome", "tempme"]


def test_words_behind_the_config_are_for_every_method():
    config, contenders, name = choose_contenders(
        "configs/moving_shapes.py:hard", "lora, tempme", None, "own"
    )
    assert config == "configs/moving_shapes.py"
    assert [one.name for one in contenders] == ["lora", "tempme"]
    assert [one.words for one in contenders] == ["lora,hard,own", "tempme,hard,own"]
    assert name == "moving_shapes-hard"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("configs/tables/table2.py", "lora", None, None), "--methods=lora is for data sets"),
        (("configs/msrvtt.py", None, "configs/lsmdc.py", None), "--data=configs/lsmdc.py is for"),
        (("configs/tables/table2.py:hard", None, None, None), ":hard is for data sets"),
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
