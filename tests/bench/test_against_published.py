"""The script that compares with the published code: what it reads, asks for, and computes."""

import importlib.util
import itertools
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "against_published.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("against_published", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def given(tmp_path):
    """A checkout, as far as it is looked at, and weights."""
    (tmp_path / "tvr" / "models").mkdir(parents=True)
    (tmp_path / "tvr" / "models" / "modeling.py").touch()
    (tmp_path / "ViT-B-32.pt").touch()
    return [str(tmp_path), "--weights", str(tmp_path / "ViT-B-32.pt")]


def test_what_main_of_the_published_code_would_read(script, given):
    words = [*given, "--backbone", "ViT-B/16", "--batch", "4"]
    arguments = script.make_published_arguments(script.parse_arguments(words))
    assert (arguments.base_encoder, arguments.pretrained_path) == ("ViT-B/16", given[2])
    assert (arguments.tome_r, arguments.merge_token_proportion) == (10, "40-20")
    assert (arguments.max_frames, arguments.max_words, arguments.batch_size) == (12, 32, 4)


@pytest.mark.parametrize(
    "words, told",
    [
        (["nowhere", "--weights", "x"], "nowhere is no checkout of the published code"),
        (["--weights", "nowhere.pt"], "nowhere.pt is not a file"),
        (["--backbone", "ViT-B/16", "--frames", "64"], "no published settings"),
        (["--pairs", "0"], "must be 1 or more"),
        (["--train"], "--train needs --batch of 2 or more"),
    ],
)
def test_mistakes(script, given, words, told, capsys):
    first = [] if words[0] == "nowhere" else given
    with pytest.raises(SystemExit) as ended:
        script.parse_arguments([*first, *words])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


def test_calls_take_turns_and_the_first_do_not_count(script, monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(script.time, "perf_counter", lambda: clock[0])

    def make(name, seconds):
        each = itertools.chain([100.0], itertools.repeat(seconds))

        def call():
            calls.append(name)
            clock[0] += next(each)

        return call

    found = script.compare(make("a", 2.0), make("b", 3.0), 3)
    assert found == {
        "our_seconds": 2.0, "published_seconds": 3.0, "ratio": 1.5, "pairs": 3,
    }  # fmt: skip
    assert "".join(calls) == "baabbaab"
