"""Questions about the videos of the built-in set; two of four ask for the order of the moves."""

import dataclasses

from tempme_jax.datasets import shapes
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.moving_shapes import SIZES, MovingShapes, make_video_name
from tempme_jax.datasets.questions import Question, QuestionSet

# The field of a `Motion` that each question asks for, which is also its type.
QUESTIONS = {
    "shape": "what moves",
    "colour": "which colour is it",
    "first": "which way does it go first",
    "second": "which way does it go then",
}
ANSWERS = (*shapes.SHAPES, *shapes.COLOURS, *shapes.DIRECTIONS)


class MovingShapesQa(QuestionSet, MovingShapes):
    """Four questions about each video of `moving_shapes`, with eleven answers in all.

    The types "first" and "second" ask for the order of the moves. A video and its reverse have
    different answers to each of them, and the same frames, up to noise: whatever ignores the order
    of frames answers at most half of them rightly.
    """

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; see `VideoSet.list_videos`."""
        questions = tuple(QUESTIONS.values())
        return [
            dataclasses.replace(video, captions=questions) for video in super().list_videos(split)
        ]

    def read_questions(self, split: str) -> list[Question]:
        """Return the questions of a split; see `QuestionSet.read_questions`."""
        return [
            make_question(make_video_name(split, number, take), kind, getattr(motion, kind))
            for take in range(SIZES[self.storage.variant][split])
            for number, motion in enumerate(shapes.list_motions())
            for kind in QUESTIONS
        ]

    def read_answers(self) -> list[str]:
        """Return the names of all shapes, colours and directions."""
        return list(ANSWERS)


def make_question(video: str, kind: str, answer: str) -> Question:
    """Return the question of a type about a video."""
    return Question(video, QUESTIONS[kind], answer, ANSWERS.index(answer), kind)
