"""Results are written whole or not at all, read with clear errors, and shown in one table."""

import copy
import json
import os
import pathlib

import numpy as np
import pytest

from tempme_jax.training.metrics import Bootstrap, measure_retrieval
from tempme_jax.training.result_tables import describe_protocols, print_results
from tempme_jax.training.results import (
    DIRECTIONS,
    FIELDS,
    ResultsError,
    read_results,
    summarize,
    write_results,
)

EVERY = (*FIELDS, *DIRECTIONS)


def results_of(method="tempme", seed=0, recall=0.9, **changes):
    """Results of a run with about this recall on 96 pairs."""
    rng = np.random.default_rng(seed)
    similarity = np.eye(96) * (rng.random(96) < recall) + 0.5 * rng.random((96, 96))
    found = measure_retrieval(similarity, np.arange(96), ties="average", intervals=Bootstrap(1000))
    return {
        "dataset": "moving_shapes",
        "variant": "default",
        "split": "test",
        "pairs": 96,
        "texts": 96,
        "videos": 96,
        "id_hash": "0123456789ab",
        "complete": True,
        "expected": 96,
        "method": method,
        "seed": seed,
        "step": 600,
        **found,
        "protocol": found["protocol"] | {"selected_on": "validation"},
        "costs": {"trainable": 12345, "mac": 0.0341, "paper": 0.03482, "tokens": 40},
        "training": {"seconds": 210.5 + seed, "steps": 600, "peak_memory_bytes": 2**29},
        "config": {"seed": seed},
        **changes,
    }


def shown(results, capsys):
    print_results(results)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_what_is_written_is_read(tmp_path):
    results = results_of()
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results
    assert read_results(tmp_path) == results


def test_numbers_of_numpy_become_plain_ones(tmp_path):
    costs = {"trainable": np.int64(5), "mac": np.float32(0.5), "paper": 1.0, "tokens": np.array(4)}
    results = results_of(seed=np.int64(3), costs=costs, folder=pathlib.Path("data"))
    write_results(tmp_path / "results.json", results)
    read = read_results(tmp_path)
    assert (read["seed"], read["folder"]) == (3, "data")
    assert read["costs"] == {"trainable": 5, "mac": 0.5, "paper": 1.0, "tokens": 4}


def without(name, part=None):
    results = copy.deepcopy(results_of())
    del (results[part] if part else results)[name]
    return results


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (without("id_hash"), "id_hash missing"),
        (without("R@5", "video_to_text"), "R@5 missing in video_to_text"),
        (without("ties", "protocol"), "ties missing in protocol"),
        (results_of(split=0), "split is 0"),
        (results_of(step="600"), "step is '600'"),
        (results_of(step=True), "step is True"),
        (results_of(training={"seconds": float("nan")}), "hold NaN or infinity"),
    ],
)
def test_what_is_no_result_is_not_written(tmp_path, results, message):
    file = tmp_path / "results.json"
    file.write_text("the one before")
    with pytest.raises(ResultsError, match=message):
        write_results(file, results)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert file.read_text() == "the one before"


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    write_results(tmp_path / "results.json", results_of(seed=1))

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_results(tmp_path / "results.json", results_of(seed=2))
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert read_results(tmp_path)["seed"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "results.json is damaged .*remove it, and start the run again"),
        (json.dumps(results_of())[:500], "results.json is damaged"),
        (b"\xff\xfe\x00", "results.json is damaged"),
        ("[1, 2]", "no results of a run of tempme_jax: expected named values, there is a list"),
        ('{"loss": 1}', f"no results of a run of tempme_jax: {', '.join(EVERY)} missing"),
        (json.dumps(results_of(costs=3)), "costs is 3"),
        (json.dumps(results_of(digest=None)), "damaged .it has changed since it was written"),
        (json.dumps(results_of(digest="")), "damaged .it has changed since it was written"),
    ],
)
def test_damaged_and_foreign_files(tmp_path, text, message):
    (tmp_path / "results.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="results.json: a run writes it when it ends"):
        read_results(tmp_path)
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "results.json").touch()
    with pytest.raises(FileNotFoundError, match=f"ends; {tmp_path} holds runs.*{tmp_path}/clip$"):
        read_results(tmp_path)


def test_the_table(capsys):
    results = [results_of(), results_of("lora", 1, 0.5)]
    lines = shown(results, capsys)
    assert lines[0] == "Text-video retrieval"
    names = (
        "Method Seed Trains (M) GFLOPs Tokens Seconds Direction R@1 (95 %) R@5 R@10 R-Sum MdR MnR"
    )
    assert lines[2] == names
    for result in results:
        to_video = lines[4 if result is results[0] else 6].split()
        to_text = lines[5 if result is results[0] else 7].split()
        seconds = f"{result['training']['seconds']:.0f}"
        assert to_video[:6] == [
            *(result["method"], str(result["seed"]), "0.012", "0.03482", "40", seconds),
        ]
        assert to_video[6:] == ["text", "to", "video", *measured_cells(result["text_to_video"])]
        assert to_text == ["video", "to", "text", *measured_cells(result["video_to_text"])]
    assert lines[9] == (
        "moving_shapes, test: 96 texts, 96 videos, ids 0123456789ab; ties: average; checkpoint "
        "selected on validation"
    )


def measured_cells(measured):
    low, high = measured["intervals"]["R@1"]
    others = [f"{measured[name]:.1f}" for name in ("R@5", "R@10", "R-Sum", "MdR", "MnR")]
    return [f"{measured['R@1']:.1f}", f"({low:.1f}-{high:.1f})", *others]


def test_a_table_is_not_too_wide(capsys):
    print_results([results_of("adapter+tempme", 42)])
    table = capsys.readouterr().out.split("moving_shapes")[0]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 140


def test_a_table_without_intervals(capsys):
    results = results_of()
    results["text_to_video"]["intervals"] = {}
    [line] = [line for line in shown([results], capsys) if line.startswith("tempme")]
    expected = [f"{results['text_to_video'][name]:.1f}" for name in ("R@1", "R@5")]
    assert line.split()[9:11] == expected


@pytest.mark.parametrize(
    ("changes", "rules", "mark"),
    [
        (
            {"complete": False, "expected": 1000, "videos": 930},
            {},
            "ON A SUBSET: 930 of 1000 videos",
        ),
        ({"complete": False, "expected": 95}, {}, "NOT THE PUBLISHED SPLIT: 96 of 95 videos"),
        (
            {},
            {"selected_on": "test"},
            "selected on test, which is what is measured here: NOT UNSEEN",
        ),
        ({"split": "validation"}, {}, "what is measured here: NOT UNSEEN DATA"),
        ({}, {"dual_softmax": True, "notes": []}, "transductive: dual softmax"),
        ({}, {"qb_norm": True, "notes": ["query bank: 9 texts"]}, "query bank: 9 texts"),
        ({}, {"ties": "clip4clip"}, "ties: clip4clip"),
        ({"variant": "9k"}, {}, "moving_shapes (9k), test"),
    ],
)
def test_what_is_unusual_is_marked(changes, rules, mark):
    results = results_of(**changes)
    results["protocol"] |= rules
    assert mark in describe_protocols([results])[0]
    assert mark not in describe_protocols([results_of()])[0]


def test_a_set_without_published_counts_is_no_subset():
    assert "SUBSET" not in describe_protocols([results_of(complete=False, expected=None)])[0]


def test_rows_that_do_not_compare_say_so():
    lines = describe_protocols(
        [results_of("lora"), results_of(id_hash="another"), results_of("tome")]
    )
    assert lines[0].startswith("lora, tome: moving_shapes, test")
    assert lines[1].startswith("tempme: ")
    assert lines[2].startswith("NOT COMPARABLE")
    assert len(describe_protocols([results_of("lora"), results_of("tome", 4)])) == 1


def test_other_captions_of_the_same_videos_do_not_compare():
    first, second, old = results_of(text_hash="a1"), results_of(text_hash="b2"), results_of("lora")
    lines = describe_protocols([first, second])
    assert "ids 0123456789ab, captions a1" in lines[0] and lines[2].startswith("NOT COMPARABLE")
    assert "did not note which captions" in describe_protocols([first, old])[2]
    assert describe_protocols([first, old, second])[3].startswith("NOT COMPARABLE")
    alike = describe_protocols([first, results_of("tome", text_hash="a1")])
    assert len(alike) == 1 and "captions" not in alike[0]


def test_models_measured_by_themselves_compare():
    lines = describe_protocols([results_of(model="a.safetensors"), results_of("lora", model="b")])
    assert lines[1:] == ["tempme: model a.safetensors", "lora: model b"]


def test_means_over_seeds():
    results = [results_of("lora"), *(results_of(seed=seed) for seed in (0, 1, 5))]
    lora, tempme = summarize(results)
    assert (lora["method"], lora["seeds"], tempme["seeds"]) == ("lora", [0], [0, 1, 5])
    assert lora["seconds"] == {"mean": 210.5, "deviation": None}
    assert tempme["seconds"]["mean"] == pytest.approx(212.5)
    assert tempme["seconds"]["deviation"] == pytest.approx(7**0.5)
    recalls = [result["text_to_video"]["R@1"] for result in results[1:]]
    assert tempme["text_to_video"]["R@1"]["mean"] == pytest.approx(np.mean(recalls))
    assert tempme["text_to_video"]["R@1"]["deviation"] == pytest.approx(np.std(recalls, ddof=1))
    assert (tempme["trainable"], tempme["peak_memory_bytes"]) == (12345, 2**29)


def with_negatives(accuracy, **changes):
    figures = {"texts": 96, "accuracy": accuracy}
    return results_of(negatives={"order": figures, "colour": figures}, **changes)


def test_hard_negatives_are_written_summarized_and_shown(tmp_path, capsys):
    runs = [with_negatives(50.0), with_negatives(60.0, seed=1)]
    write_results(tmp_path / "results.json", runs[0])
    assert read_results(tmp_path) == runs[0]
    (row,) = summarize(runs)
    assert list(row["negatives"]) == ["order", "colour"]
    assert row["negatives"]["order"]["mean"] == 55
    (row,) = summarize([*runs, results_of(seed=2)])
    assert "negatives" not in row  # one of them does not know
    lines = shown([*runs, results_of("lora")], capsys)
    title = "Above the hard negative (%)"
    start = lines.index(title)
    assert lines[start + 2] == "Method Seed Texts order colour"
    assert lines[start + 4 : start + 6] == ["tempme 0 96 50.0 50.0", "tempme 1 96 60.0 60.0"]
    with pytest.raises(ResultsError, match="negatives"):
        write_results(tmp_path / "bad.json", results_of(negatives={"order": 50.0}))
