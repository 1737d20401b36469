"""`tempme bench all` adds a record to a history, from which a plot is drawn."""

import contextlib
import json

import pytest
from click.testing import CliRunner
from PIL import Image

from tempme_jax.bench import growth, history, plot
from tempme_jax.bench.page import BEGIN, END
from tempme_jax.cli import main


def run(*words, exit_code=0):
    result = CliRunner().invoke(main, ["bench", *map(str, words)], prog_name="tempme")
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def figures(monkeypatch):
    """What the benchmarks print: an error, no JSON, or figures; nothing is measured."""
    told = {
        "encode": (0, json.dumps([{"method": "clip", "videos_per_second": 2.0}])),
        "search": (0, json.dumps({"windows": 9, "ways": [{"way": "exact", "p50_ms": 3.5}]})),
        "index": (1, ""), "growth": (0, "no JSON"),
    }  # fmt: skip

    def answer(command, **_):
        code, text = told[command[4]]
        told_error = "Error: no video can be read\n" if code else ""
        return history.subprocess.CompletedProcess(command, code, text, told_error)

    monkeypatch.setattr(history.subprocess, "run", answer)
    return told


def test_a_record_and_its_plot(figures, tmp_path):
    file = tmp_path / "new" / "history.jsonl"
    words = ("all", "--only", "encode,search,index,growth", "--history", file)
    result = run(*words)
    assert "skipped: no video can be read" in result.stdout
    assert "is not JSON" in result.stdout
    record = json.loads(run(*words, "--json").stdout)
    first, second = history.read_history(file)
    assert second == record and set(first) == set(history.Record.__annotations__)
    assert first["versions"]["jax"] and first["machine"]["cores"] >= 1
    done = record["benchmarks"]["encode"]
    assert (
        done["command"] == "tempme bench encode --methods clip,tempme --batch 1 --rounds 5 --json"
    )
    assert done["figures"] == json.loads(figures["encode"][1])
    with Image.open(file.with_suffix(".png")) as image:
        assert image.width > 400 and len(image.convert("RGB").getcolors(10**6)) > 20


def test_the_figures_of_a_page(figures, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    words = ("all", "--only", "encode,index", "--history", tmp_path / "h.jsonl", "--page", page)
    run(*words)
    text = page.read_text()
    assert text.startswith(f"# Before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text and page.with_suffix(".png").exists()
    command = "`tempme bench encode --methods clip,tempme --batch 1 --rounds 5`"
    assert f"| {command} | clip: videos/s | 2 |\n" in text
    assert "| skipped: no video can be read | |" in text
    page.write_text("# Nothing\n")
    assert "has no place for figures" in run(*words, exit_code=1).stderr


def test_what_is_drawn():
    record = history.make_record()
    record["benchmarks"] = {
        "search": {"figures": {"windows": 9, "ways": [{"way": "exact", "p50_ms": 3.5}]}},
        "device": {"figures": {"speeds": [{"case": {"dtype": "float32"}, "videos_per_second": 2}]}},
        "index": {"skipped": "no reason"},
        "start": {"figures": {"seconds": {"tempme --help": 0.2}, "rounds": 3}},
        "train": {"figures": [{"checkout": "/a/b", "first_seconds": 9, "seconds": 1.5}]},
    }
    assert list(plot.collect_lines([record], "search")) == [("exact", [3.5])]
    assert list(plot.collect_lines([record], "device")) == [("float32", [2.0])]
    assert list(plot.collect_lines([record], "start")) == [("tempme --help", [0.2])]
    assert list(plot.collect_lines([record], "train")) == [("seconds", [1.5])]
    assert list(plot.collect_lines([record], "index")) == []
    other = json.loads(json.dumps(record)) | {"machine": {"processor": "another"}}
    assert plot.plot_history([other, record], "/dev/null") == 1


def test_what_is_wrong_is_said_before_anything_is_measured(tmp_path):
    assert "did you mean 'encode'" in run("all", "--only", "encod", exit_code=1).stderr
    file = tmp_path / "history.jsonl"
    file.write_text('{"date": 1}\n')
    text = run("all", "--history", file, exit_code=1).stderr
    assert f"{file}, line 1" in text
    assert file.read_text() == '{"date": 1}\n'


def test_a_benchmark_that_this_version_lacks():
    record = history.run_benchmarks(
        {"nothing": ()}, set(), show=lambda name: contextlib.nullcontext()
    )
    assert record["benchmarks"] == {"nothing": {"skipped": "this version has no such benchmark"}}


def test_a_benchmark_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(history, "PATIENCE", 0.01)
    result = history.run_benchmark("costs", ())
    assert result["skipped"].startswith("it was not done within")


def test_a_straight_line():
    points = [growth.Point(12, n, 10.0 * n, 1.0 * n) for n in (1, 2, 4)]
    points.append(growth.Point(24, 1, 20.0, 2.4))
    found = growth.draw_line(points, "ViT-B/32", "tempme")
    assert found.largest == max(abs(point.deviation) for point in found.points)
    assert found.points[3].deviation > 0.05 > abs(found.points[0].deviation)
    assert growth.draw_line(points[:1], "", "").largest == 0
    assert "must be whole numbers" in run("growth", "--frames", "12,x", exit_code=2).stderr
