"""Answers as the published code trains and ranks them, on the same weights; and laws of ranking."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import FIXTURES
from umt_weights import TINY_UMT_QA, answers, make_architecture, texts, umt_state_dict, video

from tempme_jax import methods
from tempme_jax.datasets.questions import Question
from tempme_jax.networks.backbones import make_network
from tempme_jax.training.answering import measure_answers, rank_answers, require_right_answers
from tempme_jax.training.config import Config
from tempme_jax.training.objectives.answers import AnswerObjective
from tempme_jax.weights.layouts import fit_backbone, read_layout, write_layout

GOLDEN = np.load(FIXTURES / "reference" / "umt" / "answers.npz")
ARCH = make_architecture(TINY_UMT_QA, backbone="umt-qa")
WAYS = {"tiny_umt_qa": "full+joined", "tiny_umt4clip_qa": "full"}


@dataclasses.dataclass(frozen=True)
class PixelObjective(AnswerObjective):
    """Takes pixels that are normalised already, as those of the reference are."""

    def make_pixels(self, batch):
        return batch["frames"]


def assert_close(ours, golden, what):
    error = np.abs(np.asarray(ours) - golden).max() / np.abs(golden).max()
    assert np.shape(ours) == golden.shape and error < 1e-5, f"{what}: {error:.1e}"


@functools.cache
def make(method):
    read = read_layout(umt_state_dict(**TINY_UMT_QA))[1]
    flat = fit_backbone(read, make_architecture(TINY_UMT_QA), "umt-qa")
    params = {path: jnp.asarray(array) for path, array in flat.items()}
    network = make_network(ARCH, *methods.build(method, ARCH, 4, {}, max_words=10))
    return network, flax.traverse_util.unflatten_dict(params)


def make_batch(name):
    """Two questions, of which the first has two answers."""
    ids, mask = texts(2, 10, seed=17)
    answer_ids, answer_mask = answers(3, seed=19)
    places = np.array([[0, 1], [2, 2]])
    return {
        "frames": jnp.asarray(video(name, 2, 4).transpose(0, 1, 3, 4, 2)),
        "frame_mask": jnp.ones((2, 4), bool),
        "ids": jnp.asarray(ids, jnp.int32),
        "text_mask": jnp.asarray(mask > 0),
        "answer_ids": jnp.asarray(answer_ids[places], jnp.int32),
        "answer_mask": jnp.asarray(answer_mask[places] > 0),
        "answer_weight": jnp.array([[0.5, 0.5], [1.0, 0.0]]),
    }


@functools.cache
def read_states(name):
    """The function that writes answers, and the states of two questions."""
    network, params = make(WAYS[name])
    apply = functools.partial(network.apply, {"params": params})
    batch = make_batch(name)

    @jax.jit
    def read(batch):
        _, tokens = apply(batch["frames"], None, method="encode_video")
        return apply(batch["ids"], batch["text_mask"], tokens, method="read_question")

    return functools.partial(apply, method="write_answers"), read(batch)


def rank(name, candidates, count=8):
    write, states = read_states(name)
    ids, mask = answers(count)
    given = states, jnp.asarray(ids, jnp.int32), jnp.asarray(mask > 0)
    ranked = jax.jit(lambda *given: rank_answers(write, *given, candidates))(*given)
    return tuple(map(np.asarray, ranked))


def test_the_loss_as_published():
    name = "tiny_umt4clip_qa"
    network, params = make(WAYS[name])
    objective, batch = PixelObjective(network), make_batch(name)
    losses = jax.jit(objective.encode)(params, batch, jax.random.key(0))
    first, second, third = GOLDEN[f"{name}/answer_losses"]
    assert_close(losses, np.array([(first + second) / 2, third]), "losses")
    loss = objective.compute_loss(params, losses, batch, jax.random.key(0))
    assert_close(loss, GOLDEN[f"{name}/loss"], "loss")


def test_gradients_as_published():
    name = "tiny_umt_qa"
    network, params = make(WAYS[name])
    compute = functools.partial(PixelObjective(network).compute_gradients, params, {})
    loss, gradients = jax.jit(compute)(make_batch(name), jax.random.key(0))
    assert_close(loss, GOLDEN[f"{name}/loss"], "loss")
    found = write_layout("umt_qa", flax.traverse_util.flatten_dict(gradients))
    names = str(GOLDEN["names"]).split("\n")
    norms = np.array([np.linalg.norm(found[one]) for one in names])
    np.testing.assert_allclose(norms, GOLDEN[f"{name}/norms"], rtol=1e-5)
    names = str(GOLDEN["largest/names"]).split("\n")
    largest = zip(names, GOLDEN["largest/places"], GOLDEN["largest/values"], strict=True)
    for one, places, values in largest:
        assert_close(found[one].ravel()[places], values, one)


@pytest.mark.parametrize(
    ("name", "candidates", "key"), [("tiny_umt_qa", 4, "top4"), ("tiny_umt4clip_qa", 8, "all8")]
)
def test_ranking_as_published(name, candidates, key):
    chosen, scores = rank(name, candidates)
    best = np.argsort(-scores, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(chosen, best, axis=1), GOLDEN[f"{name}/{key}"])
    golden = np.take_along_axis(GOLDEN[f"{name}/score"], chosen, axis=1)
    assert_close(scores, golden, "scores")


def test_with_all_candidates_the_largest_score_wins():
    chosen, scores = rank("tiny_umt_qa", 40, count=40)
    few, of_few = rank("tiny_umt_qa", 5, count=40)
    assert sorted(chosen[0]) == list(range(40))
    for question in range(2):
        by_answer = dict(zip(chosen[question], scores[question], strict=True))
        best = few[question][of_few[question].argmax()]
        assert by_answer[best] == pytest.approx(max(by_answer[i] for i in few[question]), rel=1e-6)


QUESTIONS = [
    Question("a", "what", "dog", 0, "what"),
    Question("a", "who", "man", 1, "who"),
    Question("b", "what", "a rare bird", None, "what"),
    Question("b", "who", "dog", 0),
]


def test_answers_that_are_not_listed_are_wrong():
    config = Config()
    measured = measure_answers(QUESTIONS, ["dog", "man"], np.array([0, 0, 0, 0]), config)
    assert measured["accuracy"] == 50
    figures = measured["answers"]
    low, high = figures.pop("interval")
    assert 0 <= low < 50 < high <= 100
    assert figures == {
        "questions": 4,
        "right": 2,
        "listed": 2,
        "coverage": 75,
        "types": {
            "what": {"questions": 2, "accuracy": 50.0},
            "who": {"questions": 1, "accuracy": 0.0},
        },
    }


def test_a_list_without_a_right_answer_is_refused():
    require_right_answers(QUESTIONS, "toy", ("test",))
    with pytest.raises(ValueError, match="of the 1 questions of test none .* coverage 0 %"):
        require_right_answers(QUESTIONS[2:3], "toy", ("test",))
