"""Questions of a prepared set are answered, all of them, however they are put into batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from annotation_files import write
from repository import ROOT
from video_files import write_grey_video

from tempme_jax.datasets import moving_shapes_qa
from tempme_jax.datasets import prepare as preparation
from tempme_jax.datasets.records import PreparationError
from tempme_jax.training import question_rows
from tempme_jax.training.answering import evaluate_answers, summarize_answers
from tempme_jax.training.flags import build_config, make_defaults, parse_flags
from tempme_jax.training.identity import describe_data, list_changes
from tempme_jax.training.model import build_model
from tempme_jax.training.places import make_builder
from tempme_jax.training.result_tables import describe_protocol, print_results
from tempme_jax.training.results import read_results, summarize
from tempme_jax.training.run import run
from tempme_jax.training.sharding import make_mesh
from tempme_jax.training.splits import open_split
from tempme_jax.training.standalone import evaluate_model
from tempme_jax.training.tasks import check_task, choose_task
from tempme_jax.video import workers

pytestmark = [
    pytest.mark.filterwarnings("ignore::tempme_jax.text.base.TextCutWarning"),
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),
]
SIDE = 32
SIZES = dict(
    embed_dim=16, image_size=SIDE, patch=16, width=16, depth=1, heads=1, text_width=16,
    text_depth=2, text_heads=1, vocab_size=4200, context_length=16, first_cross=1,
    activation="gelu", tokenizer="bert", backbone="umt-qa", class_tokens=0, resize="squash",
    frozen_embeddings=False,
)  # fmt: skip
# The last two are the same, when cut to five ids.
ANSWERS = ["dog", "man", "two men", "play", "a b c d", "a b c d e"]
ASKED = [("video0", "what", "dog"), ("video1", "who", "man"), ("video0", "who", "a rare bird"),
         ("video0", "what", "play"), ("video2", "who", "two men")]  # fmt: skip
QUESTIONS = [
    {"video_id": video, "question": f"{kind} is in {n}", "answer": answer, "answer_type": kind}
    for n, (video, kind, answer) in enumerate(ASKED)
]


def write_set(root, answers=ANSWERS, questions=QUESTIONS):
    files = {f"annotations/{part}.jsonl": questions for part in ("train", "val", "test")}
    files["annotations/train_ans2label.json"] = {one: n for n, one in enumerate(answers)}
    return write(root, files)


def make_config(root, **changes):
    config = make_defaults("full")
    config.data.update(
        name="msrvtt_qa", variant="jsonl", root=str(root), prepared=str(root / "prepared"),
        size=SIDE, resize="squash", fps=None, least=4, most=4,
    )  # fmt: skip
    config.model.update(weights="", architecture=SIZES, num_frames=4, max_words=8)
    config.train.update(batch_size=2, batches="shuffle")
    config.evaluate.update(batch_size=2, candidates=3, draws=50)
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return build_config(config)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = write_set(tmp_path_factory.mktemp("questions"))
    for number in range(3):
        (root / "videos").mkdir(exist_ok=True)
        write_grey_video(root / f"videos/video{number}.mp4", range(8), size=(48, 32))

    def decode_here(requests, **options):
        return ((request, workers.decode_file(request)) for request in requests)

    with pytest.MonkeyPatch.context() as patch:  # without the second that a process takes to start
        patch.setattr(workers, "decode_all", decode_here)
        preparation.prepare(make_builder(make_config(root).data), quiet=True)
    return root


@pytest.fixture(scope="module")
def model(home):
    return build_model(make_config(home).model, 0)


def evaluate(home, model, **changes):
    config = make_config(home, **changes)
    prepared = open_split(config.data, "test")
    return evaluate_answers(model, model.params, prepared, config, make_mesh(-1, 1), intervals=True)


def test_all_questions_count(home, model, monkeypatch, capsys):
    measured = evaluate(home, model)
    figures = measured["answers"]
    assert (figures["questions"], figures["listed"], figures["coverage"]) == (5, 6, 80)
    assert figures["alike"] == 1
    assert measured["accuracy"] == 20 * figures["right"] <= 80
    assert {kind: one["questions"] for kind, one in figures["types"].items()} == {
        "what": 2, "who": 3
    }  # fmt: skip
    assert measured["protocol"] == {"candidates": 3}
    values, selects = summarize_answers(measured, make_config(home).evaluate)
    assert values[selects] == measured["accuracy"]
    params = jax.tree.map(lambda array: array * jnp.nan, model.params)
    with pytest.raises(ValueError, match="scores of 5 questions are NaN"):
        evaluate(home, dataclasses.replace(model, params=params))
    # The same, if a video has more questions than fit into a row.
    monkeypatch.setattr(question_rows, "QUESTIONS_OF_ROW", 2)
    assert evaluate(home, model) == measured


def test_rows_of_training_have_the_answer_to_their_question(home, model):
    rows = choose_task(model.network).open_rows(make_config(home), model)
    assert len(rows.order.pairs) == 4  # one has an answer that is not in the list
    seen = {}
    for place in range(4):
        row = rows[place]
        question = model.tokenizer.decode(row["ids"])
        seen[question] = model.tokenizer.decode(row["answer_ids"][0])
        assert row["answer_weight"].tolist() == [1.0] and row["frames"].shape == (4, SIDE, SIDE, 3)
    assert seen == {one["question"]: one["answer"] for one in QUESTIONS if one["answer"] in ANSWERS}


def test_other_answers_are_other_data(home, tmp_path):
    was = describe_data(make_config(home).data)
    root = write_set(tmp_path, answers=[*ANSWERS, "cat"])
    now = describe_data(make_config(root, **{"data.prepared": str(home / "prepared")}).data)
    assert "other answers, or another list of answers" in next(list_changes(was, now))
    assert not list(list_changes(was, was))


def test_a_list_without_right_answers_is_refused(home, model, tmp_path):
    few = [dict(one, answer="dog") for one in QUESTIONS]
    root = write_set(tmp_path, answers=["cat"], questions=few)
    there = {"data.prepared": str(home / "prepared")}
    with pytest.raises(ValueError, match="none has its answer in the list of answers"):
        evaluate(root, model, **there)
    with pytest.raises(ValueError, match="none has its answer"):  # before any step
        choose_task(model.network).open_rows(make_config(root, **there), model)


def test_other_questions_than_prepared_are_refused(home, model, tmp_path):
    other = [dict(one, question="why") for one in QUESTIONS]
    with pytest.raises(PreparationError, match="prepared for other questions"):
        evaluate(write_set(tmp_path, questions=other), model, **{
            "data.prepared": str(home / "prepared")})  # fmt: skip


def test_there_must_be_a_candidate(home):
    with pytest.raises(ValueError, match="evaluate.candidates"):
        make_config(home, **{"evaluate.candidates": 0})


def test_questions_and_retrieval_do_not_mix(home, model):
    check_task(model.network, make_config(home))
    config = make_config(home, **{"data.name": "moving_shapes"})
    with pytest.raises(ValueError, match="'moving_shapes' has captions, but no questions"):
        check_task(model.network, config)
    clip = build_model(make_config(home, **{"model.architecture.backbone": "umt"}).model, 0)
    with pytest.raises(ValueError, match="'msrvtt_qa' has questions to answer"):
        check_task(clip.network, make_config(home))


@pytest.mark.parametrize("words", ["umt", "umt4clip", "umt4clip+tempme"])
def test_the_configs(words):
    config = parse_flags([f"--config={ROOT}/configs/umt_msrvtt_qa.py:{words}"])
    assert config.model.architecture == {"backbone": "umt-qa"}
    assert (config.data.name, config.data.variant, config.model.max_words) == (
        "msrvtt_qa", "json", 25
    )  # fmt: skip
    assert config.train.learning_rate == 2e-5 and config.evaluate.rerank == 0
    built_in = parse_flags([f"--config={ROOT}/configs/umt_moving_shapes_qa.py:{words}"])
    assert built_in.model.method == config.model.method
    if words == "umt4clip+tempme":
        model = build_model(built_in.model, 0)
        check_task(model.network, built_in)
        ids, _ = question_rows.encode_answers(model, list(moving_shapes_qa.ANSWERS))
        assert len(np.unique(ids, axis=0)) == len(ids) == 19  # none is cut to another


@pytest.mark.slow
def test_a_run_and_its_evaluation_alone(home, tmp_path, capsys):
    short = {"train.steps": 2, "train.epochs": 0, "train.augmentation": "none"}
    config = make_config(home, **short)
    found = run(config, tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert results["accuracy"] == found["accuracy"] and results["answers"]["coverage"] == 80
    assert results["protocol"]["selected_on"] == "validation" and results["finished"]
    assert "Answers to questions" in capsys.readouterr().out
    again = evaluate_model(str(tmp_path / "run"), config)
    assert again["accuracy"] == results["accuracy"] and again["answers"] == results["answers"]
    (row,) = summarize([results])
    assert row["accuracy"]["mean"] == results["accuracy"]


def test_the_table(home, model, capsys):
    config = make_config(home, **{"evaluate.frame_sampling": "shuffled"})
    result = {
        "dataset": "msrvtt_qa", "variant": "jsonl", "split": "test", "texts": 5, "videos": 3,
        "id_hash": "0" * 12, "method": "full", "seed": 0, "expected": 3, "complete": True,
        "costs": {"trainable": 1, "paper": 1.0, "tokens": 4}, "training": {"seconds": 1.0},
        "protocol": {"candidates": 3, "selected_on": "validation"}, "accuracy": 40.0,
        "answers": {
            "questions": 5, "right": 2, "listed": 4, "coverage": 80.0,
            "answer_hash": "f" * 12, "alike": 1, "interval": [20.0, 60.0],
            "types": {"what": {"questions": 2, "accuracy": 50.0}},
        },
        "config": config.to_json(),
    }  # fmt: skip
    line = describe_protocol(result)
    assert "80.0 % with their answer in the list of 4; 3 candidates" in line
    assert "1 of the list have the ids of another" in line
    assert "FRAMES IN RANDOM ORDER" in line and "checkpoint selected on validation" in line
    print_results([result])
    shown = capsys.readouterr().out
    assert "40.0 (20.0-60.0)" in shown and "what" in shown
