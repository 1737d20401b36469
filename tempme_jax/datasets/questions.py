"""What the sets with questions share: a question, and how questions belong to prepared videos."""

import collections
import dataclasses
import hashlib
import json

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.datasets.records import PreparationError


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a video.

    Attributes:
        video_id: id of the video.
        question: text of the question.
        answer: the one right answer.
        label: index of the answer in the list of answers; None if it is not in the list, so no
            choice from the list can be right.
        answer_type: type of the question in the annotation file, such as "what", by which
            accuracies are reported; empty if the file has none.
    """

    video_id: str
    question: str
    answer: str
    label: int | None
    answer_type: str = ""


class QuestionSet:
    """A mixin for data sets with questions; the captions of a video are its questions."""

    def read_questions(self, split: str) -> list[Question]:
        """Return the questions of a split; those of a video in the order of its captions."""
        raise NotImplementedError

    def read_answers(self) -> list[str]:
        """Return the list of answers that a model chooses from, each once."""
        raise NotImplementedError


def list_questions(data: QuestionSet, prepared: Prepared) -> list[list[Question]]:
    """Return the questions of each video of prepared splits.

    Raises:
        PreparationError: the frames were prepared for other questions.
    """
    asked = collections.defaultdict(list)
    for split in prepared.splits:
        for question in data.read_questions(split):
            asked[split, question.video_id].append(question)
    counts = {split: prepared.report[split]["prepared"] for split in prepared.splits}
    splits = [split for split, count in counts.items() for _ in range(count)]
    found = [asked[key] for key in zip(splits, prepared.ids, strict=True)]
    for video, questions, texts in zip(prepared.ids, found, prepared.captions, strict=True):
        if tuple(one.question for one in questions) != texts:
            raise PreparationError(
                f"{prepared.folder} was prepared for other questions, such as those of {video!r}; "
                "delete that folder to prepare the set anew"
            )
    return found


def hash_answers(questions: list[Question], answers: list[str]) -> str:
    """Return twelve hexadecimal digits of a hash of questions with their answers, and of a list."""
    asked = sorted((one.video_id, one.question, one.answer) for one in questions)
    return hashlib.sha256(json.dumps([asked, answers]).encode()).hexdigest()[:12]
