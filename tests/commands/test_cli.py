"""The `tempme` command says what it can do, what was mistyped, and what methods cost."""

import dataclasses
import json

import click
import pytest
from click.testing import CliRunner
from random_weights import make_random_params

from tempme_jax import building
from tempme_jax.bench import encode
from tempme_jax.cli import COMMANDS, main
from tempme_jax.compare import paper
from tempme_jax.networks.architecture import Architecture
from tempme_jax.version import __version__

TOY = Architecture(
    embed_dim=16, image_size=32, patch=16, width=32, depth=3, heads=1,
    text_width=32, text_depth=1, text_heads=1, vocab_size=64,
)  # fmt: skip


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, arguments, prog_name="tempme")
    assert result.exit_code == exit_code, result.output
    return result


def rows_of(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ((), ["bench", "compare", "convert", "data", "evaluate", "export", "results"]),
        ((), ["--version", "--help"]),
        (("bench",), ["costs", "data", "encode", "runs", "search"]),
        (("doctor",), ["--json"]),
        (("data",), ["doctor", "download", "prepare", "samples"]),
        (("compare",), ["CONFIG", "SETTINGS", "--methods", "--seeds", "--workdir"]),
        (("compare",), ["--data", "--recipe", "--speeds"]),
        (("visualize",), ["VIDEO", "--weights", "--methods", "--frames", "--out", "--overwrite"]),
        (("bench", "costs"), ["--table", "--backbone", "--json"]),
        (
            ("bench", "encode"),
            ["--methods", "--backbone", "--frames", "--batch", "--rounds", "--dtype", "--json"],
        ),
        (("bench", "search"), ["--windows", "--queries", "--width", "--json"]),
        (("convert",), ["SOURCE", "TARGET", "--activation", "--layout", "--overwrite"]),
    ],
)
def test_help(command, shown):
    for option in ("--help", "-h"):
        text = run(*command, option).stdout
        assert text.startswith(" ".join(["Usage: tempme", *command]))
        assert [name for name in shown if name not in text] == []
        assert "..." not in text.split("Show this message and exit.")[-1]  # names of commands


def test_help_has_headings():
    """Of the commands each is under one; the options that matter most come first."""
    listed = [one.name for commands in COMMANDS.values() for one in commands]
    assert sorted(listed) == main.list_commands(None)
    text = run("--help").stdout
    places = [text.index(f"\n{heading}:\n") for heading in COMMANDS]
    assert places == sorted(places) and "Commands:" not in text
    for name, first in (("index", "--model"), ("search", "-k")):
        command, text = main.commands[name], run(name, "--help").stdout
        common = text.split("Options:")[1].partition("\n\n")[0]
        assert first in common and "--int8" not in common and "TEXT..." not in common
        options = [o.opts[0] for o in command.params if isinstance(o, click.Option)]
        assert set().union(*command.headings.values()) < set(options)
        assert [option for option in options if text.count(f"\n  {option} ") != 1] == []


def test_a_name_without_quotes():
    words = run("index", "Holiday", "2023", exit_code=2).stderr
    assert "unexpected extra argument (2023); put a name with spaces in quotes" in words
    assert words.count("quotes") == 1


def test_every_option_has_a_help():
    groups = [main, main.commands["bench"], main.commands["data"]]
    commands = [command for group in groups for command in group.commands.values()]
    options = [o for c in commands for o in c.params if isinstance(o, click.Option)]
    assert len(options) == 180
    assert [option.name for option in options if not option.help] == []


def test_version():
    assert run("--version").stdout == f"tempme, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (
            ("bnch",),
            "there is no command 'bnch' (did you mean 'bench'?); there are: bench, compare",
        ),
        (("bench", "cost"), "there is no command 'cost' (did you mean 'costs'?)"),
        (("bench", "costs", "--jsn"), "No such option '--jsn'. Did you mean '--json'?"),
        (("bench", "encode", "--round", "1"), "--rounds"),
        (("compare", "x.py", "--method", "lora"), "option: --method (did you mean '--methods'?)"),
        (("evaluate", "x", "--outptu=x", "--config=y"), "(did you mean '--output'?)"),
        (("bench", "encode", "--rounds", "0"), "'--rounds': 0 is not in the range x>=1"),
    ],
)
def test_mistyped(arguments, hint):
    result = run(*arguments, exit_code=2)
    assert hint in result.stderr
    assert result.stdout == ""


@pytest.fixture(scope="module")
def table_13():
    return rows_of("bench", "costs", "--table", "13")


def test_costs_as_json(table_13):
    keys = {"name", "backbone", "frames", "trainable", "mac", "paper", "tokens", "paper_trainable"}
    assert all(row.keys() >= keys for row in table_13)
    adapters = ("Prompt", "Adapter", "LoRA")
    names = [f"{more}{name}" for name in adapters for more in ("", "ToMe + ", "TempMe + ")]
    assert [row["name"] for row in table_13] == names
    row = table_13[5]
    assert (row["table"], row["tables"]) == (13, [13])
    assert row["paper_text_to_video R@1"] == 45.7
    assert (row["backbone"], row["frames"]) == ("ViT-B/32", 12)
    assert (row["trainable"], row["tokens"]) == (277440, 97)
    assert row["paper"] == pytest.approx(34.837, abs=1e-3)
    assert row["mac"] == pytest.approx(34.764, abs=1e-3)
    assert (row["paper_trainable"], row["paper_gflops"]) == (0.28, None)
    assert row["agrees"] is True


def test_costs_as_a_table(table_13, monkeypatch):
    rows = paper.select_rows([13])[1:6]
    changes = {"table": 14, "printed": {"trainable": 0.5}, "note": "A [note] of 0.5."}
    noted = dataclasses.replace(rows[-1], **changes)
    monkeypatch.setattr(paper, "ROWS", (*rows, noted))
    lines = [" ".join(line.split()) for line in run("bench", "costs").stdout.splitlines()]
    costs = "msrvtt ViT-B/32 12 0.277"
    assert "TempMe + Prompt msrvtt ViT-B/32 12 0.093 0.09 34.85 38.65 - 102 - =" in lines
    assert f"TempMe + Adapter {costs} 0.28 34.76 34.84 - 97 - =" in lines
    assert f"14 TempMe + Adapter {costs} 0.50 34.76 34.84 - 97 - differs [1]" in lines
    assert "[1] A [note] of 0.5." in lines
    assert "Table 13: the paper's other figures" in lines
    assert "TempMe + Adapter msrvtt 45.7 71.2 80.1 14.1 44.6 72.1 81.1 11.2" in lines
    assert not any(line.startswith("Table 14") for line in lines)


def test_a_table_is_whole_on_a_narrow_terminal(table_13, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = run("bench", "costs", "--table", "13").stdout
    assert "TempMe + Adapter" in text
    assert "…" not in text


def test_costs_of_a_backbone():
    clip, tempme = rows_of("bench", "costs", "--backbone", "ViT-B/32-256")
    assert (clip["parameters"], clip["reducer"], clip["share"]) == (151_288_833, "", 1)
    assert tempme["reducer"].startswith("r=3 layers=8,9,10 ")
    assert 0.6 < tempme["share"] < 0.7
    result = run("bench", "costs", "--backbone", "ViT-B/33", exit_code=1)
    assert "unknown backbone: 'ViT-B/33'" in result.stderr
    result = run("bench", "costs", "--backbone", "ViT-B/32", "--table", "2", exit_code=2)
    assert "give --backbone or --table, not both" in result.stderr


def test_costs_of_a_table_that_is_not_there():
    result = run("bench", "costs", "--table", "17", "--table", "13", exit_code=1)
    tables = list(range(1, 17))
    message = f"Error: no rows of tables [17]; there are: {tables}\n"
    assert result.stderr == message


def create_without_params(backbone, **settings):
    arch = building.ARCHITECTURES[backbone]
    return building.assemble(arch, max_words=8, options={}, **settings)


@pytest.fixture
def clock(monkeypatch):
    """The toy is a backbone; each call takes the next of some seconds, and computes nothing."""
    monkeypatch.setitem(building.ARCHITECTURES, "toy", TOY)
    monkeypatch.setattr(encode, "create", create_without_params)
    # The first calls of two methods, three rounds of both, and the matrix product.
    seconds = iter([9.0, 8.0, 2.0, 1.0, 4.0, 1.0, 3.0, 2.0] + [0.5] * 30)
    monkeypatch.setattr(encode, "time_call", lambda call: next(seconds))


def test_speeds_and_ratios(clock):
    told = []
    network, tempme = encode.measure_encoding(
        ["clip", "tempme"], backbone="toy", num_frames=4, batch=6, rounds=3, report=told.append
    )
    assert told == ["preparing clip", "preparing tempme", *(f"round {n} of 3" for n in (1, 2, 3))]
    assert (network.method, network.first_seconds, network.ratio, network.expected_ratio) == (
        "clip",
        9,
        1,
        1,
    )
    assert (tempme.method, tempme.first_seconds) == ("tempme", 8)
    assert network.videos_per_second == 6 / 3
    assert tempme.videos_per_second == 6 / 1
    assert tempme.ratio == 2  # the median of 2 / 1, 4 / 1 and 3 / 2, not 3 / 1
    # By hand, products of 4 frames of 1 + 4 tokens: patches, projection, three blocks.
    outside = 4 * (4 * 3 * 16 * 16 * 32 + 32 * 16)
    block = 12 * 5 * 32 * 32 + 2 * 5 * 5 * 32
    macs = (outside + 3 * 4 * block) / 1e9
    assert network.gmacs_per_second == pytest.approx(macs * 6 / 3)
    assert tempme.gmacs_per_second == pytest.approx(macs * 6 / tempme.expected_ratio)
    assert 1 < tempme.expected_ratio < 2


TOY_ENCODE = tuple("bench encode --backbone toy --frames 4 --batch 4 --rounds 3".split())


def test_encode_as_json(clock):
    rows = rows_of(*TOY_ENCODE, "--methods", "clip, tempme")
    assert [row["method"] for row in rows] == ["clip", "tempme"]
    assert [row["ratio"] for row in rows] == [1, 2]
    assert rows[0].keys() == {field.name for field in dataclasses.fields(encode.EncodeSpeed)}


def test_encode_as_a_table(clock):
    result = run(*TOY_ENCODE)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["clip", "1.33", "1.00", "1.00", "0", "9.0"] in lines
    assert ["tempme", "4.00", "2.00"] in [line[:3] for line in lines]
    assert "toy, 4 frames, 4 videos a call, float32" in result.stdout
    assert "product runs at 6 GMAC/s" in result.stdout  # 1200 x 768 x 3072 in half a second
    assert "preparing tempme" in result.stderr


def test_encode_knows_all_methods_before_it_starts(clock):
    result = run("bench", "encode", "--backbone", "toy", "--methods", "clip,temme", exit_code=1)
    told, last = result.stderr.splitlines()
    assert told == "Starting..."
    assert last.startswith("Error: unknown method: 'temme' (did you mean 'tempme' or ")


def test_encode_of_an_unknown_backbone():
    result = run("bench", "encode", "--backbone", "B32", exit_code=1)
    assert "Error: unknown backbone: 'B32' (did you mean 'ViT-B/32'?)" in result.stderr


def test_convert_of_no_file(tmp_path):
    target = tmp_path / "clip.safetensors"
    result = run("convert", str(tmp_path / "clip.pt"), str(target), exit_code=1)
    assert result.stderr == f"Error: there is no file {tmp_path / 'clip.pt'}\n"
    assert not target.exists()


@pytest.mark.slow
def test_encode_measures():
    rows = rows_of("bench", "encode", "--rounds", "2", "--batch", "1")
    assert [row["method"] for row in rows] == ["clip", "tempme"]
    assert all(row["videos_per_second"] > 0 for row in rows)
    assert rows[1]["expected_ratio"] == pytest.approx(1.524, abs=1e-3)
    assert 1 < rows[1]["ratio"] < 3


def test_speeds_of_models_that_were_trained(tmp_path):
    """Named by where they lie; the first is what the other is compared with."""
    files = [str(tmp_path / f"{method}.safetensors") for method in ("lora", "tome")]
    for file, method in zip(files, ("lora", "tome"), strict=True):
        settings = {"method": method, "num_frames": 2, "max_words": 8, "options": {}}
        model = building.assemble(TOY, dtype="float32", **settings)
        model = building.fill_params(model, make_random_params(model.network, 2), seed=0)
        model.save(file)
    out = tmp_path / "speeds.json"
    text = run("bench", "runs", *files, "--rounds", "1", "--batch", "1", "--out", str(out)).stdout
    rows = json.loads(out.read_text())
    assert [row["method"] for row in rows] == files
    assert rows[0]["ratio"] == 1 and min(row["videos_per_second"] for row in rows) > 0
    assert files[1] in text
