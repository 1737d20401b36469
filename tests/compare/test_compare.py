"""Comparing methods runs what is missing, survives failures, and says what was found."""

import csv
import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tempme_jax.compare import beside, plot, report, runs
from tempme_jax.training.flags import parse_flags
from tempme_jax.training.metrics import Bootstrap, measure_retrieval
from tempme_jax.training.results import (
    DIRECTIONS,
    MEASURES,
    read_results,
    summarize,
    write_results,
)

# ml_collections reads config files in a way that Python means to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

GFLOPS = {"lora": 53.0, "tome": 40.2, "tempme": 34.8}


@pytest.fixture(autouse=True)
def without_data(monkeypatch):
    """The runs of these tests are stand-ins, and have no data."""
    monkeypatch.setattr(runs, "describe_data_now", functools.cache(lambda data: {}))


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(
        "from tempme_jax.training.flags import make_defaults\n\n\n"
        "def get_config(method='tempme'):\n    return make_defaults(method)\n"
    )
    return file


def flags_in(command):
    return dict(flag.lstrip("-").split("=", 1) for flag in command[3:])


def results_of(command):
    """What a run with this command finds: the more seeds, the better."""
    flags = flags_in(command)
    method, seed = flags["config"].split(":")[-1], int(flags["config.seed"])
    similarity = np.eye(40) + np.random.default_rng(seed).random((40, 40)) * 1.1
    found = measure_retrieval(similarity, np.arange(40), ties="average", intervals=Bootstrap(1000))
    config = parse_flags(
        [flag for flag in command[3:] if not flag.startswith("--workdir")]
    ).to_json()
    return {
        **{"dataset": "moving_shapes", "variant": "default", "split": "test"},
        **{"pairs": 40, "texts": 40, "videos": 40, "id_hash": "0123456789ab"},
        **{"complete": True, "expected": 40, "method": method, "seed": seed, "step": 600},
        **found,
        "protocol": found["protocol"] | {"selected_on": "validation"},
        "costs": {"trainable": 491520, "mac": 30.0, "paper": GFLOPS[method], "tokens": 97},
        "training": {
            "seconds": 100.0 + seed,
            "steps": 600,
            "peak_memory_bytes": 2**30 * (1 + seed),
        },
        "config": config,
    }


class Runs:
    """Stands in for `tempme_jax.main`: notes its commands and writes results, or fails."""

    def __init__(self):
        self.commands, self.failing = [], {}

    def __call__(self, command):
        if command[2] == "tempme_jax.cli":
            return self.measure(command)
        self.commands.append(command)
        folder = pathlib.Path(flags_in(command)["workdir"])
        if folder.parts[-2:] in self.failing:
            return self.failing[folder.parts[-2:]], ["step 3", "it broke [here]"]
        folder.mkdir(parents=True, exist_ok=True)
        write_results(folder / "results.json", results_of(command))
        return 0, []

    def measure(self, command):
        """Stands in for `tempme bench runs`."""
        *folders, out = command[5:]
        speeds = [{"method": one, "videos_per_second": 7.25} for one in folders]
        pathlib.Path(out.removeprefix("--out=")).write_text(json.dumps(speeds))
        return 0, []

    @property
    def names(self):
        folders = [flags_in(command)["workdir"] for command in self.commands]
        return ["/".join(folder.split("/")[-2:]) for folder in folders]


def compared(config_file, launch, *, methods=("lora", "tempme"), **options):
    options = {"workdir": config_file.parent / "work", "launch": launch} | options
    return runs.run(config_file, list(methods), **options)


def test_every_method_and_seed_runs(config_file):
    launch = Runs()
    assert compared(config_file, launch, overrides=["--config.train.steps=5"]) == 0
    assert launch.names == [f"{m}/seed_{seed}" for seed in (0, 1, 2) for m in ("lora", "tempme")]
    work = config_file.parent / "work"
    assert launch.commands[1] == [
        *(sys.executable, "-m", "tempme_jax.main", f"--config={config_file}:tempme"),
        *("--config.seed=0", "--config.train.steps=5", f"--workdir={work}/tempme/seed_0"),
    ]
    saved = sorted(file.name for file in work.iterdir() if file.is_file())
    assert saved == [*(f"compare.{kind}" for kind in ("csv", "json", "md", "png")), "speeds.json"]


def test_finished_runs_are_not_run_again(config_file, capsys):
    assert compared(config_file, Runs(), seeds=1) == 0
    first = capsys.readouterr().out
    launch = Runs()
    assert compared(config_file, launch, seeds=[0, 4]) == 0
    assert launch.names == ["lora/seed_4", "tempme/seed_4"]
    second = capsys.readouterr().out
    assert "already finished" not in first
    assert second.count("already finished") == 2
    (config_file.parent / "work/lora/seed_0/results.json").write_text('{"half')
    assert compared(config_file, launch, seeds=[0, 4]) == 0
    assert launch.names[2:] == ["lora/seed_0"]


def test_results_of_other_settings_are_not_taken(config_file):
    """The run itself refuses its workdir then, which is reported."""
    assert compared(config_file, Runs(), seeds=1, methods=["lora"]) == 0
    launch = Runs()
    launch.failing["lora", "seed_0"] = 1
    code = compared(
        config_file, launch, seeds=1, methods=["lora"], overrides=["--config.train.steps=9"]
    )
    assert (code, launch.names) == (1, ["lora/seed_0"])
    found = json.loads((config_file.parent / "work/compare.json").read_text())
    assert found["rows"] == found["results"] == []
    # Neither are they if the run should end well and leave them as they were.
    launch = lambda command: (0, [])  # noqa: E731
    overrides = ["--config.train.steps=9"]
    assert compared(config_file, launch, seeds=1, methods=["lora"], overrides=overrides) == 1
    found = json.loads((config_file.parent / "work/compare.json").read_text())
    assert (
        "holds results of other settings; choose another workdir" in found["failed"][0]["problem"]
    )


def test_results_of_other_data_are_not_taken(config_file, monkeypatch):
    """The data may be others although the settings, with the path in them, are the same."""
    counts = {"videos": 40, "captions": 40, "texts": "0", "id_hash": "0123456789ab"}
    identity = {"config": "", "data": {"test": {**counts, "ids": "before"}}}
    assert compared(config_file, Runs(), seeds=1, methods=["lora"]) == 0
    folder = config_file.parent / "work/lora/seed_0"
    (folder / "identity.json").write_text(json.dumps(identity))
    now = {"test": {**counts, "ids": "after"}}
    monkeypatch.setattr(runs, "describe_data_now", functools.cache(lambda data: now))
    assert compared(config_file, lambda command: (0, []), seeds=1, methods=["lora"]) == 1
    [failed] = json.loads((config_file.parent / "work/compare.json").read_text())["failed"]
    assert "on other data: its split 'test' now has other videos" in failed["problem"]
    now["test"]["ids"] = "before"
    launch = Runs()
    assert compared(config_file, launch, seeds=1, methods=["lora"]) == 0 and launch.names == []


@pytest.mark.parametrize("changes", [{"finished": False}, {"step": 0}])
def test_results_of_a_training_that_is_not_finished_are_not_taken(config_file, changes):
    """Such as `--evaluate_only` writes."""
    assert compared(config_file, Runs(), seeds=1, methods=["lora"]) == 0
    file = config_file.parent / "work/lora/seed_0/results.json"
    write_results(file, read_results(file) | changes)
    launch = Runs()
    assert compared(config_file, launch, seeds=1, methods=["lora"]) == 0
    assert launch.names == ["lora/seed_0"]


def test_one_failure_does_not_stop_the_others(config_file, capsys):
    launch = Runs()
    launch.failing["lora", "seed_1"] = 3
    assert compared(config_file, launch, seeds=2) == 1
    assert len(launch.commands) == 4
    out = capsys.readouterr().out
    assert "lora, seed 1 (run 3 of 4): FAILED, exit code 3; the others continue" in out
    assert "FAILED: exit code 3\n  step 3\n  it broke [here]\nTo run it alone: python -m" in out
    lora, tempme = table_in(out)
    assert (lora[:2], tempme[:2]) == (["lora", "1"], ["tempme", "2"])
    [failed] = json.loads((config_file.parent / "work/compare.json").read_text())["failed"]
    assert (failed["problem"], failed["last_lines"]) == (
        "exit code 3",
        ["step 3", "it broke [here]"],
    )


def test_a_run_without_results_is_a_failure(config_file, capsys):
    assert compared(config_file, lambda command: (0, []), seeds=1) == 1
    out = capsys.readouterr().out
    assert out.count("FAILED, there is no ") == 2
    work = config_file.parent / "work"
    assert [file.name for file in work.iterdir()] == ["compare.json"]


def table_in(out):
    lines = [line.split() for line in out.splitlines()]
    [start] = [number for number, line in enumerate(lines) if line[:2] == ["Method", "Runs"]]
    rows = lines[start + 2 :]
    return rows[: rows.index([])]


def test_the_table_and_what_is_saved(config_file, capsys):
    launch = Runs()
    assert compared(config_file, launch, methods=["lora", "tome", "tempme"]) == 0
    out = capsys.readouterr().out
    rows = summarize([results_of(command) for command in launch.commands])
    r1, r_sum, rank = (rows[2]["text_to_video"][name] for name in ("R@1", "R-Sum", "MnR"))
    shown = [
        *("tempme", "3", "0.492", "34.8", "97"),
        *(f"{r1['mean']:.1f}", "±", f"{r1['deviation']:.1f}"),
        *(f"{r_sum['mean']:.1f}", "±", f"{r_sum['deviation']:.1f}"),
        *(f"{rank['mean']:.1f}", "±", f"{rank['deviation']:.1f}"),
        *("7.25", "101", "±", "1", "3.00"),
    ]
    assert [row[0] for row in table_in(out)] == ["lora", "tome", "tempme"]
    assert table_in(out)[2] == shown
    assert "moving_shapes, test: 40 texts, 40 videos, ids 0123456789ab" in out
    work = config_file.parent / "work"
    markdown = (work / "compare.md").read_text()
    assert f"| {' '.join(shown[:1])} | 3 | 0.492 | 34.8 | 97 | {' '.join(shown[5:8])} |" in markdown
    assert "selected on validation" in markdown
    found = json.loads((work / "compare.json").read_text())
    ours = {"videos_per_second": 7.25, "printed": {}, "note": ""}
    assert found["rows"] == [row | ours for row in rows]
    assert len(found["results"]) == 9
    with (work / "compare.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["method"] for row in table] == ["lora", "tome", "tempme"]
    assert table[2]["seeds"] == "0 1 2"
    for direction in DIRECTIONS:
        for name in MEASURES:
            for kind, value in rows[2][direction][name].items():
                assert float(table[2][f"{direction} {name} {kind}"]) == value
    assert float(table[2]["paper"]) == 34.8


def test_one_seed_has_no_deviation(config_file, capsys):
    assert compared(config_file, Runs(), seeds=1) == 0
    assert "±" not in "".join(map("".join, table_in(capsys.readouterr().out)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"methods": ["lora", "temme"]},
            ValueError,
            "unknown method: 'temme' .did you mean 'tempme'",
        ),
        ({"methods": []}, ValueError, "must be a list of different names"),
        ({"methods": ["lora", "lora"]}, ValueError, "must be a list of different names"),
        ({"seeds": 0}, ValueError, "seeds=0 must be a whole number of 1 or more"),
        ({"seeds": [1, 1]}, ValueError, "must be different numbers"),
        ({"seeds": [-1]}, ValueError, "one of seeds=-1"),
        ({"overrides": ["--config.seed=3"]}, ValueError, "choose the seeds instead"),
        ({"overrides": ["--workdir=x"]}, ValueError, "choose the workdir instead"),
        ({"overrides": ["--config.train.stps=3"]}, ValueError, "stps"),
        ({"overrides": ["--config.train.steps=many"]}, ValueError, "steps"),
        ({"overrides": ["--config.train.batch_size=1"]}, ValueError, "train.batch_size=1 must be"),
    ],
)
def test_bad_input_before_anything_runs(config_file, changes, error, message):
    launch = Runs()
    with pytest.raises(error, match=message):
        compared(config_file, launch, **changes)
    assert launch.commands == []


def test_no_config_file(config_file):
    with pytest.raises(FileNotFoundError, match="small.py:lora .did you mean .*small.py"):
        compared(config_file.with_name("small.py:lora"), Runs())


def row(method, gflops, recall, deviation, seeds=3):
    recall = {"mean": recall, "deviation": deviation}
    return {
        "name": method,
        "paper": gflops,
        "seeds": list(range(seeds)),
        "text_to_video": {"R@1": recall},
    }


def test_the_plot(tmp_path):
    rows = [
        row("lora", 53.0, 43.0, 0.4),
        row("full", 53.0, 43.1, 0.6),
        row("tome", 40.2, 42.8, 0.3, 2),
        row("tempme", 34.8, 46.1, None, 1),
    ]
    plot.plot_accuracy_over_cost(rows, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert (image.format, image.size) == ("PNG", (1280, 880))
        pixels = np.asarray(image.convert("RGB"))
    # Points with a bar are higher than their name and wider than a line; the last has no bar.
    heights = []
    for color in [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)]:
        rows_of_color = np.flatnonzero((pixels == color).all(axis=-1).any(axis=1))
        heights.append(np.ptp(rows_of_color))
    assert min(heights[:3]) > 80 > 20 > heights[3] > 5
    assert (pixels == 255).all(axis=-1).mean() > 0.9


def test_names_in_the_plot_are_inside_and_hide_nothing(tmp_path, monkeypatch):
    drawn, inside, points = [], [], []

    def keep(axes, names, bars):
        place_names(axes, names, bars)
        points.extend(axes.transData.transform((x, y)) for x, y, _ in bars)
        drawn.extend(text.get_window_extent() for text in axes.texts)
        inside.append(axes.get_window_extent())

    place_names = plot.place_names
    monkeypatch.setattr(plot, "place_names", keep)
    rows = [row(f"method {number}", 53.0, 43 + 0.02 * number, 0.2) for number in range(6)]
    rows += [row("a method with a long name", 60.0, 43.5, 0.1), row("lora", 30.0, 43.0, 0.1)]
    plot.plot_accuracy_over_cost(rows, tmp_path / "plot.png")
    assert len(drawn) == 8
    pairs = [(a, b) for number, a in enumerate(drawn) for b in drawn[:number]]
    assert [pair for pair in pairs if pair[0].overlaps(pair[1])] == []
    assert all(inside[0].x0 <= name.x0 and name.x1 <= inside[0].x1 for name in drawn)
    assert not any(name.contains(*point) for name in drawn for point in points)
    first = (tmp_path / "plot.png").read_bytes()
    plot.plot_accuracy_over_cost(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes() == first


def test_comparing_takes_no_device():
    """A parent that held a GPU would leave its runs none."""
    program = "import tempme_jax.compare.runs, tempme_jax.training.flags; "
    program += "from jax._src import xla_bridge; "
    program += "assert not xla_bridge.backends_are_initialized()"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_rows_of_a_table(config_file, capsys):
    """Two rows of one method, with other options; the paper's figures beside, dashes if none."""
    first = {"gflops": 34.8, "trainable": ">0.1", "text_to_video R@1": 46.1}
    rows = [
        runs.Contender("A: 2/2", "tempme", ("--config.model.options.r=1",), first, "A slip."),
        runs.Contender("B", "tempme", (), {"video_to_text MnR": 10.2, "training_speed": 1.57}),
    ]
    assert compared(config_file, launch := Runs(), methods=rows, seeds=1) == 0
    assert launch.names == ["A__2_2/seed_0", "B/seed_0"]
    assert "--config.model.options.r=1" in launch.commands[0]
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    found = json.loads((config_file.parent / "work/compare.json").read_text())
    [a, b] = found["rows"]
    assert (a["name"], b["name"]) == ("A: 2/2", "B")
    for line in (
        "Costs, beside the paper",
        "Method Trains (M) paper GFLOPs paper Training speed paper",
        "A: 2/2 0.492 >0.1 34.8 34.8 1.00 -",
        "B 0.492 - 34.8 - 1.00 1.57",
        "Method R@1 paper",
        f"A: 2/2 {a['text_to_video']['R@1']['mean']:.1f} 46.1",
        f"B {b['text_to_video']['R@1']['mean']:.1f} -",
        "Method MnR paper",
        f"B {b['video_to_text']['MnR']['mean']:.1f} 10.2",
        "A: 2/2: A slip.",
    ):
        assert line in lines, line
    assert found["protocols"][-2:] == [beside.APART, "A: 2/2: A slip."]
    markdown = (config_file.parent / "work/compare.md").read_text()
    assert "| Method | Trains (M) | paper | GFLOPs | paper | Training speed | paper |" in markdown
    assert "Video to text, beside the paper." in markdown


def test_answers(tmp_path, capsys):
    """Where questions are answered, the accuracy stands in place of recalls."""
    results = [
        {
            **{"name": "UMT", "method": "full+joined", "seed": seed, "accuracy": 40.0 + seed},
            **{"costs": {"trainable": 254435898, "mac": 303.1, "paper": 304.3, "tokens": 2352}},
            **{"training": {"seconds": 7200.0, "steps": 9, "peak_memory_bytes": None}},
        }
        for seed in (0, 2)
    ]
    more = {"printed": {"accuracy": 44.9, "training_hours": 6.3}, "note": ""}
    rows = [{**row, **more, "videos_per_second": None} for row in summarize(results)]
    report.report_comparison(rows, [], [], tmp_path)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "UMT 2 254.436 304.3 2352 41.0 ± 1.4 - 7200 ± 0 -" in lines
    assert "UMT 41.0 ± 1.4 44.9" in lines
    assert "UMT 2.00 6.3" in lines
    markdown = (tmp_path / "compare.md").read_text()
    assert markdown.startswith("Answers: mean ± standard deviation over seeds.")
    assert "| Tokens | Accuracy | Videos/s |" in markdown


def test_hard_negatives_have_columns(config_file):
    """One for each kind; a dash for a row that does not know it."""
    flags = [f"--config={config_file}:lora", "--config.seed=0"]
    found = results_of(["python", "-m", "tempme_jax.main", *flags])
    spread = {"mean": 62.5, "deviation": None}
    rows = [
        {**row, **more, "printed": {}, "note": "", "videos_per_second": None}
        for name, more in (("a", {"negatives": {"order": spread, "colour": spread}}), ("b", {}))
        for row in summarize([found | {"name": name}])
    ]
    grid = report.make_main_table(rows)
    assert grid.title.endswith("how often it is above its hard negative of a kind (a guess: 50)")
    assert grid.heads[5:10] == ["R@1", "R-Sum", "MnR", "Order", "Colour"]
    assert [row[8:10] for row in grid.rows] == [["62.5", "62.5"], ["-", "-"]]


def test_costs_that_are_measured():
    """In the paper's units; of a training without steps, no speed is known."""
    row = {
        **{"trainable": 5e5, "paper": 34.8, "tokens": 97, "videos_per_second": 7.25},
        **{"seconds": {"mean": 1800.0}, "peak_memory_bytes": 3_000_000_000},
    }
    names = ("videos_per_second", "training_hours", "training_memory", "inference_memory")
    assert [beside.format_cost(name, row, row) for name in names] == ["7.25", "0.50", "3.0", "-"]
    still = row | {"seconds": {"mean": 0.0}, "peak_memory_bytes": None}
    assert beside.format_cost("training_speed", still, row) == "-"
    assert beside.format_cost("training_memory", still, row) == "-"


def test_without_speeds(config_file, capsys):
    """Also if they cannot be measured: then it says so, and the table has a dash."""
    assert compared(config_file, Runs(), seeds=1, speeds=False) == 0
    assert table_in(capsys.readouterr().out)[0][-3] == "-"
    launch = Runs()
    launch.measure = lambda command: (2, [])
    assert compared(config_file, launch, seeds=1) == 0
    out = capsys.readouterr().out
    assert "speeds: FAILED, exit code 2" in out
    assert table_in(out)[0][-3] == "-"
