"""MSRVTT-QA: 243,000 questions on the videos of MSR-VTT (Xu et al., ACM MM 2017)."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator

from tempme_jax.datasets.annotations import (
    SUFFIXES,
    Annotated,
    Entry,
    read_json,
    read_json_list,
    read_jsonl,
    wrong,
)
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText
from tempme_jax.datasets.msrvtt import URLS

FILES = {"train": "train", "validation": "val", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Question:
    """A question on a video.

    Attributes:
        video_id: the video.
        question: what is asked.
        answer: the one right answer.
        label: its number in the vocabulary of answers; None if it is not in there, so that no
            model of this vocabulary can be right.
        kind: what the file says of its kind, such as "what"; empty if nothing.
    """

    video_id: str
    question: str
    answer: str
    label: int | None
    kind: str = ""


class MsrvttQa(Annotated, VideoText):
    """The captions of a video are its questions, in the order of `questions`, with the answers.

    Variants, by their files: "jsonl" ({train,val,test}.jsonl and train_ans2label.json, as used by
    ClipBERT) and "json" (msrvtt_qa_{train,val,test}.json and msrvtt_qa_answer_list.json, as used by
    VindLU and UMT). The videos are those of MSR-VTT.
    """

    VARIANTS = ("jsonl", "json")
    EXPECTED = {
        (variant, split): count
        for variant in VARIANTS
        for split, count in {"train": 6513, "validation": 497, "test": 2990}.items()
    }
    PUBLIC_URLS = {"MSRVTT.zip": URLS["MSRVTT.zip"]}
    HOMEPAGE = "https://github.com/jayleicn/ClipBERT or https://github.com/klauscc/VindLU"

    def videos(self, split: str) -> list[Video]:
        """The videos that have questions in a split; see `VideoText.videos`."""
        asked = collections.defaultdict(list)
        for question in self.questions(split):
            asked[question.video_id].append(question.question)
        return [self.video(name, texts, name) for name, texts in asked.items()]

    def questions(self, split: str) -> list[Question]:
        """The questions of a split, in the order of the file.

        To train on are only those whose answer is in the vocabulary. In the other splits all
        count, as the published accuracies do.
        """
        labels = {answer: label for label, answer in enumerate(self.answers())}
        questions = []
        for entry, name in self._entries(split):
            answer = entry.text("answer")
            kind = entry.text("answer_type") if entry.given("answer_type") else ""
            if split != "train" or answer in labels:
                label = labels.get(answer)
                questions.append(Question(name, entry.text("question"), answer, label, kind))
        return questions

    def answers(self) -> list[str]:
        """The vocabulary of answers (1,500), by label."""
        if self.builder_config.variant == "json":
            file = self.annotation("msrvtt_qa_answer_list.json")
            answers = read_json(file, list)
        else:
            file = self.annotation("train_ans2label.json")
            labels = read_json(file, dict)
            if sorted(map(repr, labels.values())) != sorted(map(repr, range(len(labels)))):
                raise wrong(file, f"the labels must be 0 to {len(labels) - 1}, each once")
            answers = sorted(labels, key=labels.__getitem__)
        if not all(isinstance(answer, str) for answer in answers) or not answers:
            raise wrong(file, "must be texts, at least one")
        if len(set(answers)) < len(answers):
            raise wrong(file, "has an answer twice")
        return answers

    def _entries(self, split: str) -> Iterator[tuple[Entry, str]]:
        """What the file of a split says, and of which video."""
        if self.builder_config.variant == "jsonl":
            file = self.annotation(f"{FILES[split]}.jsonl")
            for entry in read_jsonl(file, ["video_id", "question", "answer"]):
                yield entry, entry.text("video_id")
        else:
            file = self.annotation(f"msrvtt_qa_{FILES[split]}.json")
            for entry in read_json_list(file, ["video", "question", "answer"]):
                path = pathlib.PurePosixPath(entry.text("video"))
                yield entry, path.stem if path.suffix in SUFFIXES else path.name
