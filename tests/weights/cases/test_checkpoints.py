"""Checkpoints of trainings: weights beside values of every kind, none of which is run."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import pickle
import random
import types
import uuid

import click.testing
import numpy as np
import pytest
from random_weights import TOY, make_random_params
from torch_archives import REBUILD, Call, Global, Module, T, opcodes, tensor, write

from tempme_jax.cli import main
from tempme_jax.networks.clip import Clip
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, write_layout
from tempme_jax.weights.torch_checks import StandIn
from tempme_jax.weights.torch_files import TorchFileError, UnsafeFileError, read_torch_file


class Mode(enum.Enum):
    FAST = 1


class Options:
    def __init__(self):
        self.rate = 0.1


class Settings(dict):
    pass


Point = collections.namedtuple("Point", "x y")
VALUES = {
    "namespace": argparse.Namespace(lr=1, path=pathlib.Path("x"), mode=Mode.FAST),
    "simple": types.SimpleNamespace(a={"b": 1}),
    "scalars": [np.float64(0.5), np.int64(3), np.bool_(True), np.str_("x"), np.float32(1)],
    "arrays": [np.arange(4.0), np.array([{1}, None], object), np.zeros(2, "S3")],
    "dtypes": [np.dtype("f4"), np.dtype([("a", "f4")])],
    "generators": [np.random.default_rng(0), np.random.RandomState(0), random.Random(0).getstate()],
    "times": [
        datetime.datetime.now(datetime.UTC),
        datetime.date(2024, 1, 1),
        datetime.timedelta(1),
    ],
    "sets": [{1, "a"}, frozenset({1}), {Mode.FAST}],
    "paths": [pathlib.Path("/x"), pathlib.PureWindowsPath("c:/x")],
    "default": collections.defaultdict(list, {"a": [1]}),
    "dicts": [collections.OrderedDict(a=1), collections.Counter("abc"), Settings(a=1)],
    "queue": collections.deque([1, 2]),
    "plain": [1 + 2j, b"abc", bytearray(b"abc"), range(3), slice(1, 2), ..., 2**200],
    "numbers": [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=1)],
    "own": [Options(), Point(1, 2), Mode.FAST, Options, int],
    "keys": {(1, 2): 3, None: 4, 2.5: 1, Mode.FAST: 2, pathlib.Path("a"): 1},
}
OF_TORCH = {
    "size": Call(Global("torch", "Size"), ([1, 2],)),
    "device": Call(Global("torch", "device"), ("cuda", 0)),
    "dtypes": [Global("torch", "float32"), Global("torch", "bfloat16")],
    "schedule": Module(Global("torch.optim.lr_scheduler", "LambdaLR"), {"last_epoch": 3}),
    "config": Call(Global("omegaconf.dictconfig", "DictConfig"), ()),
    "default": Call(Global("collections", "defaultdict"), (Global("builtins", "dict"),)),
}


def describe(value, protocol):
    """Return the opcodes of a value's own pickle, without its frame."""
    made = pickle.dumps(value, protocol)[2 if protocol > 1 else 0 : -1]
    return made[9:] if made[:1] == b"\x95" else made


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_values_beside_weights_are_passed_over(name, protocol, tmp_path):
    beside = describe(VALUES[name], protocol)
    state = opcodes("state_dict") + opcodes({"a": T})
    pickled = b"\x80\x05}(" + state + opcodes("beside") + beside + b"u."
    array = read_torch_file(write(tmp_path / "a.pt", pickled))
    assert list(array) == ["a"]
    np.testing.assert_array_equal(array["a"], np.arange(6))


@pytest.mark.parametrize("name", OF_TORCH)
def test_values_of_torch_and_other_packages_are_passed_over(name, tmp_path):
    file = write(tmp_path / "a.pt", {"state_dict": {"a": T}, "beside": OF_TORCH[name]})
    assert list(read_torch_file(file)) == ["a"]


def test_nothing_of_a_value_is_imported_or_run(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "trap.py").write_text(f"open({str(marker)!r}, 'w')\ndef spring(*_): raise OSError")
    monkeypatch.syspath_prepend(tmp_path)
    file = write(tmp_path / "a.pt", {"a": T, "b": Call(Global("trap", "spring"), ("x",))})
    assert list(read_torch_file(file)) == ["a"]
    assert not marker.exists()


def test_a_stand_in_takes_everything():
    value = StandIn(1, a=2)
    value[1] = value.extend([3])
    assert value(1) is value


def test_tensors_with_attributes_are_read(tmp_path):
    named = Global("torch._tensor", "_rebuild_from_type_v2")
    typed = Call(named, (REBUILD, Global("torch", "Tensor"), T.arguments, {"x": 1}))
    array = read_torch_file(write(tmp_path / "a.pt", {"a": typed}))["a"]
    np.testing.assert_array_equal(array, np.arange(6))


DEEP = b")" + b"\x85" * 200_000


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02}" + DEEP + b"Ns.", "nests values more than 500 deep"),
        (b"\x80\x04(" + DEEP + b"\x91.", "nests values more than 500 deep"),
        (b"\x80\x02(U\x07storage" + DEEP + b"U\x010U\x03cpuK\x01tQ.", "nests values"),
        (b"\x80\x02" + b"cA\nB\n0" * 100_001 + b"N.", "more than 100000 names"),
        (b"\x80\x05\x96" + (2**60).to_bytes(8, "little") + b"x.", "truncated or damaged"),
        (b"\x80\x02\x82\x01.", "truncated or damaged"),
        (b"\x80\x05\x97.", "truncated or damaged"),
    ],
)
def test_bombs_are_refused(pickled, message, tmp_path):
    with pytest.raises(TorchFileError, match=message):
        read_torch_file(write(tmp_path / "a.pt", pickled))


@pytest.mark.parametrize(
    "name",
    ["posix.system", "subprocess.Popen", "builtins.eval", "numpy.load", "torch.hub.load",
     "runpy.run_path", "numpy.testing._private.utils.runstring", "importlib.import_module",
     "argparse.Namespace.__init__", "torch.nn.modules.container.Sequential"],
)  # fmt: skip
def test_what_could_do_harm_is_refused(name, tmp_path):
    module, _, function = name.rpartition(".")
    file = write(tmp_path / "a.pt", {"a": T, "b": Call(Global(module, function), ("x",))})
    with pytest.raises(UnsafeFileError, match=f"refers to '{name}'"):
        read_torch_file(file)


@pytest.fixture(scope="module")
def arrays():
    return write_layout("openai", make_random_params(Clip(TOY)))


def save(path, arrays, before="", *, cls=None, **beside):
    """Write a checkpoint as torch.save does; with `cls`, a TorchScript archive."""
    described, records = {}, {}
    for key, (name, a) in enumerate(arrays.items()):
        stride = tuple(step // 4 for step in a.strides)
        described[before + name] = tensor(a.shape, stride, 0, str(key), length=a.size)
        records[f"data/{key}"] = a.tobytes()
    saved = {"state_dict": described, **beside} if beside else described
    if cls is not None:
        gelu = Module(Global(f"__torch__.{cls.rpartition('.')[0]}", cls.rpartition(".")[2]), {})
        saved = Module(Global("__torch__", "Clip"), {"gelu": gelu, **described})
    return write(path, saved, **records)


@pytest.mark.parametrize(
    ("before", "beside"),
    [
        ("module.", {"epoch": 32, "name": "ViT-B-32", "optimizer": {"state": {}}}),
        ("", {"epoch": 32, "name": "ViT-B-32"}),
        ("module.", {}),
    ],
)
def test_the_activation_of_open_clips_training_is_asked_for(before, beside, arrays, tmp_path):
    source, target = tmp_path / "epoch_32.pt", tmp_path / "x.safetensors"
    save(source, arrays, before, **beside)
    with pytest.raises(WeightsError, match="does not tell the activation.*--activation gelu"):
        convert_file(source, target)
    assert not target.exists()
    for activation in ("gelu", "quick_gelu"):
        convert_file(source, target, activation=activation, overwrite=True)
        assert load_weights(target).arch.activation == activation


@pytest.mark.parametrize(
    ("before", "beside"), [("", {}), ("model.", {"epoch": 1, "loops": {}}), ("module.clip.", {})]
)
def test_an_activation_that_is_assumed_is_told(before, beside, arrays, tmp_path):
    source, target = tmp_path / "a.pt", tmp_path / "x.safetensors"
    save(source, arrays, before, **beside)
    told = "The activation of its MLPs is assumed to be quick_gelu, as OpenAI's is"
    result = click.testing.CliRunner().invoke(main, ["convert", str(source), str(target)])
    assert result.exit_code == 0 and told in result.output
    assert convert_file(source, target, activation="gelu", overwrite=True) == []


@pytest.mark.parametrize(
    ("cls", "activation"),
    [
        ("multimodal.model.multimodal_transformer.QuickGELU", "quick_gelu"),
        ("torch.nn.modules.activation.GELU", "gelu"),
    ],
)
def test_a_scripted_archive_tells_its_activation(cls, activation, arrays, tmp_path):
    source = save(tmp_path / "ViT-B-32.pt", arrays, cls=cls)
    assert convert_file(source, tmp_path / "x.safetensors") == []
    assert load_weights(tmp_path / "x.safetensors").arch.activation == activation


@pytest.mark.parametrize("average", [lambda names: names, lambda names: {"module": names}])
def test_several_models_in_a_file_are_told(average, arrays, tmp_path):
    names = dict.fromkeys((f"module.{name}" for name in arrays), T)
    source = save(tmp_path / "a.pt", arrays, ema=average(names), optimizer={"state": {0: T}})
    target = tmp_path / "x.safetensors"
    [told] = convert_file(source, target, activation="gelu")
    assert "holds several models: 'state_dict' was taken, 'ema' left out" in told
    np.testing.assert_array_equal(
        load_weights(target).params["video", "projection"], arrays["visual.proj"]
    )


def test_parts_are_left_out_by_an_option(arrays, tmp_path):
    extra = {"transformerClip.resblocks.0.ln_1.weight": np.zeros(3, np.float32)}
    published = {f"clip.{name}": a for name, a in arrays.items()}
    source = str(save(tmp_path / "a.pt", published | extra))
    command = ["convert", source, str(tmp_path / "x.safetensors")]
    run = click.testing.CliRunner().invoke
    refused = run(main, command)
    assert refused.exit_code == 1 and "--leave-out transformerClip" in refused.output
    taken = run(main, [*command, "--leave-out", "transformerClip"])
    assert taken.exit_code == 0 and "Left out: transformerClip." in taken.output


def test_values_without_tensors_are_named(tmp_path):
    source = write(tmp_path / "a.pt", {"model": Call(Global("open_clip.model", "CLIP"), ())})
    with pytest.raises(
        TorchFileError, match="no tensors outside of values of open_clip.model.CLIP"
    ):
        convert_file(source, tmp_path / "x.safetensors")
    assert os.listdir(tmp_path) == ["a.pt"]
