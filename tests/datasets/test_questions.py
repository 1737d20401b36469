"""Questions belong to the videos that were prepared, and some cannot be answered without order."""

import collections
import dataclasses
import types

import numpy as np
import pytest
from annotation_files import write

from tempme_jax.datasets import DATASETS, moving_shapes, shapes
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.moving_shapes import SIZES
from tempme_jax.datasets.moving_shapes_qa import QUESTIONS, MovingShapesQa
from tempme_jax.datasets.questions import hash_answers, list_questions
from tempme_jax.datasets.records import PreparationError

ORDER = ("first", "path")
ASKED = [
    {"answer": "cook", "question": "what does he do", "video_id": "video1"},
    {"answer": "ball", "question": "what is it", "video_id": "video2"},
    {"answer": "man", "question": "who is it", "video_id": "video1"},
]


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """The built-in set, of which nothing is drawn: its files are empty."""
    monkeypatch.setattr(shapes, "draw", lambda *_: None)
    monkeypatch.setattr(moving_shapes, "save_frames", lambda file, frames: file.touch())
    return MovingShapesQa(data_dir=tmp_path, root=tmp_path, config=Storage(variant="small"))


@pytest.fixture
def published(tmp_path):
    parts = {f"annotations/{part}.jsonl": ASKED for part in ("train", "val", "test")}
    parts["annotations/train_ans2label.json"] = {"cook": 0, "ball": 1, "man": 2}
    return DATASETS["msrvtt_qa"](data_dir=tmp_path, root=write(tmp_path, parts))


def prepare(ids, captions, split="test"):
    """In place of prepared frames of one split: their ids and captions."""
    report = {split: {"prepared": len(ids)}}
    return types.SimpleNamespace(
        splits=(split,), report=report, ids=ids, captions=captions, folder="here"
    )


@pytest.mark.parametrize("split", MovingShapesQa.SPLITS)
def test_every_video_has_the_four_questions(built_in, split):
    videos, answers = built_in.list_videos(split), built_in.read_answers()
    assert {video.captions for video in videos} == {tuple(QUESTIONS.values())}
    found = list_questions(
        built_in, prepare([v.id for v in videos], [v.captions for v in videos], split)
    )
    assert len(found) == 96 * SIZES["small"][split]
    for asked, motion in zip(found, shapes.list_motions(), strict=True):
        assert [one.answer for one in asked] == [
            motion.shape, motion.colour, motion.first, motion.path
        ]  # fmt: skip
        assert all(answers[one.label] == one.answer for one in asked)


def test_whatever_ignores_order_answers_half_of_the_questions_of_order(built_in):
    group = {video.id: video.group for video in built_in.list_videos("test")}
    answers = {kind: collections.defaultdict(list) for kind in QUESTIONS}
    for question in built_in.read_questions("test"):
        answers[question.answer_type][group[question.video_id]].append(question.answer)
    for kind, of_groups in answers.items():
        # Two videos of a group show the same frames, so they get the same answer.
        best = sum(max(map(said.count, said)) for said in of_groups.values())
        assert best == (48 if kind in ORDER else 96)


def test_videos_of_a_group_show_the_same_frames_in_reverse():
    silence = types.SimpleNamespace(normal=lambda mean, deviation, shape: np.zeros(shape))
    for motion in shapes.list_motions()[::7]:
        first, second = (
            shapes.draw(one, np.random.default_rng(0), silence) for one in (motion, motion.reverse)
        )
        np.testing.assert_array_equal(first, second[::-1])


def test_questions_follow_their_videos(published):
    videos = ["video2", "video1"]
    captions = [("what is it",), ("what does he do", "who is it")]
    second, first = list_questions(published, prepare(videos, captions))
    assert [one.answer for one in second + first] == ["ball", "cook", "man"]
    with pytest.raises(PreparationError, match="other questions, such as those of 'video1'"):
        list_questions(published, prepare(videos, [captions[0], ("what does he do",)]))


def test_the_hash_is_of_questions_answers_and_their_list(published):
    questions, answers = published.read_questions("test"), published.read_answers()
    same = hash_answers(questions[::-1], answers)
    assert same == hash_answers(questions, answers)
    other = [dataclasses.replace(questions[0], answer="ball"), *questions[1:]]
    assert len({same, hash_answers(other, answers), hash_answers(questions, answers[:2])}) == 3
