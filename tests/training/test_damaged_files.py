"""Damaged settings, results and metrics of a workdir give an error of ours, never a traceback."""

import json
import shutil

import pytest
import toy_run

import tempme_jax
from tempme_jax.training.log import drop_later_lines
from tempme_jax.training.results import ResultsError, read_results
from tempme_jax.training.workdir import WorkdirError, is_workdir, read_config

CONTENTS = [b"", b"\0" * 40, b"{", b"[]", b"3", b"null", b'{"model": []}', b'{"model": 3}',
            b"\xff\xfe", b"[" * 100_000]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture
def workdir(home, tmp_path):
    return shutil.copytree(toy_run.finish_whole(home), tmp_path / "run")


@pytest.mark.parametrize("name", ["config.json", "identity.json"])
@pytest.mark.parametrize("content", CONTENTS)
def test_damaged_settings_are_an_error_of_ours(workdir, home, name, content):
    (workdir / name).write_bytes(content)
    assert is_workdir(workdir)
    with pytest.raises(WorkdirError, match="json (is not as the run|cannot be read .*Restore)"):
        tempme_jax.load(workdir)
    if name == "config.json":
        (workdir / "identity.json").unlink()
        with pytest.raises(WorkdirError, match=f"{name} cannot be read .*Restore it from a copy"):
            tempme_jax.load(workdir)


@pytest.mark.parametrize(
    "changes", [{"model": None}, {"train": 3}, {"seed": "x"}, {"model": {"method": 3}}, {"new": 1}]
)
def test_settings_of_wrong_types_are_an_error_of_ours(workdir, changes):
    (workdir / "identity.json").unlink()
    settings = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(WorkdirError, match="config.json cannot be"):
        tempme_jax.load(workdir)


def test_a_changed_digit_in_the_settings_is_noticed(workdir):
    file = workdir / "config.json"
    file.write_text(file.read_text().replace('"num_frames": 4', '"num_frames": 2'))
    with pytest.raises(WorkdirError, match="config.json is not as the run wrote it; restore it"):
        tempme_jax.load(workdir)
    (workdir / "identity.json").unlink()
    assert read_config(workdir)["model"]["num_frames"] == 2


@pytest.mark.parametrize("content", CONTENTS[:6] + CONTENTS[8:])
def test_damaged_results_are_an_error_of_ours(workdir, content):
    (workdir / "results.json").write_bytes(content)
    with pytest.raises(ResultsError, match="results.json (is damaged|holds no results)"):
        read_results(workdir)


def test_a_changed_digit_in_the_results_is_noticed(workdir):
    file = workdir / "results.json"
    results = read_results(workdir)
    figure = f'"MnR": {results["text_to_video"]["MnR"]}'
    file.write_text(file.read_text().replace(figure, '"MnR": 1.0'))
    with pytest.raises(ResultsError, match="it has changed since it was written"):
        read_results(workdir)


@pytest.mark.parametrize("part", ["costs", "training", "protocol", "text_to_video"])
@pytest.mark.parametrize("value", ["x", [], None])
def test_results_of_wrong_types_are_an_error_of_ours(workdir, part, value):
    results = read_results(workdir)
    results[part] = dict.fromkeys(results[part], value)
    (workdir / "results.json").write_text(json.dumps(results))
    with pytest.raises(ResultsError, match=f"holds no results of a run of tempme_jax: {part}"):
        read_results(workdir)


def test_lines_of_metrics_that_cannot_be_read_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    good = b'{"step": 1, "kind": "train"}\n'
    bad = [
        b"[]",
        b"3",
        b'{"kind": 1}',
        b'{"step": "1", "kind": "train"}',
        b"\xff\xfe",
        bytes(9),
        b"",
    ]
    file.write_bytes(good + b"\n".join(bad) + b"\n" + good + b'{"step": 1, "ki')
    drop_later_lines(file, 1)
    assert file.read_bytes() == good + good
