"""Questions as rows of batches: with an answer to train on, or several of a video to measure."""

import dataclasses
import operator
from typing import SupportsIndex

import numpy as np

from tempme_jax.datasets.questions import Question, QuestionSet, list_questions
from tempme_jax.model import Model
from tempme_jax.text.wordpiece import WordPieceTokenizer
from tempme_jax.training.batches import FrameReader, TrainingRows
from tempme_jax.training.config import DataSettings
from tempme_jax.training.places import make_builder

# Ids of an answer, [CLS] and [SEP] included.
ANSWER_IDS = 5
# At most so many questions of a video are in one row; more make the video encoded again.
QUESTIONS_OF_ROW = 16

Encoded = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class AnsweredRows(TrainingRows):
    """The questions of all training batches with their answers, by their place in the order.

    Attributes:
        answers: ids and mask of the answer of each question, [questions, n].
    """

    answers: Encoded = dataclasses.field(kw_only=True)

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Return one row: that of `TrainingRows`, and its one answer."""
        step, row = divmod(operator.index(index), self.order.batch_size)
        question = self.order.get_batch(step)[row]
        ids, mask = (array[question][None] for array in self.answers)
        weight = np.ones(1, np.float32)
        answer = {"answer_ids": ids, "answer_mask": mask, "answer_weight": weight}
        return super().__getitem__(index) | answer


@dataclasses.dataclass(frozen=True)
class QuestionRows:
    """Some questions of a video in each row, filled up to whole batches; a source for Grain.

    Attributes:
        reader: reads a video's frames.
        rows: the video of each row, and the numbers of its questions.
        questions: ids and mask of all questions, [questions, n].
        batch_size: rows of a batch.
    """

    reader: FrameReader
    rows: list[tuple[int, list[int]]]
    questions: Encoded
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size) * self.batch_size

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Return one row: frames, frame_mask, ids and text_mask [q, n], and question [q].

        A question is its number, or -1 if it only fills up.
        """
        place = operator.index(index)
        video, numbers = self.rows[min(place, len(self.rows) - 1)]
        question = np.full(max(len(others) for _, others in self.rows), -1, np.int32)
        if place < len(self.rows):
            question[: len(numbers)] = numbers
        frames, frame_mask = self.reader(video, video)
        ids, mask = (array[np.maximum(question, 0)] for array in self.questions)
        return {
            "frames": frames, "frame_mask": frame_mask, "ids": ids, "text_mask": mask,
            "question": question,
        }  # fmt: skip


def add_answers(rows: TrainingRows, data: DataSettings, model: Model) -> AnsweredRows:
    """Return the rows of the questions of a training, which are captions, with their answers."""
    questions = list_questions(open_question_set(data), rows.reader.prepared)
    # Pairs are the captions of all videos in turn, and so are their questions.
    answers = [question.answer for asked in questions for question in asked]
    return AnsweredRows(**vars(rows), answers=encode_answers(model, answers))


def arrange_questions(by_video: list[list[Question]]) -> list[tuple[int, list[int]]]:
    """Return rows of questions: the video of each, and the numbers of its questions.

    Questions are numbered as they come, video after video.
    """
    rows, first = [], 0
    for video, asked in enumerate(by_video):
        numbers = list(range(first, first + len(asked)))
        rows += [
            (video, numbers[start : start + QUESTIONS_OF_ROW])
            for start in range(0, len(numbers), QUESTIONS_OF_ROW)
        ]
        first += len(asked)
    return rows


def open_question_set(data: DataSettings) -> QuestionSet:
    """Return the data set of the settings, which has questions; see `tasks.check_task`."""
    builder = make_builder(data)
    assert isinstance(builder, QuestionSet)
    return builder


def encode_answers(model: Model, answers: list[str]) -> Encoded:
    """Return ids and mask of answers, [a, ANSWER_IDS]."""
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, WordPieceTokenizer)  # that of every network that answers
    return tokenizer.encode_answers(answers, ANSWER_IDS)
