"""Settings have defaults, files fill them in, flags change each, and mistakes are named."""

import dataclasses
import importlib
import json
import math
import typing

import pytest
from repository import ROOT

from tempme_jax import methods
from tempme_jax.methods import METHODS
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.training.config import PARTS, Config, list_changeable
from tempme_jax.training.flags import (
    build_config,
    check_names,
    make_defaults,
    parse_flags,
)
from tempme_jax.training.workdir import is_workdir

# Of ml_collections, at every config file that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

HOME = ROOT / "configs"
SETS = {
    "msrvtt": (12, 32),
    "activitynet": (64, 64),
    "didemo": (64, 64),
    "lsmdc": (12, 32),
    "msvd": (12, 32),
    "vatex": (12, 32),
    "folder": (12, 32),
    "moving_shapes": (8, 12),
}
BACKBONES = ("b32", "b16", "l14", "metaclip-b16", "laclip-b16")
# Of the recipes that methods may have of their own: what TempMe's says.
SHARED = {
    "batch_size": 128, "epochs": 5, "learning_rate": 6e-4, "warmup": 0.1, "schedule": "cosine",
    "final_rate": 0.0, "weight_decay": 0.2, "b1": 0.9, "b2": 0.999, "eps": 1e-6,
    "decay_biases": True, "temperature": 0.0, "frame_sampling": "repeat",
    "augmentation": "randaugment",
}  # fmt: skip


def given(file, *flags):
    return parse_flags([f"--config={HOME / file}", *flags])


def value_of(config, name):
    for part in name.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_those_of_config(method):
    config = build_config(make_defaults(method))
    expected = Config().to_json()
    expected["model"] |= {"method": method, "options": config.to_json()["model"]["options"]}
    assert config.to_json() == expected
    adapter, reducer = METHODS[method]
    fields = vars(adapter).keys() | vars(reducer).keys()
    assert config.model.options.keys() == fields
    # Left as they are, they change nothing.
    options = {name: value for name, value in config.model.options.items() if value is not None}
    assert methods.replace_options(method, adapter, reducer, options) == (adapter, reducer)


def test_every_file_is_tested():
    of_umt = {"umt_msrvtt", "umt_msrvtt_qa", "umt_moving_shapes", "umt_moving_shapes_qa"}
    others = {"common", "tiny_clip", "tiny_umt"} | of_umt
    assert {file.stem for file in HOME.glob("*.py")} == SETS.keys() | others


@pytest.mark.parametrize("name", SETS)
def test_every_file_builds_for_every_method(name):
    for method in METHODS:
        shared = given(f"{name}.py:{method},shared")
        assert (shared.model.num_frames, shared.model.max_words) == SETS[name]
        assert shared.data.least <= shared.model.num_frames <= shared.data.most
        config = given(f"{name}.py:{method}")
        assert (config.data.name, config.model.method) == (name, method)
        assert config.model.num_frames <= config.data.most
        assert config.data == shared.data  # prepared once for all methods
        options = {k: v for k, v in config.model.options.items() if v is not None}
        if name != "moving_shapes":  # whose backbone is a file
            methods.build(method, ARCHITECTURES["ViT-B/32"], config.model.num_frames, options)


def test_the_published_recipe():
    """The paper, section 4.1 and Table 14."""
    config = given("msrvtt.py")
    assert (config.model.method, config.model.weights) == ("tempme", "openai/clip-vit-base-patch32")
    train = config.train
    assert (train.batch_size, train.epochs, train.learning_rate) == (128, 5, 6e-4)
    assert (train.warmup, train.weight_decay, train.b1, train.b2) == (0.1, 0.2, 0.9, 0.999)
    assert (train.frame_sampling, train.augmentation) == ("repeat", "randaugment")
    assert settings_of(train) == SHARED


def settings_of(train):
    return {name: getattr(train, name) for name in SHARED}


FULL = {"learning_rate": 1e-7, "b2": 0.98, "decay_biases": False, "augmentation": "none"}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("clip", {}),
        ("lora", {}),
        ("prompt+tempme", {}),
        ("full", FULL),
        ("full+tome", FULL),
    ],
)
def test_every_method_has_its_own_recipe_and_may_take_the_shared_one(method, expected):
    assert settings_of(given(f"msrvtt.py:{method}").train) == SHARED | expected
    assert given(f"msrvtt.py:{method},own") == given(f"msrvtt.py:{method}")
    assert settings_of(given(f"msrvtt.py:{method},shared").train) == SHARED


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dgl", {"decay_biases": False, "b2": 0.98}),
        ("dgl-transformer", {"decay_biases": False, "b2": 0.98}),
        ("plevu", {"clip_norm": 0.0, "eps": 1e-8, "temperature": 0.07}),
        ("vop", {"augmentation": "none", "frame_sampling": "random_segment"}),
        ("diffrate-search", {"clip_norm": 0.0, "eps": 1e-8, "weight_decay": 0.0}),
        ("mv-adapter", {"frame_sampling": "uniform", "learning_rate": 5e-6}),
        ("mv-adapter,single", {"frame_sampling": "uniform", "learning_rate": 5e-4}),
        ("full,single", FULL | {"learning_rate": 5e-6}),
        ("lora,single", {"learning_rate": 6e-4}),
    ],
)
def test_what_differs_from_the_shared_recipe(method, expected):
    train = given(f"msrvtt.py:{method}").train
    assert {name: getattr(train, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "tied", "tie"),
    [("msrvtt", 2, "out"), ("didemo", 2, "out"), ("lsmdc", 3, "in"), ("activitynet", 1, "in")],
)
def test_the_released_ties_of_mv_adapter(name, tied, tie):
    """And the shared recipe has the paper's for MSR-VTT."""
    options = given(f"{name}.py:mv-adapter+tempme").model.options
    assert (options["tied"], options["tie"]) == (tied, tie)
    options = given(f"{name}.py:mv-adapter,shared").model.options
    assert (options["tied"], options["tie"]) == (2, "in")


@pytest.fixture
def common(monkeypatch):
    """What the config files have in common."""
    monkeypatch.syspath_prepend(str(HOME.parent))
    return importlib.import_module("configs.common")


@pytest.mark.parametrize("table", ["RECIPES", "RECIPES_LONG"])
def test_recipes_are_those_of_methods(common, table):
    assert set(getattr(common, table)) <= {method.split("+")[0] for method in METHODS}


def test_recipes_set_what_there_is(common):
    own = [*common.RECIPES.values(), *common.RECIPES_LONG.values()]
    for recipe in (common.SHARED_LONG, *own):
        config = make_defaults()
        config.update(recipe)
        build_config(config)


def test_what_a_method_says_of_long_videos_comes_last(common, monkeypatch):
    own = {"model": {"num_frames": 16}, "train": {"batch_size": 64, "weight_decay": 0.0}}
    monkeypatch.setitem(common.RECIPES, "lora", own)
    monkeypatch.setitem(common.RECIPES_LONG, "lora", {"train": {"batch_size": 16}})

    def found(words, **options):
        config = common.get_config(words, **options)
        sizes = config.model.num_frames, config.model.max_words, config.train.batch_size
        return *sizes, config.train.weight_decay

    assert found("lora") == found("lora+tome") == (16, 32, 64, 0.0)
    assert found("lora", long=True) == (16, 64, 16, 0.0)
    assert found("lora", recipe="shared") == found("lora,shared") == (12, 32, 128, 0.2)
    assert found("lora,shared", long=True) == (64, 64, 128, 0.2)
    assert found("lora,own", recipe="shared") == found("lora")


def test_words_stand_in_any_order():
    shared = given("msrvtt.py:full,b16,shared")
    assert shared == given("msrvtt.py:full,shared,b16")
    assert (shared.train.learning_rate, shared.model.weights[-2:]) == (6e-4, "16")


def test_all_methods_train_alike_on_moving_shapes():
    """As long, with as much at once, by the same schedule; but for what only one of them has."""
    expected = given("moving_shapes.py:tempme").train
    assert (expected.steps, expected.batch_size, expected.learning_rate) == (200, 64, 1e-2)
    assert (expected.frame_sampling, expected.augmentation) == ("uniform", "none")
    for name in ("warmup", "weight_decay", "schedule", "final_rate", "temperature", "b2"):
        assert getattr(expected, name) == SHARED[name]
    others = {
        "full": {"learning_rate": 1e-3},
        "plevu": {"temperature": 0.07},
        "diffrate-search": {
            "learning_rate": 0.1, "final_rate": 0.1, "warmup": 0.0, "weight_decay": 0.0,
        },
    }  # fmt: skip
    for method in METHODS:
        changed = others.get(method.split("+")[0], {})
        found = given(f"moving_shapes.py:{method}").train
        assert found == dataclasses.replace(expected, **changed), method


def test_the_hard_set_differs_only_in_what_it_shows():
    """The word "hard" stands anywhere among the words; the training is that of the easy set."""
    hard, easy = given("moving_shapes.py:tempme,hard"), given("moving_shapes.py:tempme")
    assert given("moving_shapes.py:hard") == hard
    assert (hard.train, hard.evaluate) == (easy.train, easy.evaluate)
    assert (hard.data.variant, hard.data.least, hard.data.most) == ("hard", 16, 16)
    assert (hard.model.num_frames, hard.model.max_words) == (16, 16)
    assert easy.data.variant == ""
    for method in METHODS:
        given(f"moving_shapes.py:{method},hard")
    with pytest.raises(ValueError, match="hrad"):
        given("moving_shapes.py:tempme,hrad")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones(backbone):
    weights = {given(f"{name}.py:tempme,{backbone}").model.weights for name in ("msrvtt", "didemo")}
    assert len(weights) == 1
    assert weights != {given("msrvtt.py").model.weights} or backbone == "b32"


def test_the_tiny_clip():
    config = given("tiny_clip.py")
    assert (config.model.method, config.model.weights) == ("full", "")
    assert config.model.options == {"embeddings": True}
    assert config.model.architecture["width"] == 64
    assert None not in config.model.architecture.values()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--config.train.batch_size=64", 64),
        ("--config.train.learning_rate=1", 1.0),
        ("--config.train.learning_rate=3e-5", 3e-5),
        ("--config.seed=7", 7),
        ("--config.mesh.data=2", 2),
        ("--config.model.remat=true", True),
        ("--config.data.root=/films", "/films"),
        ("--config.data.fps=2", 2.0),
        ("--config.data.fps=None", None),
        ("--config.model.activation=gelu", "gelu"),
        ("--config.model.options.rank=16", 16),
        ("--config.model.options.r=4", 4),
        ("--config.model.options.layers=(8,9,10)", (8, 9, 10)),
        ("--config.model.options.groups=2,2,3", (2, 2, 3)),
        ("--config.model.options.keep_cross=0.5", 0.5),
        ("--config.model.options.clip_positions=false", False),
        ("--config.model.options.targets=('qkv','out')", ("qkv", "out")),
        ("--config.model.architecture.width=32", 32),
    ],
)
def test_flags(flag, expected):
    found = value_of(given("msrvtt.py", flag), flag.split("=")[0].removeprefix("--config."))
    assert found == expected
    assert type(found) is type(expected)


def test_flags_undo_what_a_file_gives():
    assert given("moving_shapes.py").model.options["layers"] == (3, 4, 5)
    flags = ["--config.model.options.layers=None", "--config.model.options.groups=None"]
    config = given("moving_shapes.py", *flags)
    assert (config.model.options["layers"], config.model.options["groups"]) == (None, None)
    assert config.model.options["rank"] == 32


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.train.lerning_rate=1", "'lerning_rate' .did you mean 'learning_rate'"),
        ("--config.trian.steps=1", "'trian' .did you mean 'train'.*there are: data, evaluate"),
        ("--config.model.optinos.r=1", "'optinos' .did you mean 'options'"),
        ("--config.model.options.rnk=1", "'rnk' .did you mean 'rank'"),
        ("--noconfig.model.remta", "'remta' .did you mean 'remat'"),
        ("--config.seed.x=1", "unknown setting .--config.seed.x=1.: 'x'; there are: none"),
        ("--config.model.architecture.widht=1", "'widht' .did you mean 'width'"),
        ("--config.train.batch_size=1.5", "config.train.batch_size=1.5"),
        ("--config.data.fps=often", "data.fps='often' must be a number or none"),
        ("--config.model.options.layers=4", "layers=4 must be a list of whole numbers"),
        ("--config.model.options.rank=0", "rank=0 must be a whole number of 1 or more"),
        ("--config.train.batches=distnct", "'distnct' .did you mean 'distinct'"),
        ("--config.train.gradient_cache=3", "cannot be cut into parts of train.gradient_cache=3"),
        ("--config.train.warmup=1.0", "train.warmup=1.0 must be a share of the steps"),
        (
            "--config.train.schedule=linear",
            "unknown train.schedule: 'linear'.*; there are: constant, cosine",
        ),
        ("--config.train.final_rate=1.1", "train.final_rate=1.1 must be a share of the peak"),
        ("--config.train.temperature=-1.0", "train.temperature=-1.0 must be a positive number"),
        (
            "--config.evaluate.frame_sampling=random_segment",
            "unknown evaluate.frame_sampling: 'random_segment'",
        ),
        ("--config.model.weights=", "config.model.weights is empty"),
    ],
)
def test_mistakes_on_the_command_line(flag, message):
    with pytest.raises(ValueError, match=message):
        given("msrvtt.py", flag)


def test_a_mistake_in_a_name_is_found_before_all_else():
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        check_names([f"--config={HOME / 'msrvtt.py'}", "--config.train.lerning_rate=1"])
    check_names([f"--config={HOME / 'msrvtt.py'}", "--config.train.learning_rate=1"])
    check_names(["--config=/nowhere.py", "--config.a=1"])  # of which nothing is known


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.model.rank=4", "'rank' .did you mean 'model.options.rank'.*; there are: activ"),
        ("--config.rnk=4", "'rnk' .did you mean 'model.options.rank' or 'evaluate.rerank'"),
        ("--config.optim.learning_rate=1", "'optim' .did you mean 'train.learning_rate'"),
        ("--config.model.width=8", "did you mean 'model.architecture.width'"),
        ("--config.sed=1", "'sed' .did you mean 'seed'"),
        ("--rank=4", "unknown word: --rank=4 .did you mean '--config.model.options.rank=4'"),
        ("--train.steps=4", "--train.steps=4 .did you mean '--config.train.steps=4'"),
        ("steps", "unknown word: steps .did you mean '--config.train.steps'"),
        ("--xyzzy", "unknown word: --xyzzy; settings are --config.NAME=VALUE"),
    ],
)
def test_a_setting_is_found_at_any_level(flag, message):
    with pytest.raises(ValueError, match=message):
        given("msrvtt.py", flag)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("msrvtt.py:tempmee", "'tempmee' .did you mean 'tempme'"),
        ("msrvtt.py:tempme,b23", "unknown word of the config: 'b23' .did you mean 'b32'"),
        ("moving_shapes.py:hardd,hard", "'hardd'"),
        ("moving_shapes.py:lora,hardd", "'hardd' .did you mean 'hard'"),
        ("msrvtt.py:tempme,b32,shred", "'shred' .did you mean 'shared'.*there are: b16.*own, sh"),
        ("msrvtt.py:tempme,shared,own", "'tempme,shared,own' names two backbones or two recipes"),
        ("msrvtt.py:tempme,b16,b32", "choose one of each"),
        ("msrvt.py", "there is no config file .*msrvt.py .did you mean .*msrvtt.py"),
    ],
)
def test_a_config_file_that_fails(file, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        given(file)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trian": {}}, "unknown setting: 'trian' .did you mean 'train'"),
        ({"train": {"batchsize": 3}}, "unknown setting of train: 'batchsize' .*'batch_size'"),
        ({"train": {"steps": 1.5}}, "train.steps=1.5 must be a whole number"),
        ({"train": {"steps": True}}, "train.steps=True must be a whole number"),
        ({"train": {"batches": 3}}, "unknown train.batches: 3.*; there are: distinct, shuffle"),
        ({"train": {"learning_rate": "1"}}, "train.learning_rate='1' must be a number"),
        ({"train": {"batch_size": 1}}, "train.batch_size=1 must be a whole number of 2 or more"),
        ({"train": {"schedule": "constant", "final_rate": 0.1}}, "0.1 is where a cosine ends"),
        ({"train": {"decay_biases": 0}}, "train.decay_biases=0 must be true or false"),
        ({"train": {"tau": 1e-50}}, "train.tau=1e-50 is where learning it begins.* 0.001 or above"),
        ({"train": {"tau": math.inf}}, "train.tau=inf is where learning it begins"),
        ({"train": {"epochs": 0}}, "train.epochs=0 must be a whole number of 1 or more"),
        ({"model": {"remat": 1}}, "model.remat=1 must be true or false"),
        ({"model": {"options": [1]}}, "model.options=.1. must be an object with fields"),
        ({"model": {"options": {"rnk": 1}}}, "unknown option of method 'tempme': 'rnk'"),
        ({"model": {"architecture": {"widht": 1}}}, "unknown size of a model: 'widht'"),
        ({"model": {"dtype": "float16"}}, "unknown model.dtype: 'float16'"),
        ({"model": {"method": "lorra"}}, "unknown method: 'lorra' .did you mean 'lora'"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"profile": None}, "profile=None must be a whole number"),
    ],
)
def test_mistakes_in_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        build_config(settings)


def test_whole_numbers_stand_for_floats():
    config = build_config({"train": {"learning_rate": 1}, "data": {"fps": 2, "max_bad": 0}})
    found = (config.train.learning_rate, config.data.fps, config.data.max_bad)
    assert found == (1.0, 2.0, 0.0)
    assert {type(value) for value in found} == {float}


def test_settings_are_read_back_as_they_were(tmp_path):
    config = given("moving_shapes.py:tempme")
    written = json.dumps(config.to_json())
    assert build_config(json.loads(written)).to_json() == config.to_json()
    assert not is_workdir(tmp_path)
    (tmp_path / "config.json").write_text('["something else"]')
    assert not is_workdir(tmp_path)
    (tmp_path / "config.json").write_text(written)
    assert is_workdir(tmp_path)


def test_the_prompts_of_plevu_leave_room_for_fewer_words():
    """Also in its own recipe for paragraphs."""
    arch = ARCHITECTURES["ViT-B/32"]
    model = given("activitynet.py:plevu").model
    assert (model.max_words, model.num_frames) == (45, 16)
    assert model.max_words == arch.context_length - METHODS["plevu"][0].text_positions


@pytest.mark.parametrize("field", ["rank", "r"])
def test_the_built_in_set_shrinks_every_method(field):
    """No method is forgotten that has the option."""
    expected = {"rank": 32, "r": 1}[field]
    for method in METHODS:
        options = given(f"moving_shapes.py:{method}").model.options
        assert options.get(field, expected) == expected, method


def test_halves_bring_their_own_options():
    options = given("moving_shapes.py:rap+tempme").model.options
    assert (options["rank"], options["r"], options["groups"]) == (32, 1, (2, 2, 2))
    assert given("moving_shapes.py:prompt+vop-f").model.options["position_std"] == 0.2


def test_choices_are_checked_in_one_place():
    """Every setting with a few choices, as its type says them."""
    checked = 0
    for part, kind in PARTS.items():
        for field in dataclasses.fields(kind):
            if typing.get_origin(field.type) is typing.Literal:
                for choice in typing.get_args(field.type):
                    build_config({part: {field.name: choice}})
                message = f"unknown {part}.{field.name}: 'nothing'.*; there are: .*{choice}"
                with pytest.raises(ValueError, match=message):
                    build_config({part: {field.name: "nothing"}})
                checked += 1
    assert checked == 14


def test_settings_that_may_change_between_attempts():
    assert list_changeable() == {
        "data.root", "data.prepared", "data.workers", "data.decoders", "data.missing",
        "data.max_bad", "train.log_every", "train.checkpoint_every", "evaluate.batch_size",
        "evaluate.candidates", "evaluate.draws", "evaluate.dual_softmax", "evaluate.qb_norm",
        "mesh.data", "mesh.model", "plugins", "profile",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("umt", "full+joined"),
        ("umt4clip", "full"),
        ("umt4clip+tempme", "full+tempme"),
        ("lora+tempme,umt-b16", "lora+tempme"),
        ("full+tempme,umt-b16,shared", "full+tempme"),
    ],
)
def test_umts_recipe(words, method):
    """Its code's, for retrieval: specified in docs/methods/umt.md."""
    config = given(f"umt_msrvtt.py:{words}")
    assert config.model.architecture == {"backbone": "umt"}  # weights of CLIP are refused
    assert (config.model.method, config.model.weights) == (method, "b16_25m.safetensors")
    assert (config.model.num_frames, config.model.max_words) == (12, 32)
    assert (config.data.name, config.data.resize) == ("msrvtt", "squash")
    train, evaluate = config.train, config.evaluate
    expected = {
        "batch_size": 256, "epochs": 10, "learning_rate": 1e-5, "warmup": 0.1, "least_rate": 0.01,
        "weight_decay": 0.02, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "clip_norm": 0.0,
        "decay_vectors": False, "decay_biases": True, "drop_path": 0.2, "dropout": 0.1,
        "vtc_weight": 0.125, "negative_group": 32, "batches": "shuffle", "optimizer": "adamw",
        "temperature": 0.0, "final_rate": 0.0, "schedule": "cosine",
    }  # fmt: skip
    assert {name: getattr(train, name) for name in expected} == expected
    assert (evaluate.rerank, evaluate.select_by, evaluate.frame_sampling) == (128, "r_mean", "umt")
    given_options = {name: a for name, a in config.model.options.items() if a is not None}
    _, reducer = methods.build(method, ARCHITECTURES["UMT-B/16"], 12, given_options)
    if "tempme" in method:  # they cost 111.5
        assert (reducer.r, reducer.layers, reducer.groups) == (11, (7, 8, 9), (2, 2, 3))
        assert (reducer.keep_cross, reducer.keep_intra) == (0.6, 0.9)


def test_umts_config_is_for_umt():
    with pytest.raises(ValueError, match="does not name UMT"):
        given("umt_msrvtt.py:full,b32")
    with pytest.raises(ValueError, match="way to run UMT: 'umt4clp' .did you mean 'umt4clip' or "):
        given("umt_msrvtt.py:umt4clp")
