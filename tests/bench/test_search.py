"""`tempme bench search` measures each way to search, and judges it by the exact one."""

import importlib.util
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from tempme_jax.bench import search, searchers
from tempme_jax.bench.searchers import Measured
from tempme_jax.cli import main
from tempme_jax.search.store import sidewriter


def run(*arguments):
    return CliRunner().invoke(main, ["bench", "search", *map(str, arguments)], prog_name="tempme")


@pytest.fixture
def here(monkeypatch):
    """Everything runs in this process."""
    monkeypatch.setattr(searchers, "run_alone", lambda function, *given: function(*given))
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", sidewriter.EXACT_WINDOWS)  # a way changes it


def test_as_json_and_as_a_table(here, monkeypatch):
    speeds = search.measure_search(300, 4, 16, 20)
    monkeypatch.setattr(search, "measure_search", lambda *given, **options: speeds)
    found = json.loads(run("--json").stdout)
    assert (found["windows"], found["queries"], found["width"], found["fetched"]) == (
        300,
        4,
        16,
        20,
    )
    ways = found["ways"]
    assert len(ways) == 3
    for way in ways:
        assert way["recall"] == 1 and 0 < way["p50_ms"] <= way["p99_ms"]
        assert 0 < way["anonymous_mb"] <= way["resident_mb"]
    assert found["database_mb"] > 300 * 16 * 4 / 1e6 and ways[1]["disk_mb"] > 300 * 16 * 5 / 1e6
    printed = run().stdout
    assert [way["way"] for way in ways if way["way"] not in printed] == []
    assert "300 windows of 16 numbers" in printed


def test_recall():
    exact = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = Measured([0.001, 0.003], np.array([[4, 3, 9, 1], [5, 6, 10, 11]]), 1, 2, 3, 4)
    speed = search.summarize("some", found, exact)
    assert (speed.recall, speed.p50_ms) == (5 / 8, 2)


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = run("--against", "faiss")
    assert result.exit_code == 1 and "pip install 'tempme-jax[bench]'" in result.output


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="needs faiss")
def test_faiss(here, tmp_path):
    search.save_random_vectors(tmp_path, 500, 5, 16)
    exact = searchers.search_in_memory(tmp_path, 10).best
    for kind, least in (("Flat", 1), ("IVF", 0.2), ("HNSW", 0.8)):
        found = searchers.search_faiss(kind, tmp_path, 10)
        assert search.summarize(kind, found, exact).recall >= least


def test_each_way_has_a_process_of_its_own():
    assert searchers.run_alone(os.getpid) != os.getpid()
