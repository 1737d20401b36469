"""Questions about the videos of the built-in set; two of four ask for the order of the moves."""

import dataclasses

from tempme_jax.datasets import shapes
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.moving_shapes import SIZES, MovingShapes, make_video_name
from tempme_jax.datasets.questions import Question, QuestionSet

# What each question asks for, by its type: an attribute of a `Motion`. None asks for the second
# move alone: beside "first", it would make all four directions equally likely at each corner, for a
# model that does not tell both questions apart yet. Such a model learned nothing from the frames.
QUESTIONS = {
    "shape": "what moves",
    "colour": "which colour is it",
    "first": "which way does it go first",
    "path": "how does it move",
}
PATHS = tuple(dict.fromkeys(motion.path for motion in shapes.list_motions()))
ANSWERS = (*shapes.SHAPES, *shapes.COLOURS, *shapes.DIRECTIONS, *PATHS)


class MovingShapesQa(QuestionSet, MovingShapes):
    """Four questions about each video of `moving_shapes`, with 19 answers in all.

    The types "first" and "path" ask for the order of the moves. A video and its reverse have
    different answers to each of them, and the same frames, up to noise: whatever ignores the order
    of frames answers at most half of them rightly.
    """

    VARIANTS = ("default", "small")

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
        """Return the names of all shapes, colours, directions and paths."""
        return list(ANSWERS)


def make_question(video: str, kind: str, answer: str) -> Question:
    """Return the question of a type about a video."""
    return Question(video, QUESTIONS[kind], answer, ANSWERS.index(answer), kind)
