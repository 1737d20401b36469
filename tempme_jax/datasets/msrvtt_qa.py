"""MSRVTT-QA: 243,000 questions about the videos of MSR-VTT (Xu et al., ACM MM 2017)."""

import collections
import pathlib
from collections.abc import Iterator

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.annotations import Annotation, make_error
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.msrvtt import URLS
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.questions import Question, QuestionSet
from tempme_jax.datasets.readers import read_json, read_json_list, read_jsonl
from tempme_jax.video.suffixes import DATASET_SUFFIXES

FILES = {"train": "train", "validation": "val", "test": "test"}
# The file with the list of answers, by variant.
LISTS = {"jsonl": "train_ans2label.json", "json": "msrvtt_qa_answer_list.json"}


class MsrvttQa(QuestionSet, AnnotatedSet, VideoText):
    """MSRVTT-QA: the captions of a video are its questions, in the order of `read_questions`.

    The variants are named after their files: "jsonl" ({train,val,test}.jsonl and
    train_ans2label.json, used by ClipBERT) and "json" (msrvtt_qa_{train,val,test}.json and
    msrvtt_qa_answer_list.json, used by VindLU and UMT). The videos are those of MSR-VTT.
    """

    VARIANTS = ("jsonl", "json")
    EXPECTED = {
        (variant, split): count
        for variant in VARIANTS
        for split, count in {"train": 6513, "validation": 497, "test": 2990}.items()
    }
    PUBLIC_URLS = {"MSRVTT.zip": URLS["MSRVTT.zip"]}
    HOMEPAGE = "https://github.com/jayleicn/ClipBERT or https://github.com/klauscc/VindLU"

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos that have questions in a split; see `VideoSet.list_videos`."""
        asked = collections.defaultdict(list)
        for question in self.read_questions(split):
            asked[question.video_id].append(question.question)
        return [self.make_video(name, texts) for name, texts in asked.items()]

    def read_questions(self, split: str) -> list[Question]:
        """Return the questions of a split, in the order of the file.

        The training split has only questions with an answer of the vocabulary. The other splits
        have all, which the published accuracies are of.

        Raises:
            AnnotationError: a file is not as it should be, or the vocabulary has the answer of no
                question to train on.
        """
        labels = {answer: label for label, answer in enumerate(self.read_answers())}
        questions, entries = [], list(self._read_entries(split))
        for entry, name in entries:
            answer = entry.get_text("answer")
            kind = entry.get_text("answer_type") if entry.has("answer_type") else ""
            if split != "train" or answer in labels:
                label = labels.get(answer)
                questions.append(Question(name, entry.get_text("question"), answer, label, kind))
        if entries and not questions:
            problem = f"has the answer of none of the {len(entries)} questions of {split}"
            advice = "give the list that belongs to the questions"
            raise make_error(self.find_annotations(self.list_file), problem, "", advice)
        return questions

    @property
    def list_file(self) -> str:
        """Name of the file with the vocabulary of answers."""
        return LISTS[self.storage.variant]

    def read_answers(self) -> list[str]:
        """Read the vocabulary of 1,500 answers, in the order of their labels."""
        file = self.find_annotations(self.list_file)
        if self.storage.variant == "json":
            answers = read_json(file, list)
        else:
            labels = read_json(file, dict)
            if sorted(map(repr, labels.values())) != sorted(map(repr, range(len(labels)))):
                raise make_error(file, f"the labels must be 0 to {len(labels) - 1}, each once")
            answers = sorted(labels, key=labels.__getitem__)
        if not all(isinstance(answer, str) for answer in answers) or not answers:
            raise make_error(file, "must be texts, at least one")
        answers = [answer.strip() for answer in answers]  # as those of questions are
        if not all(answers):
            raise make_error(file, "has an empty answer")
        if len(set(answers)) < len(answers):
            raise make_error(file, "has an answer twice")
        return answers

    def _read_entries(self, split: str) -> Iterator[tuple[Annotation, str]]:
        """Yield the annotations of a split, each with the id of its video."""
        if self.storage.variant == "jsonl":
            file = self.find_annotations(f"{FILES[split]}.jsonl")
            for entry in read_jsonl(file, ["video_id", "question", "answer"]):
                yield entry, entry.get_text("video_id")
        else:
            file = self.find_annotations(f"msrvtt_qa_{FILES[split]}.json")
            for entry in read_json_list(file, ["video", "question", "answer"]):
                path = pathlib.PurePosixPath(entry.get_text("video"))
                yield entry, path.stem if path.suffix in DATASET_SUFFIXES else path.name
