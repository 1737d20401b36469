"""The best rows are those of brute force, and percentiles are what one finds by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempme_jax.search.query.scoring import (
    ExactSearch,
    UnrelatedScores,
    find_best_scores,
    select_top,
)
from tempme_jax.search.query.unrelated import read_texts

# Products of such numbers are exact, so equal scores are equal, and there are many of them.
small = st.integers(-2, 2)


def matrix(rows, width=3):
    return st.lists(
        st.lists(small, min_size=width, max_size=width), min_size=rows[0], max_size=rows[1]
    ).map(lambda values: np.array(values, np.float32).reshape(-1, width))


def by_force(scores, count):
    there = [row for row in range(len(scores)) if scores[row] > -np.inf]
    return sorted(there, key=lambda row: (-scores[row], row))[:count]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), max_size=30),
    st.integers(0, 35),
)
def test_top_is_brute_force(scores, count):
    assert select_top(np.array(scores), count).tolist() == by_force(scores, count)


@settings(deadline=None)
@given(matrix((0, 20)), matrix((0, 4)), st.integers(0, 25), st.data())
def test_best_is_brute_force(vectors, queries, count, data):
    allowed = data.draw(
        st.none() | st.lists(st.booleans(), min_size=len(vectors), max_size=len(vectors))
    )
    mask = None if allowed is None else np.array(allowed, bool)
    rows, scores = ExactSearch(vectors).find_best(queries, count, mask)
    for query, its_rows, its_scores in zip(queries, rows, scores, strict=True):
        all_scores = (vectors @ query).tolist()
        hidden = [
            -np.inf if mask is not None and not mask[i] else s for i, s in enumerate(all_scores)
        ]
        expected = by_force(hidden, count)
        assert its_rows.tolist() == expected
        assert its_scores.tolist() == [all_scores[row] for row in expected]
        one_row, one_score = ExactSearch(vectors).find_best(query, count, mask)
        assert one_row.tolist() == expected and one_score.tolist() == its_scores.tolist()


def test_many_queries_are_taken_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, queries = rng.integers(-3, 3, (50, 4)), rng.integers(-3, 3, (13, 4))
    at_once = ExactSearch(vectors).find_best(queries, 5)
    monkeypatch.setattr("tempme_jax.search.query.scoring.BLOCK", 150)  # three queries at once
    in_parts = ExactSearch(vectors).find_best(queries, 5)
    np.testing.assert_array_equal(at_once, in_parts)


def test_vectors_are_not_copied():
    vectors = np.ones((3, 2), np.float32)
    assert np.shares_memory(ExactSearch(vectors).vectors, vectors)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros(3), r"shape \(3,\); expected \[2\] or \[q, 2\]"),
        (np.zeros((1, 1, 2)), r"shape \(1, 1, 2\)"),
        ([0.0, np.nan], "not finite"),
    ],
)
def test_wrong_queries(query, message):
    with pytest.raises(ValueError, match=message):
        ExactSearch(np.zeros((4, 2))).find_best(query, 1)


def test_wrong_vectors():
    with pytest.raises(ValueError, match=r"shape \(4,\); expected \[n, d\]"):
        ExactSearch(np.zeros(4))


@settings(deadline=None)
@given(matrix((1, 30)), matrix((1, 6)), st.data())
def test_best_of_each_is_brute_force(vectors, queries, data):
    numbers = st.integers(-1, 2)
    groups = data.draw(st.lists(numbers, min_size=len(vectors), max_size=len(vectors)))
    own = data.draw(st.lists(st.integers(0, 2), min_size=len(queries), max_size=len(queries)))
    for mine in (None, np.array(own)):
        best = find_best_scores(queries, vectors, np.array(groups), mine)
        for number, query in enumerate(queries):
            others = [
                float(vector @ query)
                for vector, group in zip(vectors, groups, strict=True)
                if group >= 0 and (mine is None or group != own[number])
            ]
            assert best[number] == max(others, default=-np.inf)


def test_best_of_each_in_blocks_and_beside_a_damaged_vector(monkeypatch):
    vectors = np.array([[1, 0], [np.nan, 0], [0, 1], [0.5, 0]], np.float32)
    groups, queries = np.array([0, 1, 2, 3]), np.eye(2, dtype=np.float32)
    monkeypatch.setattr("tempme_jax.search.query.scoring.BLOCK", 2)  # one vector at once
    assert find_best_scores(queries, vectors, groups).tolist() == [1, 1]
    assert find_best_scores(queries, vectors, groups, np.array([0, 2])).tolist() == [0.5, 0]


def test_percentile_by_hand():
    # The upper half is brought down to the lower one, mirrored at the median, 10, and stretched.
    given = [*range(10), 10, *range(91, 82, -1), 11]
    unrelated = UnrelatedScores(given)
    stretched = [10 + 1.6 * below for below in range(2, 11)]
    assert unrelated.scores.tolist() == pytest.approx([*range(11), 11, *stretched])
    unrelated = UnrelatedScores([*range(1, 11), 10.5, *range(11, 21)])
    assert len(unrelated) == 21
    assert unrelated.compute_percentile(0.5) == 0
    assert unrelated.compute_percentile(10.5) == 50
    assert unrelated.compute_percentile(19) == pytest.approx(100 * 19.5 / 21)
    assert unrelated.compute_percentile(19.5) == pytest.approx(100 * 20 / 21)
    assert unrelated.compute_percentile(50) == 100
    assert unrelated.compute_levels(50, 95) == (10.5, 19)
    assert unrelated.compute_percentile(19.01) > 90 > unrelated.compute_percentile(18)
    assert unrelated.spread == pytest.approx((15 - 6) / 1.349)


def test_true_matches_among_the_queries_count_little():
    rng = np.random.default_rng(0)
    scores = rng.normal(0.2, 0.02, 256)
    alone = UnrelatedScores(scores)
    scores[rng.choice(256, 40, replace=False)] += 0.15
    mixed = UnrelatedScores(scores)
    # Now 16 % of all scores are 0.35 or so: as they are, they would leave 84 below 0.3.
    assert alone.compute_percentile(0.3) == 100 and mixed.compute_percentile(0.3) > 99


def test_few_scores_tell_nothing():
    unrelated = UnrelatedScores([0.1] * 19)
    assert not unrelated.is_enough and np.isnan(unrelated.compute_percentile(0.9))
    assert unrelated.spread == 0
    assert UnrelatedScores([0.1] * 20).compute_percentile(0.9) == 100
    assert len(UnrelatedScores([])) == 0 and np.isnan(UnrelatedScores([]).compute_percentile(0))


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=60), st.floats(-1, 1), st.floats(-1, 1))
def test_percentiles_rise_with_scores(best, low, high):
    unrelated = UnrelatedScores(best)
    low, high = sorted((low, high))
    assert 0 <= unrelated.compute_percentile(low) <= unrelated.compute_percentile(high) <= 100
    assert np.all(np.diff(unrelated.scores) >= 0) and len(unrelated) == len(best)


def test_the_texts():
    assert len(set(read_texts())) == len(read_texts()) == 256
    assert all(text.strip() == text and 10 < len(text) < 60 for text in read_texts())
    assert len({text.lower() for text in read_texts()}) == 256
