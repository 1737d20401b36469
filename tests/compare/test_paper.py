"""Our copy of what the paper prints agrees with itself: sums, shares, and repeated rows."""

import collections

import pytest

from tempme_jax.compare import paper
from tempme_jax.compare.figures import ACCURACY, COSTS, RETRIEVAL, read_lines
from tempme_jax.compare.paper import REVERSED, ROWS

LINES = {
    (table, *key): figures for table in range(1, 17) for key, figures in read_lines(table).items()
}


def find(table, name, backbone="", data=""):
    return LINES[table, name, backbone, data]


def test_how_much_there_is():
    """Every table of the paper, with as many lines as it has."""
    counted = collections.Counter(key[0] for key in LINES)
    assert counted == {
        **{1: 12, 2: 18, 3: 28, 4: 8, 5: 3, 6: 3, 7: 3, 8: 4, 9: 4, 10: 8},
        **{11: 16, 12: 24, 13: 9, 14: 6, 15: 2, 16: 4},
    }


def test_every_figure_has_a_name():
    names = {f"{direction} {name}" for direction, those in RETRIEVAL.items() for name in those}
    for key, figures in LINES.items():
        assert figures.keys() <= names | set(COSTS) | {ACCURACY}, key
        assert all(isinstance(value, int | float) or value == ">210" for value in figures.values())


def test_recalls_add_up_to_the_printed_sum():
    """But for one misprint."""
    wrong, checked = {}, 0
    for key, figures in LINES.items():
        for direction in RETRIEVAL:
            parts = [figures.get(f"{direction} R@{k}") for k in (1, 5, 10)]
            total = figures.get(f"{direction} R-Sum")
            if total is None or None in parts:
                continue
            checked += 1
            if round(sum(parts), 1) != total:
                wrong[key] = (total, round(sum(parts), 1))
    assert wrong == {(2, "Adapter", "ViT-B/32", ""): (190.2, 190.5)}
    assert checked == 34
    [row] = [row for row in ROWS if (row.table, row.name) == (2, "Adapter")]
    assert "190.2" in row.note and "190.5" in row.note


def test_recalls_grow_and_ranks_are_ranks():
    for key, figures in LINES.items():
        for direction in RETRIEVAL:
            parts = [figures.get(f"{direction} R@{k}") for k in (1, 5, 10)]
            parts = [part for part in parts if part is not None]
            assert parts == sorted(parts) and all(0 < part < 100 for part in parts), key
            assert figures.get(f"{direction} MnR", 1) >= 1


@pytest.mark.parametrize("cost", ["gflops", "tokens"])
def test_shares_of_table_1(cost):
    """Each is of LoRA's cost, the first of its backbone and frames; within 1 %."""
    rows = [row for row in ROWS if row.table == 1]
    for row in rows:
        same = (row.backbone, row.frames)
        first = next(one for one in rows if (one.backbone, one.frames) == same)
        share = 100 * row.printed[cost] / first.printed[cost]
        assert row.printed[f"{cost}_share"] == pytest.approx(share, abs=1), row.name


def test_every_line_has_a_row_and_every_row_a_line():
    used = set()
    for row in ROWS:
        assert row.printed, row
        for table in (row.table, REVERSED.get(row.table)):
            name = row.line or row.name
            used |= {
                (table, name, backbone, data)
                for backbone in ("", row.backbone)
                for data in ("", row.data)
            }
    assert LINES.keys() <= used


def test_the_paper_prints_the_same_of_the_same_model():
    found = collections.defaultdict(set)
    for row in ROWS:
        model = (row.method, row.backbone, row.frames, str(row.options), row.data, row.weights)
        for name, value in row.printed.items():
            if name != "training_hours":
                found[model, name].add(value)
    assert {key: values for key, values in found.items() if len(values) > 1} == {}


def test_directions_print_the_same_costs():
    for key, figures in read_lines(11).items():
        costs = {name: value for name, value in figures.items() if name in COSTS}
        assert costs and costs.items() <= read_lines(2)[key].items(), key


def test_what_the_paper_claims_of_its_tables():
    """Its abstract and its introduction, of ViT-B/16."""
    [ours, vop, dgl] = [find(4, name) for name in ("TempMe", "VoP", "DGL")]
    assert round(100 - 100 * ours["tokens"] / vop["tokens"]) == 95
    assert round(100 - 100 * ours["gflops"] / vop["gflops"]) == 51
    speeds = [one["videos_per_second"] for one in (ours, vop, dgl)]
    assert [round(speeds[0] / speed, 1) for speed in speeds[1:]] == [1.8, 13.7]
    total = "text_to_video R-Sum"
    assert ours[total] - vop[total] == pytest.approx(4.4)
    [before, _, after] = [find(5, f"CLIP4Clip{more}") for more in ("", " + ToMe", " + TempMe")]
    assert after[total] - before[total] == pytest.approx(7.9)
    assert after["training_speed"] / before["training_speed"] == pytest.approx(1.57)
    assert 100 * after["training_memory"] / before["training_memory"] == pytest.approx(
        75.2, abs=0.1
    )


def test_both_directions_of_a_row():
    """Tables 11 and 12 are the other direction of Tables 2 and 3."""
    [row] = [row for row in paper.select_rows([11]) if row.name == "TempMe"]
    assert (row.table, paper.list_tables(row)) == (2, [2, 11])
    assert (row.printed["text_to_video R-Sum"], row.printed["video_to_text R-Sum"]) == (
        198.6,
        199.2,
    )
    names = [row.name for row in paper.select_rows([12]) if row.data == "didemo"]
    assert names == "CLIP4Clip Prompt Adapter LoRA VoP DiffRate ToMe TempMe".split()


def test_figures_of_some_settings_only():
    """Two rows stand for VoP: one with its prompts, and one with those that were counted."""
    rows = {row.name: row.printed for row in ROWS if row.table == 4}
    assert rows["VoP, prompts as counted"] == {"gflops": 246.2, "tokens": 2368}
    assert rows["VoP"].items() >= rows["VoP, prompts as counted"].items()
