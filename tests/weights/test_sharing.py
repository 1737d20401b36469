"""What was learned goes into a small file or a repository, and opens with its own base only."""

import ast
import dataclasses
import json
import re

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import yaml
from hub_server import point_at, serve_hub
from hub_uploads import TOKEN, UploadHandler, read_card_data
from huggingface_hub import constants
from toy_index import SIZES, make_model

import tempme_jax
from tempme_jax import text_encoder
from tempme_jax.fingerprint import describe_model
from tempme_jax.parameters import flatten
from tempme_jax.weights import repository
from tempme_jax.weights.adapter_files import WrongBaseError
from tempme_jax.weights.cards import Publication, write_card
from tempme_jax.weights.publishing import PublishingError
from tempme_jax.weights.saved import ADAPTER

# huggingface_hub warns of its own way to send large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
FACTS = {
    "dataset": "msrvtt", "measured": "msrvtt, test: 1000 texts, 1000 videos; ties: average",
    "scores": {
        "text_to_video": {"R@1": 45.25, "MdR": 2.0}, "video_to_text": {"R@1": 44.0, "MdR": 2.0},
    },
    "seed": 3, "step": 12345,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """A model whose training is told."""
    return dataclasses.replace(tempme_jax.load("tiny-tempme"), trained=FACTS)


@pytest.fixture
def base(tmp_path):
    """The backbone of the toy model, as a file."""
    make_model("clip").save(tmp_path / "clip.safetensors")
    return tmp_path / "clip.safetensors"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    repository.forget_reach()
    with serve_hub(tmp_path / "hub", UploadHandler) as server:
        point_at(server.address, monkeypatch)
        yield server


def assert_same(one, other):
    """Check that two models make the same vectors, so an index of one opens with the other."""
    assert describe_model(one) == describe_model(other)
    assert (one.options, one.drawn) == (other.options, other.drawn)


@pytest.mark.slow  # each takes seconds to be drawn
@pytest.mark.parametrize("method", ["tempme", "prompt+tome", "vop-fp", "mv-adapter"])
def test_an_adapter_and_its_base_are_the_model(method, tmp_path):
    options = {"tempme": dict(layers=(0, 1), groups=(2, 2), r=1, position_std=0.2)}
    made = tempme_jax.create(
        method=method, num_frames=4, method_options=options.get(method), **SIZES | {"patch": 4}
    )
    made.save(tmp_path / "whole.safetensors")
    plain = tempme_jax.create(method="clip", num_frames=4, **SIZES | {"patch": 4})
    plain.save(tmp_path / "base.safetensors")
    made.save_adapter(tmp_path / "adapter.safetensors")
    opened = tempme_jax.load(
        tmp_path / "base.safetensors", adapter=tmp_path / "adapter.safetensors"
    )
    assert_same(opened, tempme_jax.load(tmp_path / "whole.safetensors"))
    assert flatten(opened.trainable).keys() == flatten(made.trainable).keys()
    size = sum(array.size for array in flatten(made.trainable).values())
    assert (tmp_path / "adapter.safetensors").stat().st_size < 4 * size + 24_000


def test_the_header_says_what_it_is(model, tmp_path):
    model.save_adapter(tmp_path / "x.safetensors")
    with safetensors.safe_open(tmp_path / "x.safetensors", "numpy") as file:
        about = json.loads(file.metadata()[ADAPTER])
    assert about["base"]["name"] == "tiny-tempme" and len(about["base"]["digest"]) == 64
    assert about["settings"]["method"] == "tempme" and about["settings"]["options"]["rank"] == 32
    assert about["preprocessing"]["image_size"] == 64 and about["preprocessing"]["frames"] == 8
    opened = tempme_jax.load(tmp_path / "x.safetensors")  # which finds its base
    assert_same(opened, model)
    assert (opened.trained, opened.base) == (FACTS, "tiny-tempme")


@pytest.mark.slow  # it compiles
def test_texts_are_embedded_at_once(model, tmp_path, monkeypatch):
    """The text tower alone is kept, with what was learned, and read from the file of the base."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(text_encoder, "is_caching_allowed", lambda: True)
    file = tmp_path / "x.safetensors"
    model.save_adapter(file)
    source, opened = {"source": str(file)}, tempme_jax.load(file)
    assert text_encoder.keep(opened, source, {})
    found = text_encoder.find(source)
    np.testing.assert_allclose(
        found.embed_text("a red circle"), model.embed_text("a red circle"), atol=1e-5
    )
    [kept] = (tmp_path / "cache").rglob("text/*.safetensors")
    assert kept.stat().st_size < 1e6  # the backbone is not in it
    file.write_bytes(file.read_bytes())
    assert text_encoder.find(source) is None  # it may be another one


def test_another_base_is_refused(model, base, tmp_path):
    file = tmp_path / "x.safetensors"
    model.save_adapter(file)
    made_with = "the adapter .*x.safetensors was made with tiny-tempme,? and "
    with pytest.raises(WrongBaseError, match=f"{made_with}tiny-clip holds other weights of the "):
        tempme_jax.load("tiny-clip", adapter=file)
    with pytest.raises(
        WrongBaseError, match=f"{made_with}does not fit .*clip.*: depth 6 in place of 2, "
    ):
        tempme_jax.load(base, adapter=file)
    with pytest.raises(WrongBaseError, match=f"{made_with}cannot be opened with tiny-umt: .*UMT"):
        tempme_jax.load("tiny-umt", adapter=file)


def test_a_base_that_was_a_file_has_to_be_named(tmp_path, base):
    toy = dataclasses.replace(make_model(), base="clip.safetensors")
    toy.save_adapter(tmp_path / "x.safetensors")
    with pytest.raises(
        tempme_jax.WeightsError, match="without its base model: the weights 'clip.safetensors'. Na"
    ):
        tempme_jax.load(tmp_path / "x.safetensors")
    assert tempme_jax.load(base, adapter=tmp_path / "x.safetensors").base == "clip.safetensors"


def test_what_an_adapter_does_not_take(model, tmp_path):
    file = tmp_path / "x.safetensors"
    model.save_adapter(file)
    for given in ({"adapter": file}, {}):
        source = "tiny-tempme" if given else file
        with pytest.raises(ValueError, match="own method and settings: only .*, not num_frames"):
            tempme_jax.load(source, num_frames=4, **given)
    with pytest.raises(tempme_jax.WeightsError, match="tiny-clip holds no adapter of tempme_jax"):
        tempme_jax.load("tiny-clip", adapter="tiny-clip")


def test_damaged_adapters(model, tmp_path):
    file = tmp_path / "x.safetensors"
    model.save_adapter(file)
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}
    name = next(iter(arrays))

    def save(arrays, *, is_hashed=False, **changed):
        about = json.loads(metadata[ADAPTER]) | changed
        if not is_hashed:  # as older files are
            del about["learned"]
        safetensors.numpy.save_file(arrays, file, {ADAPTER: json.dumps(about)})

    cases = {
        "x.safetensors is not .*: 1 with NaN or infinite numbers": lambda: save(
            arrays | {name: arrays[name] * np.float32("nan")}
        ),
        "is damaged: 1 unexpected: extra": lambda: save(arrays | {"extra": arrays[name]}),
        "is damaged: 1 missing": lambda: save({n: a for n, a in arrays.items() if n != name}),
        "has changed since it was written": lambda: save(
            arrays | {name: arrays[name] + 1}, is_hashed=True
        ),
        "not of float32": lambda: save(arrays | {name: arrays[name].astype(np.int8)}),
        "field settings.method is missing": lambda: save(arrays, settings={}),
        "base='x' must be": lambda: save(arrays, base="x"),
        "not a readable adapter": lambda: file.write_bytes(file.read_bytes()[:-9]),
    }
    for problem, damage in cases.items():
        damage()
        with pytest.raises(tempme_jax.WeightsError, match=problem):
            tempme_jax.load("tiny-tempme", adapter=file)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: make_model("clip"), "method 'clip' learns nothing"),
        (lambda: make_model().fold(), "what was learned is folded into the backbone"),
        (
            lambda: tempme_jax.create(method="full", num_frames=4, **SIZES),
            "method 'full' trains the backbone itself",
        ),
    ],
)
def test_what_has_no_adapter(make, problem, tmp_path):
    with pytest.raises(ValueError, match=f"no adapter to write: {problem}"):
        make().save_adapter(tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_publishing_and_opening(model, hub):
    address = model.push_to_hub("me/shapes", token=TOKEN)
    folder = hub.folder / "me" / "shapes"
    assert address == f"{hub.address}/me/shapes/commit/{hub.commit}"
    assert {file.name for file in folder.iterdir()} == {"README.md", "tempme_adapter.safetensors"}
    opened = tempme_jax.load("me/shapes")
    assert_same(opened, model)
    assert_same(tempme_jax.load("tiny-tempme", adapter="me/shapes"), model)
    card = (folder / "README.md").read_text()
    data = read_card_data(card)
    assert (data["license"], data["library_name"]) == ("apache-2.0", "tempme_jax")
    for told in (
        'tempme_jax.load("me/shapes")', "method `tempme` on `tiny-tempme`", "| `rank` | `32` |",
        "Trained on msrvtt (seed 3, step 12345).", f"Measured: {FACTS['measured']}.",
        "| text to video | 45.25 | 2 |", "| video to text | 44 | 2 |", "apache-2.0",
        "64 x 64 (crop)", "8, uniformly sampled",
    ):  # fmt: skip
        assert told in card, card


def test_the_whole_model(model, hub):
    model.push_to_hub("me/whole", whole=True, license="mit", token=TOKEN)
    assert_same(tempme_jax.load("me/whole"), model)
    assert tempme_jax.load("me/whole").trained == FACTS
    card = (hub.folder / "me" / "whole" / "README.md").read_text()
    assert read_card_data(card)["license"] == "mit" and "holds the whole model" in card


def test_the_licence_and_the_link_of_a_base_in_a_repository(model, hub):
    base = hub.folder / "you" / "clip"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Clip\n")
    dataclasses.replace(model, base="you/clip", trained=None).push_to_hub("me/a", token=TOKEN)
    card = (hub.folder / "me" / "a" / "README.md").read_text()
    data = read_card_data(card)
    assert (data["license"], data["base_model"]) == ("cc-by-nc-4.0", "you/clip")
    assert "Not recorded: the data, the protocol and the scores are not known." in card
    dataclasses.replace(model, base="you/gone").push_to_hub("me/b", token=TOKEN)
    card = (hub.folder / "me" / "b" / "README.md").read_text()
    assert read_card_data(card)["license"] == "unknown" and "licence: not known here" in card


def test_what_a_file_says_is_no_code_in_the_card(model):
    evil = 'x"); import os  # \n```\n---\n# <b>|'
    facts = FACTS | {"dataset": evil, "measured": evil}
    settings = {
        "method": evil, "options": {evil: evil}, "num_frames": 8, "max_words": 12,
    }  # fmt: skip
    card = write_card(
        Publication(
            repository="me/x", settings=settings, arch=model.network.arch, base=evil,
            trained=facts, whole=False, learned=1, license=evil,
        ),
        evil,
    )  # fmt: skip
    _, head, text = re.split("^---$", card, flags=re.M)
    assert yaml.safe_load(head)["license"] == evil
    assert "<b>" not in re.sub("```.*?```|`[^`]*`", "", text, flags=re.S)
    code = ast.parse(text.split("```python\n")[1].split("\n```\n")[0])
    assert [node.names[0].name for node in code.body if isinstance(node, ast.Import)] == [
        "tempme_jax"
    ]
    assert len(re.findall("^#", text, re.M)) == 5


def test_a_card_of_somebody_else_stays(model, hub):
    model.push_to_hub("me/shapes", token=TOKEN)
    card = hub.folder / "me" / "shapes" / "README.md"
    changed = dataclasses.replace(model, trained=FACTS | {"step": 777})
    changed.push_to_hub("me/shapes", token=TOKEN)
    assert "step 777" in card.read_text()
    card.write_text("---\nlicense: mit\n---\nMy own words.\n")
    hub.commit = "f" * 40
    model.push_to_hub("me/shapes", token=TOKEN)
    assert "My own words." in card.read_text()


def test_what_the_hub_refuses(model, hub, monkeypatch):
    with pytest.raises(PublishingError, match="log in with `hf auth login`"):
        model.push_to_hub("me/shapes", token="hf_wrong")
    (hub.folder / "me" / "there").mkdir(parents=True)  # and may be read
    with pytest.raises(PublishingError, match="me/there"):
        model.push_to_hub("me/there", token="hf_wrong")
    assert list((hub.folder / "me" / "there").iterdir()) == []
    with pytest.raises(PublishingError, match="does not let you write to you/shapes"):
        model.push_to_hub("you/shapes", token=TOKEN)
    with pytest.raises(ValueError, match="repository='shapes' must be a name such as"):
        model.push_to_hub("shapes", token=TOKEN)
    with pytest.raises(ValueError, match="no adapter to write"):
        model.fold().push_to_hub("me/shapes", token=TOKEN)
    point_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(PublishingError, match="me/shapes cannot be published: .*; nothing was"):
        model.push_to_hub("me/shapes", token=TOKEN)
