"""Searches of the page: filters, order, verdicts, names."""

import math
import threading

import pytest
from fake_index import BEACH, HOSTILE, UNPLAYABLE

from tempme_jax.search.query.results import Moment
from tempme_jax.search.serve import parameters, service
from tempme_jax.search.serve.schemas import find_marks, make_moment_answer


@pytest.fixture
def ask(client):
    return lambda **given: client.get("/api/search", params={"q": "x", **given}).json()


def list_names(answer):
    return [moment["name"] for moment in answer["moments"]]


def test_a_moment_tells_of_its_file(ask):
    first, second = ask(k=2)["moments"]
    assert (first["verdict"], first["seconds"], first["gone"]) == ("strong", 8, False)
    assert first["modified"].startswith("2024-01-12T") and first["modified"].endswith("+00:00")
    assert [one["needs_preview"] for one in (first, second)] == [False, True]
    assert (first["found_in"], first["text"], first["fit"]) == ("seen", "", None)


def test_filters(ask, index):
    assert list_names(ask(name="*.AVI")) == [UNPLAYABLE]
    assert list_names(ask(name="holiday/b")) == ["beach.mp4"]
    assert list_names(ask(after="2024-04-01", before="2024-04-30")) == [HOSTILE]
    assert ask(name=" ")["moments"] and index.options["name"] is None
    assert index.options["per_video"] == parameters.DEFAULT_PER_VIDEO and index.options["lines"]
    ask(per_video=0)
    assert index.options["per_video"] is None
    assert (
        "no moment is at least a same match; the best one is strong"
        == ask(verdict="same", k=1)["message"]
    )
    least = {moment["verdict"] for moment in ask(verdict="strong")["moments"]}
    assert least == {"strong"}


def test_all_moments_of_one_video(ask, index):
    answer = ask(file=BEACH)
    assert set(list_names(answer)) == {"beach.mp4"} and len(answer["moments"]) == 3
    assert index.options["per_video"] is None
    line = answer["lines"][0]
    assert line["file_id"] == BEACH and line["scores"][0] is None and len(line["scores"]) == 8
    assert len(answer["levels"]) == 3


def test_the_order(ask):
    newest = [moment["modified"] for moment in ask(sort="date")["moments"]]
    assert newest == sorted(newest, reverse=True)
    paths = [moment["path"] for moment in ask(sort="time")["moments"]]
    assert paths == sorted(paths)
    starts = [moment["start"] for moment in ask(sort="time", file=BEACH)["moments"]]
    assert starts == [0, 2, 4]


def test_weak_moments_stay_behind_in_any_order(ask):
    answers = [ask(q="gibberish", sort=by) for by in ("match", "date")]
    for answer in answers:
        assert answer["verdict"] == "weak" and answer["shown"] == 3 < len(answer["moments"])
    first, second = (
        {moment["window"] for moment in answer["moments"][:3]} for answer in answers
    )  # fmt: skip
    assert first == second


def test_names_that_hold_the_words(ask):
    answer = ask(q="a BEACH")
    assert [(one["name"], one["marks"], one["is_folder"]) for one in answer["names"]] == [
        ("beach.mp4", [[0, 5]], False)
    ]
    folder = ask(q="work")["names"][0]
    assert (folder["name"], folder["is_folder"], folder["count"]) == ("work", True, 3)


def test_what_is_said_has_no_score(index):
    moment = Moment(
        file=index.paths[BEACH], start=1, end=2, at=1, score=math.nan, percentile=math.nan,
        window=f"{BEACH}-00001", file_id=BEACH, copies=(), verdict="strong", found_in="said",
        text="a wave\udce9", subtitles="beach.srt",
    )  # fmt: skip
    answer = make_moment_answer(moment, None).model_dump_json()
    assert '"score":null,"percentile":null' in answer and '"gone":true' in answer
    assert '"found_in":"said","text":"a wave?","subtitles":"beach.srt"' in answer


def test_an_index_that_takes_long_to_be_read_again(client, index, ask, monkeypatch):
    go_on, begun = threading.Event(), []
    monkeypatch.setattr(service, "PATIENCE", 0.05)
    monkeypatch.setattr(index, "refresh", lambda: begun.append(1) or go_on.wait(10))
    answers = [ask() for _ in range(2)]
    assert all(answer["moments"] for answer in answers)
    assert all("still being read" in answer["message"] for answer in answers)
    assert len(begun) == 1
    go_on.set()
    monkeypatch.setattr(service, "PATIENCE", 10.0)
    assert "still being read" not in ask()["message"] and len(begun) == 2


def test_an_index_that_cannot_be_read_again_is_told_once(index, ask, monkeypatch, caplog):
    def refresh():
        raise OSError("the disk is gone")

    monkeypatch.setattr(index, "refresh", refresh)
    for _ in range(3):
        assert ask()["moments"]
    assert caplog.text.count("could not be read again") == 1


def test_words_are_marked():
    assert find_marks("Cat and cats, a CAT", "cat a") == [(0, 3), (8, 11), (14, 15), (16, 19)]
    assert find_marks("x" * 300, "(((") == [] == find_marks("", "")
    assert find_marks("grüße_東京.mp4", "東京 GRÜßE") == [(0, 5), (6, 8)]


def test_like_a_moment_with_a_text(ask, index):
    answer = ask(q="at night", like=f"{BEACH}-00001", weight=0.3)
    assert "beach.mp4" not in list_names(answer) and index.asked[-1][3] == 0.3
    assert "beach.mp4" in list_names(ask(q="at night", like=f"{BEACH}-00001", file=BEACH))


def test_numbers_and_failures(client):
    stats = client.get("/api/stats").json()
    assert (stats["failed"], stats["preview_seconds"]) == (1, 30)
    assert stats["folders"] and stats["can_rerank"] is False
    failures = client.get("/api/failures").json()
    assert failures["total"] == 1
    assert failures["failures"][0]["reason"] == "the file is cut short"
