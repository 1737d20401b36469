"""Queries of several parts: a text and a picture, and what is to be left out."""

import numpy as np
import pytest

from tempme_jax.search.query.mixing import SUBTRACTED, MixedQuery, search_mixed, split_phrases
from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.query.scoring import UnrelatedScores

AXES = np.eye(6, dtype=np.float32)
TEXT, PICTURE, UNWANTED = AXES[:3]
WINDOWS = {
    "both": (TEXT + PICTURE) / np.sqrt(2),
    "text": (TEXT + 0.1 * AXES[3]) / np.sqrt(1.01),
    "spoilt": (TEXT + 0.9 * UNWANTED) / np.sqrt(1.81),
    "picture": PICTURE,
}


class FakeSearcher:
    """Searches the windows above; of unrelated queries, the scores are from 0 to 0.6."""

    spread = staticmethod(lambda vector: float("nan"))

    def search(self, vector, *, kind, query, own, k=10, **options):
        self.asked = kind, own, options
        scores = {name: float(window @ vector) for name, window in WINDOWS.items()}
        best = sorted(scores, key=lambda name: -scores[name])[:k]
        moments = tuple(
            Moment(
                file=f"/{name}.mp4", start=0, end=1, at=0, score=scores[name], percentile=1.0,
                window=name, file_id=name, copies=(),
            )
            for name in best
        )  # fmt: skip
        return Results(
            query=query, moments=moments, confident=False, searched=4, message="none", kind=kind,
            levels=(0, 1, 2),
        )  # fmt: skip

    def measure_spread(self, vector):
        return self.spread(vector)

    def find_vector(self, window):
        return WINDOWS[window]

    def measure_unrelated(self, kind):
        return UnrelatedScores(np.linspace(0, 0.6, 100))

    def doubt(self, moment, kind):
        return f"a {moment.verdict} {kind}"


@pytest.fixture
def search():
    searcher = FakeSearcher()
    embed = {"a text": TEXT, "unwanted": UNWANTED}

    def search(**parts):
        found = search_mixed(
            searcher, MixedQuery(**parts), lambda texts: np.stack([embed[t] for t in texts]), k=4
        )  # pyright: ignore[reportArgumentType]
        return found, [moment.window for moment in found.moments]

    search.searcher = searcher
    return search


def test_a_text_and_a_picture_together(search):
    found, names = search(text="a text", picture=PICTURE)
    assert names[0] == "both" and found.kind == "mixed" and found.levels is None
    best = found.moments[0]
    assert best.score == pytest.approx(np.sqrt(0.5)) and best.percentile == 100
    assert found.confident and best.verdict == "strong" and found.message == ""
    assert search(text="a text", picture=PICTURE, weight=0.05)[1][0] == "text"
    assert search(text="a text", picture=PICTURE, weight=1)[1][0] == "picture"
    alone = search(picture=PICTURE, kind="clip", own="part")
    assert alone[1][0] == "picture" and search.searcher.asked[:2] == ("clip", "part")
    assert alone[0].levels == (0, 1, 2)  # as the searcher found it


def test_a_part_whose_scores_differ_less_counts_for_more(search):
    search.searcher.spread = lambda vector: 0.3 if vector[1] else 0.01
    assert search(text="a text", picture=PICTURE)[1][:2] == ["text", "both"]
    assert search(text="a text", picture=PICTURE, weight=1)[1][0] == "picture"


def test_a_moment_that_fits_one_of_both_is_not_sure(search, monkeypatch):
    monkeypatch.delitem(WINDOWS, "both")
    found, _ = search(text="a text", picture=PICTURE)
    assert not found.confident and "both the text and the picture" in found.message
    assert found.moments[0].verdict == "possible"


def test_words_are_left_out(search):
    assert search(text="a text")[1][:2] == ["text", "spoilt"]
    found, names = search(text="a text", without=("unwanted",))
    assert names.index("spoilt") > names.index("both") and found.kind == "text"
    # The verdict is that of the text alone.
    best = found.moments[0]
    assert best.score == pytest.approx(float(WINDOWS["text"] @ TEXT)) and best.verdict == "strong"
    assert found.confident and 0 < SUBTRACTED < 1


@pytest.mark.parametrize(
    "parts, sentence",
    [
        ({}, "nothing to search for"),
        ({"text": " "}, "nothing to search for"),
        ({"text": "x", "weight": 1.5}, "from 0 to 1"),
        ({"text": "x", "weight": float("nan")}, "from 0 to 1"),
        ({"text": "x", "without": ("y",) * 9}, "at most 8"),
    ],
)
def test_parts_that_make_no_query(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        MixedQuery(**parts)


def test_phrases_are_split_at_commas():
    assert split_phrases(" people,, deep snow ,") == ("people", "deep snow")
    assert split_phrases("") == ()
