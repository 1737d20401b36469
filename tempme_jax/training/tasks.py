"""What a network is trained for and how it is measured: one row for each of its objectives."""

import dataclasses
import itertools
import statistics
from collections.abc import Callable
from typing import Any

from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.questions import QuestionSet, list_questions
from tempme_jax.model import Model
from tempme_jax.networks.network import Network
from tempme_jax.training.answering import (
    evaluate_answers,
    require_right_answers,
    summarize_answers,
)
from tempme_jax.training.batches import FrameReader, TrainingRows
from tempme_jax.training.config import Config, EvaluateSettings
from tempme_jax.training.evaluate import evaluate_split
from tempme_jax.training.metrics import RECALLS
from tempme_jax.training.objectives.answers import AnswerObjective
from tempme_jax.training.objectives.base import Objective
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.objectives.matching import MatchingObjective
from tempme_jax.training.objectives.sigmoid import SigmoidObjective
from tempme_jax.training.order import Order, make_pairs
from tempme_jax.training.question_rows import AnsweredRows, add_answers, open_question_set
from tempme_jax.training.results import DIRECTIONS
from tempme_jax.training.splits import open_split


@dataclasses.dataclass(frozen=True)
class Task:
    """What a network is trained for, and how it is measured.

    Attributes:
        objective: the class of what training minimises.
        open_rows: returns every row of the training of a model, in its order.
        evaluate: measures a model on a split; arguments and result as of `evaluate_split`.
        summarize: returns the numbers of an evaluation that the log holds, and the name of the one
            that is largest for the best checkpoint.
        answers: whether it is measured by answers to questions, which the data set must have.
    """

    objective: type[Objective]
    open_rows: Callable[[Config, Model], TrainingRows]
    evaluate: Callable[..., dict[str, Any]]
    summarize: Callable[[dict[str, Any], EvaluateSettings], tuple[dict[str, Any], str]]
    answers: bool = False


def open_pairs(config: Config, model: Model) -> TrainingRows:
    """Open the pairs of a video and a text, for retrieval."""
    settings = config.train
    prepared = open_split(config.data, config.data.train)
    order = Order(
        make_pairs(prepared.captions, prepared.groups),
        batch_size=settings.batch_size, kind=settings.batches, seed=config.seed,
    )  # fmt: skip
    reader = FrameReader(prepared, model.num_frames, settings.frame_sampling, config.seed)
    steps = settings.steps or settings.epochs * order.steps_of_epoch
    return TrainingRows(order, reader, model.tokenizer, steps)


def open_answered(config: Config, model: Model) -> AnsweredRows:
    """Open the questions, which are captions, with their answers.

    Raises:
        ValueError: no question of a split that will be measured has an answer of the list.
    """
    data, selects = config.data, config.evaluate.select_on
    for name in {data.test} if selects == "last" else {getattr(data, selects), data.test}:
        prepared = open_split(data, name)
        by_video = list_questions(open_question_set(data), prepared)
        asked = list(itertools.chain.from_iterable(by_video))
        require_right_answers(asked, data.name, prepared.splits)
    return add_answers(open_pairs(config, model), config.data, model)


def summarize_retrieval(
    measured: dict[str, Any], settings: EvaluateSettings
) -> tuple[dict[str, Any], str]:
    """Return the measures from text to video, and the name of the one that selects.

    How often a text's own video is above its hard negative of a kind is called "above KIND".
    """
    values, selects = measured["text_to_video"], settings.select_by
    if selects == "r_mean":
        recalls = [measured[way][f"R@{k}"] for way in DIRECTIONS for k in RECALLS]
        values = values | {selects: statistics.fmean(recalls)}
    for kind, found in measured.get("negatives", {}).items():
        values = values | {f"above {kind}": found["accuracy"]}
    return values, selects


# By the `objective` of a network.
TASKS = {
    "contrastive": Task(ContrastiveObjective, open_pairs, evaluate_split, summarize_retrieval),
    "sigmoid": Task(SigmoidObjective, open_pairs, evaluate_split, summarize_retrieval),
    "matching": Task(MatchingObjective, open_pairs, evaluate_split, summarize_retrieval),
    "answers": Task(
        AnswerObjective, open_answered, evaluate_answers, summarize_answers, answers=True
    ),
}


def choose_task(network: Network) -> Task:
    """Return what a network is trained for, as it says itself."""
    return TASKS[network.objective]


def check_task(network: Network, config: Config) -> None:
    """Raise a ValueError for settings that a network cannot follow."""
    train, evaluate, backbone = config.train, config.evaluate, network.arch.backbone
    task = choose_task(network)
    require_questions(config.data.name, backbone, task.answers)
    for name in ("dual_softmax", "qb_norm"):
        if task.answers and getattr(evaluate, name):
            raise ValueError(f"evaluate.{name} re-weights retrieval, not answers; leave it out")
    if evaluate.rerank and not network.can_judge:
        raise ValueError(
            f"evaluate.rerank={evaluate.rerank}, but the backbone {backbone!r} has no head that "
            "judges texts with videos, as UMT for retrieval has; set it to 0"
        )
    if train.dropout and not network.drops_words:
        raise ValueError(
            f"train.dropout={train.dropout}, but the text tower of the backbone {backbone!r} has "
            "no dropout; set it to 0"
        )


def require_questions(name: str, backbone: str, answers: bool) -> None:
    """Raise a ValueError unless a data set has questions if, and only if, a network answers."""
    asking = [one for one, kind in DATASETS.items() if issubclass(kind, QuestionSet)]
    if answers and name not in asking:
        raise ValueError(
            f"data.name={name!r} has captions, but no questions with answers, which the backbone "
            f"{backbone!r} learns; choose {' or '.join(asking)}, or a backbone for retrieval"
        )
    if name in asking and not answers:
        raise ValueError(
            f"data.name={name!r} has questions to answer, and the backbone {backbone!r} is for "
            "retrieval; choose another set, or one that answers, such as 'umt-qa'"
        )
