"""Evaluation of question answering: choose answers from a fixed list, and compare them as texts.

The candidates for a question are the answers of the list whose first id is most probable. The score
of each is log p(its first id) + log p(all of it), as in UMT's code: the first id counts twice.
"""

import collections
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.datasets.questions import Question, hash_answers, list_questions
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.losses import score_words
from tempme_jax.model import Model
from tempme_jax.networks.attention import Seen
from tempme_jax.networks.network import Network
from tempme_jax.screen import make_progress_bar
from tempme_jax.training.batches import FrameReader, read_batches
from tempme_jax.training.config import Config, EvaluateSettings
from tempme_jax.training.question_rows import (
    QuestionRows,
    arrange_questions,
    encode_answers,
    open_question_set,
)
from tempme_jax.training.sharding import place, place_batch, replicate, round_up

Memory = tuple[Seen, ...]


def evaluate_answers(
    model: Model,
    params: dict,
    prepared: Prepared,
    config: Config,
    mesh: Mesh,
    *,
    intervals: bool = False,
    bank: Prepared | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Measure question answering on a split; the arguments are those of `evaluate_split`.

    Returns:
        "accuracy" in percent, the figures behind it as "answers", and "protocol". The figures are
        those of `measure_answers`; "answer_hash" of questions, answers and list; and "alike", how
        many answers of the list have the ids of another one, so that they are never chosen.

    Raises:
        ValueError: no question has an answer of the list, or a score is NaN.
    """
    data, settings = open_question_set(config.data), config.evaluate
    by_video, answers = list_questions(data, prepared), data.read_answers()
    questions = [question for asked in by_video for question in asked]
    require_right_answers(questions, config.data.name, prepared.splits)
    ids, mask = model.tokenizer([question.question for question in questions])
    listed = encode_answers(model, answers)
    candidates = min(settings.candidates, len(answers))
    size = round_up(settings.batch_size, mesh.shape["data"])
    reader = FrameReader(prepared, model.num_frames, settings.frame_sampling, config.seed)
    source = QuestionRows(reader, arrange_questions(by_video), (ids, mask), size)
    choose = functools.partial(
        answer_questions, model.network, mesh, candidates, params,
        tuple(place(replicate(mesh), array) for array in listed),
    )  # fmt: skip
    chosen = np.zeros(len(questions), np.int64)
    label = f"Answering {'+'.join(prepared.splits)}"
    quiet = quiet or jax.process_index() > 0
    with (
        make_progress_bar(label=label, total=len(questions), unit="questions", quiet=quiet) as bar,
        read_batches(
            source, size, workers=config.data.workers,
            process=jax.process_index(), processes=jax.process_count(),
        ) as rows,
    ):  # fmt: skip
        for batch in rows:
            numbers, found = map(np.asarray, choose(place_batch(mesh, batch)))
            chosen[numbers[numbers >= 0]] = found[numbers >= 0]
            bar.update(int(np.count_nonzero(numbers >= 0)))
    if (chosen < 0).any():
        raise ValueError(f"scores of {(chosen < 0).sum()} questions are NaN: look at the weights")
    measured = measure_answers(questions, answers, chosen, config if intervals else None)
    measured["answers"]["answer_hash"] = hash_answers(questions, answers)
    measured["answers"]["alike"] = len(answers) - len(np.unique(listed[0], axis=0))
    return measured | {"protocol": {"candidates": candidates}}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def answer_questions(
    network: Network,
    mesh: Mesh,
    candidates: int,
    params: dict,
    answers: tuple[jax.Array, jax.Array],
    batch: dict[str, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Return the numbers of the questions and of the answers chosen, [b, q], on every device.

    An answer is -1 if a score is NaN.
    """
    adapter, params = network.adapter.fold(params)
    apply = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    arch = network.arch
    pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
    _, tokens = apply(pixels, batch["frame_mask"], method="encode_video")
    b, q, n = batch["ids"].shape
    ids, mask = (batch[name].reshape(b * q, n) for name in ("ids", "text_mask"))
    states = apply(ids, mask, tokens, method="read_question")
    write = functools.partial(apply, method="write_answers")

    def choose(states: Memory) -> jax.Array:
        ranked, scores = rank_answers(write, states, *answers, candidates)
        best = jnp.take_along_axis(ranked, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
        return jnp.where(jnp.isnan(scores).any(axis=1), -1, best)

    # One question of every video at a time: the logits of all their candidates would not fit.
    turns = jax.tree.map(lambda a: a.reshape(b, q, *a.shape[1:]).swapaxes(0, 1), states)
    result = batch["question"], jax.lax.map(choose, turns).T
    return jax.lax.with_sharding_constraint(result, replicate(mesh))


def rank_answers(
    write: Callable[..., Any],
    states: Memory,
    ids: Int[Array, "a n"],
    mask: Bool[Array, "a n"],
    candidates: int,
) -> tuple[Int[Array, "m k"], Float[Array, "m k"]]:
    """Return the candidates for each question, and their scores, float32.

    Args:
        write: the network's `write_answers`, with its parameters.
        states: the states of m questions.
        ids, mask: all answers of the list.
        candidates: number of the answers that are scored whole.
    """
    m, n = len(states[0].k), ids.shape[1]
    start = jnp.broadcast_to(ids[:1, :1], (m, 1))
    first = jax.nn.log_softmax(write(start, None, states)[:, 0])
    first, chosen = jax.lax.top_k(first[:, ids[:, 1]], candidates)
    rows, real = (array[chosen].reshape(-1, n) for array in (ids, mask))
    logits = write(rows[:, :-1], real[:, :-1], states)  # each id tells how likely the next one is
    rest = jnp.where(real[:, 2:], score_words(logits[:, 1:], rows[:, 2:]), 0)
    return chosen, 2 * first + rest.sum(axis=1).reshape(m, candidates)


def require_right_answers(questions: list[Question], name: str, splits: tuple[str, ...]) -> None:
    """Raise a ValueError if the list of answers has the right one of no question."""
    if all(question.label is None for question in questions):
        raise ValueError(
            f"of the {len(questions)} questions of {'+'.join(splits)} none has its answer in the "
            f"list of answers of {name}: coverage 0 %; give the list that belongs to the questions"
        )


def measure_answers(
    questions: list[Question], answers: list[str], chosen: np.ndarray, config: Config | None
) -> dict[str, Any]:
    """Measure chosen answers; texts must be equal.

    Args:
        questions: the questions.
        answers: the list that was chosen from.
        chosen: int [questions], numbers of answers.
        config: draws and seed of the confidence interval; None: there is none.

    Returns:
        "accuracy" in percent over all questions, and "answers": "questions", "right", "listed" (the
        length of the list), "coverage" (percent of the questions whose answer is in the list,
        which no accuracy exceeds), "interval" [low, high] of the accuracy, or [], drawn as if
        questions of one video were independent, and for each type of question "types":
        "questions" and "accuracy".
    """
    right = np.array([q.answer == answers[i] for q, i in zip(questions, chosen, strict=True)])
    types = collections.defaultdict(list)
    for question, is_right in zip(questions, right, strict=True):
        types[question.answer_type].append(is_right)
    types.pop("", None)
    total, interval = len(right), []
    if config:
        rng = np.random.default_rng(config.seed)
        drawn = rng.binomial(total, right.mean(), config.evaluate.draws) * 100 / total
        interval = np.percentile(drawn, [2.5, 97.5]).tolist()
    listed = set(answers)
    return {
        "accuracy": float(100 * right.mean()),
        "answers": {
            "questions": total,
            "right": int(right.sum()),
            "listed": len(answers),
            "coverage": 100 * sum(q.answer in listed for q in questions) / total,
            "interval": interval,
            "types": {
                name: {"questions": len(found), "accuracy": float(100 * np.mean(found))}
                for name, found in sorted(types.items())
            },
        },
    }


def summarize_answers(
    measured: dict[str, Any], settings: EvaluateSettings
) -> tuple[dict[str, Any], str]:
    """Return the accuracy and that of each type, and the name of the first, which selects."""
    types = {
        f"accuracy {name}": one["accuracy"] for name, one in measured["answers"]["types"].items()
    }
    return {"accuracy": measured["accuracy"]} | types, "accuracy"
