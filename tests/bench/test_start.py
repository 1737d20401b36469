"""`tempme bench start` runs commands in fresh processes on an index of its own."""

import contextlib

import pytest
import toy_index

from tempme_jax.bench import printing, start
from tempme_jax.search.index import VideoIndex


@pytest.fixture
def model(tmp_path):
    toy_index.make_model().save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_what_is_run(model, monkeypatch, capsys):
    """Every command as often, the first search once more and alone."""
    ran = []
    monkeypatch.setattr(start, "run", lambda words, _: ran.append(words) or float(len(ran)))
    monkeypatch.setattr(start, "serve", lambda *_: contextlib.nullcontext())
    found = start.measure_start(str(model), rounds=2)
    assert [words[0] for words in ran[:2]] == ["search", "search"]
    assert sum(words == ["--help"] for words in ran) == 2
    assert found.seconds["search, the first time"] == 1
    assert found.seconds["--help"] == (3 + 8) / 2
    assert found.large == [] and 50 < found.modules < 500
    printing.print_start_times(found)
    assert "search beside `tempme serve`" in capsys.readouterr().out


def test_its_index_can_be_searched(model, tmp_path):
    index = VideoIndex(start.make_index(tmp_path, str(model)))
    assert len(index.search("a red circle").moments) == 10
    assert index.stats().windows == 1000 and index.stats().outdated == 0


def test_a_command_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="there is no index"):
        start.run(["search", "a cat", "--index", str(tmp_path / "none"), "--json"], {})
