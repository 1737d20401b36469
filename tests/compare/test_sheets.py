"""Results as LaTeX, Markdown, CSV and JSON: seeds in a row, the best marked, the paper beside."""

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from tempme_jax.cli import main
from tempme_jax.training.metrics import MEASURES, Bootstrap, measure_retrieval
from tempme_jax.training.results import DIRECTIONS, read_results, write_results


def results_of(method="tempme", seed=0, texts=40, **changes):
    """Results of a run; "tempme" finds more than the others."""
    rng = np.random.default_rng(seed)
    eye = np.eye(texts) * (1.0 if method == "tempme" else 0.3)
    found = measure_retrieval(
        eye + rng.random((texts, texts)), np.arange(texts), ties="average", intervals=Bootstrap(9)
    )
    counts = dict(pairs=texts, texts=texts, videos=texts, complete=True, expected=texts)
    return {
        **dict(dataset="msrvtt", variant="9k", split="test", id_hash="0123456789ab", **counts),
        **dict(method=method, seed=seed, step=600, **found),
        "protocol": found["protocol"] | {"selected_on": "validation"},
        "costs": {"trainable": 491520, "mac": 30.0, "paper": 53.0, "tokens": 600},
        "training": {"seconds": 100.0, "steps": 600, "peak_memory_bytes": None},
        "config": {"seed": seed, "model": {"method": method}},
        **changes,
    }


def write(folder, results):
    folder.mkdir(parents=True)
    write_results(folder / "results.json", results)
    return folder


def show(*words, code=0):
    result = CliRunner().invoke(main, ["results", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    return [
        write(home / f"{method}-{seed}", results_of(method, seed))
        for method in ("lora_x", "tempme")
        for seed in (0, 1)
    ]


def test_markdown_marks_the_best_of_both_directions(folders):
    table, notes = show(*folders, "--format", "md", "--paper", 2).split("\n\n", 1)
    head, _, lora, tempme, paper, *_ = table.splitlines()
    cells = [cell.strip() for cell in head.strip("|").split("|")]
    assert cells[:4] == ["Method", "Trains (M)", "GFLOPs", "Tokens"]
    assert cells[4:] == [f"{way} {name}" for way in ("t2v", "v2t") for name in MEASURES]
    assert lora.startswith("| lora_x | 0.492 | 53 | 600 |") and "**" not in lora
    runs = [read_results(folder)["video_to_text"]["R@1"] for folder in folders[2:]]
    shown = f"**{np.mean(runs):.1f}** ± {np.std(runs, ddof=1):.1f}"
    assert tempme.split("|")[11].strip() == shown
    assert tempme.count("**") == 2 * 12
    assert paper.startswith("| CLIP4Clip (paper) | 123.54") and "| 43.1 | 70.4 | 80.8 |" in paper
    assert "msrvtt (9k), test: 40 texts, 40 videos, ids 0123456789ab; ties: average" in notes
    assert "(lora_x: seeds 0, 1; tempme: seeds 0, 1)" in notes
    assert "(paper): as printed in Table 2 of the paper" in notes


def test_latex_is_a_table_with_heads_of_the_directions(folders):
    text = show(*folders, "--format", "latex", "--paper", 2)
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
    assert {
        row.count("&") + sum(5 for _ in range(row.count("multicolumn{6}"))) for row in rows
    } == {15}
    assert r"\cmidrule(lr){5-10}\cmidrule(lr){11-16}" in text
    assert r"lora\_x & 0.492 & 53 & 600 & " in text and r" $\pm$ " in text
    assert text.count(r"\textbf{") == 12
    assert r"\multicolumn{16}{l}{\emph{As printed in Table 2 of the paper}} \\" in text
    for pair in (("{tabular}", 2), (r"\begin", 1), (r"\bottomrule", 1), ("{", text.count("}"))):
        assert text.count(pair[0]) == pair[1]
    assert all(line.startswith("%") for line in text.split(r"\begin")[0].strip().splitlines())


def test_csv_and_json_hold_all_digits(folders):
    lora, tempme, *paper = csv.DictReader(
        io.StringIO(show(*folders, "--format", "csv", "--paper", 2))
    )
    runs = [read_results(folder)["text_to_video"]["MnR"] for folder in folders[2:]]
    assert float(tempme["text_to_video MnR"]) == pytest.approx(np.mean(runs), abs=1e-12)
    assert (tempme["source"], tempme["seeds"], paper[0]["source"]) == ("ours", "0 1", "paper")
    assert paper[0]["text_to_video MdR"] == ""  # which the paper does not print
    assert lora["about"].startswith("msrvtt (9k), test")
    (sheet,) = json.loads(show(*folders, "--format", "json"))
    assert [row["seeds"] for row in sheet["rows"]] == [[0, 1], [0, 1]]
    assert sheet["comparable"] and sheet["paper"] == []
    assert {f"{way} {name}" for way in DIRECTIONS for name in MEASURES} <= sheet["rows"][0].keys()


def test_what_was_measured_otherwise_is_not_compared(folders, tmp_path):
    other = write(tmp_path / "other", results_of("lora_x", texts=41))
    text = show(*folders[2:], other, "--format", "md")
    assert "**" not in text and "NOT COMPARABLE" in text
    assert not json.loads(show(folders[0], other, "--format", "json"))[0]["comparable"]


def test_runs_that_differ_in_more_than_the_seed_are_rows_of_their_own(folders, tmp_path):
    config = {"seed": 5, "model": {"method": "tempme"}, "train": {"learning_rate": 1.0}}
    other = write(tmp_path / "fast", results_of("tempme", 5, config=config))
    rows = json.loads(show(*folders[2:], other, "--format", "json"))[0]["rows"]
    assert [row["method"] for row in rows] == [f"tempme ({folders[2]})", f"tempme ({other})"]
    assert rows[0]["seeds"] == [0, 1]


def test_a_comparison_is_read_with_the_names_of_its_rows(tmp_path):
    work = tmp_path / "work"
    named = []
    for name, folder in (("tempme, R_C 90 %", "tempme__R_C_90__"), ("lora", "lora")):
        write(work / folder / "seed_0", results_of())
        named.append({"name": name, "folder": f"elsewhere/{folder}/seed_0"})
    (work / "compare.json").write_text(json.dumps({"results": named}))
    assert "tempme, R_C 90 %" in show(work)
    assert r"tempme, R\_C 90 \% & " in show(work, "--format", "latex")
    (work / "compare.json").write_text(json.dumps({"results": []}))
    assert "holds no finished run" in show(work, code=1)
    (work / "compare.json").write_text('{"results": [3]}')
    assert "is damaged" in show(work, code=1)


def test_a_run_that_is_given_twice_counts_once(folders):
    assert show(folders[0], f"{folders[0]}/", "--format", "md") == show(
        folders[0], "--format", "md"
    )


def test_mistakes(folders, tmp_path):
    assert "--paper needs --format" in show(folders[0], "--paper", 2, code=2)
    assert "no rows of tables [99]" in show(folders[0], "--paper", 99, "--format", "md", code=1)
    assert "a run writes it when it ends" in show(tmp_path, "--format", "csv", code=1)


def test_hard_negatives_have_columns(tmp_path):
    """If all runs know them; otherwise the rows are those of every set."""
    kinds = {"order": {"texts": 40, "accuracy": 62.5}}
    runs = [
        write(tmp_path / method, results_of(method, negatives=kinds)) for method in ("a", "tempme")
    ]
    head, _, row, *_ = show(*runs, "--format", "md").splitlines()
    assert head.endswith("| above order |")
    assert row.endswith("| 62.5 |")
    (sheet,) = json.loads(show(*runs, "--format", "json"))
    assert [row["negatives order"] for row in sheet["rows"]] == [62.5, 62.5]
    assert "Above its negative" in show(*runs, "--format", "latex")
    other = write(tmp_path / "other", results_of("b"))
    assert "above" not in show(*runs, other, "--format", "md")
