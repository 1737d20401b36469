"""The table of a search says what its percentiles compare with."""

from pathlib import Path

from tempme_jax.search.query.printing import print_results
from tempme_jax.search.query.searcher import Moment, Results

MOMENT = Moment(
    file=Path("/v/a.mp4"), start=0.0, end=12.0, at=0.0, score=0.3, percentile=97.2,
    window="aa-00000", file_id="aa", copies=(),
)  # fmt: skip


def test_the_percentile_is_explained_by_kind_of_query(capsys):
    results = Results(query="", moments=(MOMENT,), confident=True, searched=1, message="")
    print_results(results)
    text = capsys.readouterr().out
    assert "against 256 unrelated sentences searched in the same index" in text
    assert "below 95 the search says: no confident match" in text
    print_results(results, kind="video")
    frames = capsys.readouterr().out
    assert "against windows of the same index" in frames and "sentences" not in frames
