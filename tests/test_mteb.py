"""A model on MTEB's own mock tasks: MTEB takes it, and its scores are those of our vectors."""

import logging

import numpy as np
import pytest

import tempme_jax

pytestmark = [
    pytest.mark.mteb,
    # Those of the packages that MTEB imports.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("mteb")
    from tempme_jax.mteb import MtebEncoder

    logging.getLogger("mteb").setLevel(logging.ERROR)
    return MtebEncoder("tiny-tempme")


def evaluate(encoder, name):
    import mteb
    from mteb.mocks import mock_tasks

    task = getattr(mock_tasks, name)()
    results = mteb.evaluate(encoder, task, cache=None, overwrite_strategy="always")
    return task, results.task_results[0].scores["test"][0]


@pytest.mark.parametrize("name", ["MockVideoRetrievalT2V", "MockVideoRetrievalV2T"])
def test_the_scores_of_retrieval_are_those_of_our_vectors(encoder, name):
    from datasets import Video

    task, scores = evaluate(encoder, name)
    again = type(task)()  # MTEB has let the data go; they are drawn with the same seed
    again.load_data()
    data = again.dataset["default"]["test"]
    halves = {"queries": data["queries"], "corpus": data["corpus"]}
    vectors = {}
    for half, rows in halves.items():
        if "video" in rows.column_names:
            stored = rows.cast_column("video", Video(decode=False))["video"]
            vectors[half] = encoder.model.embed_video([video["bytes"] for video in stored])
        else:
            vectors[half] = encoder.model.embed_text(list(rows["text"]))
    found = vectors["queries"] @ vectors["corpus"].T
    ids = data["corpus"]["id"]
    right = [
        data["relevant_docs"][query][ids[best]]
        for query, best in zip(data["queries"]["id"], found.argmax(axis=1), strict=True)
    ]
    assert scores["recall_at_1"] == np.mean(right)
    assert scores["main_score"] == scores["ndcg_at_10"]


@pytest.mark.parametrize(
    "name",
    [
        "MockVideoZeroshotClassificationTask",
        "MockVideoClassification",
        "MockVideoClusteringTask",
        "MockVideoPairClassificationTask",
        "MockAny2AnyRetrievalT2ITask",
    ],
)
def test_other_tasks_run(encoder, name):
    _, scores = evaluate(encoder, name)
    assert 0 <= scores["main_score"] <= 1


def test_it_has_the_interface_of_mteb(encoder):
    from mteb.models.models_protocols import EncoderProtocol

    assert isinstance(encoder, EncoderProtocol)
    meta = encoder.mteb_model_meta
    assert (meta.name, meta.embed_dim) == ("tempme_jax/tiny-tempme", 64)
    assert (meta.framework, meta.similarity_fn_name.value) == (["JAX"], "cosine")
    assert set(meta.modalities) == {"text", "image", "video"}
    assert len(meta.revision) == 16 and meta.n_parameters > 1e5
    one = encoder.model.embed_text(["a", "b"])
    np.testing.assert_allclose(np.diag(encoder.similarity(one, one)), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.similarity_pairwise(one, one), 1, atol=1e-5)
    assert encoder.similarity(one[0], one).shape == (1, 2)


def test_names_of_models(encoder):
    from tempme_jax.mteb import MtebEncoder, describe_for_mteb

    model = encoder.model
    names = {"me/shapes": "me/shapes", "/a/b/run-1/": "tempme_jax/run-1"}
    for given, name in names.items():
        assert describe_for_mteb(model, given, "7").name == name
    assert MtebEncoder(model).mteb_model_meta.name == "tempme_jax/tiny-tempme"
    with pytest.raises(TypeError, match="this model is open already"):
        MtebEncoder(model, method="lora")
    umt = tempme_jax.load("tiny-umt")
    assert describe_for_mteb(umt, "tiny-umt").similarity_fn_name.value == "dot"


def test_rows_with_two_kinds_are_refused(encoder):
    from datasets import Dataset

    class Inputs:
        dataset = Dataset.from_dict({"text": ["a"], "image": ["b"]})

    class Task:
        name = "Both"

    with pytest.raises(ValueError, match="the task Both gives image and text in each row, and"):
        encoder.encode(Inputs, task_metadata=Task, hf_split="test", hf_subset="default")
