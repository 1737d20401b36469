"""PyTorch files, also hostile and damaged ones, are read without PyTorch or refused."""

import os
import pickle
import random
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from torch_archives import (
    REBUILD,
    Call,
    Evil,
    Global,
    Module,
    Stored,
    T,
    opcodes,
    tensor,
    write,
)

from tempme_jax.weights.torch_files import TorchFileError, UnsafeFileError, read_torch_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


def assert_refused(path, message, error=TorchFileError):
    with pytest.raises(error, match=message) as caught:
        read_torch_file(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", "Double Float Half Long Int Short Char Byte Bool".split())
def test_dtypes_stay_as_saved(path, kind):
    codes = dict(Double="f8", Float="f4", Half="f2", Long="i8", Int="i4", Short="i2", Char="i1")
    numbers = np.array([1, 0, 1, 0, 0, 1], {**codes, "Byte": "u1", "Bool": "?"}[kind])
    write(path, {"a": tensor((2, 3), (3, 1), kind=f"{kind}Storage")}, numbers.tobytes())
    np.testing.assert_array_equal(read_torch_file(path)["a"], numbers.reshape(2, 3), strict=True)


def test_bfloat16_becomes_float32(path):
    bits = np.array([0x3F80, 0xC020, 0x7F80, 0x0001], "<u2").tobytes()
    write(path, {"a": tensor((4,), (1,), kind="BFloat16Storage", length=4)}, bits)
    expected = np.array([1.0, -2.5, np.inf, 2.0**-133], np.float32)
    np.testing.assert_array_equal(read_torch_file(path)["a"], expected, strict=True)


@pytest.mark.parametrize(
    ("size", "stride", "offset", "expected"),
    [
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
        ((2,), (2,), 3, [3, 5]),
        ((2, 3), (0, 1), 0, [[0, 1, 2], [0, 1, 2]]),
        ((), (), 4, 4),
        ((0, 3), (3, 1), 99, np.zeros((0, 3))),
        ((1, 6), (2**59, 1), 0, [[0, 1, 2, 3, 4, 5]]),
    ],
    ids=["transposed", "strided", "expanded", "scalar", "empty", "unused stride"],
)
def test_views_are_read_as_saved_and_own_their_memory(path, size, stride, offset, expected):
    array = read_torch_file(write(path, {"a": tensor(size, stride, offset)}))["a"]
    np.testing.assert_array_equal(array, np.array(expected, np.float32), strict=True)
    assert array.flags.owndata and array.flags.writeable and array.flags.c_contiguous


def test_a_shared_storage_is_read_once_and_its_tensors_share_no_memory(path, monkeypatch):
    read, original = [], zipfile.ZipFile.read

    def recorded_read(archive, record):
        read.append(record.filename)
        return original(archive, record)

    monkeypatch.setattr(zipfile.ZipFile, "read", recorded_read)
    arrays = read_torch_file(write(path, {"a": T, "b": tensor((2, 3), (3, 1))}))
    assert read == ["archive/data.pkl", "archive/data/0"]
    np.testing.assert_array_equal(arrays["a"], arrays["b"].ravel())
    assert not np.shares_memory(arrays["a"], arrays["b"])


@pytest.mark.parametrize(
    ("saved", "names"),
    [
        ({}, []),
        ({"b": T, "a": T}, ["b", "a"]),
        ({"a": {"b": T, 3: T}, "c": [T, (1, T)]}, ["a.b", "a.3", "c.0", "c.1.1"]),
        ({"a": T, "n": 2**70, "f": 0.5, "s": "x", "none": None, "yes": True}, ["a"]),
        ({"state_dict": {"a": T}, "optimizer": {"state": {0: T}}, "epoch": 3}, ["a"]),
        ({"model_state_dict": {"a": T}}, ["a"]),
        ({"model": {"a": T}, "args": "--x"}, ["a"]),
        ({"model": {"a": T}, "bias": T}, ["model.a", "bias"]),
        ({"model": {"a": T}, "state_dict": {"b": T}}, ["model.a", "state_dict.b"]),
        ({"model": {"name": "ViT"}, "state_dict": {"b": T}}, ["b"]),
        ({"module": {"a": T}, "optimizer": {"state": T}}, ["a"]),
        ({"module.a": T, "module.b": T}, ["a", "b"]),
        ({"state_dict": {"_orig_mod.module.a": T}}, ["a"]),
        ({"module._orig_mod.a": T}, ["a"]),
        ({"module.a": T, "b": T}, ["module.a", "b"]),
    ],
)
def test_names(path, saved, names):
    assert list(read_torch_file(write(path, saved))) == names


def test_parameters_and_scripted_modules_are_read(path):
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (T, True, {}))
    layer = Module(Global("__torch__.torch.nn.modules.linear", "Linear"), {"weight": parameter})
    sizes = Call(Global("torch.jit._pickle", "build_intlist"), ([1, 2],))
    root = Module(Global("__torch__", "Clip"), {"training": True, "sizes": sizes, "model": layer})
    # The code of a scripted module is compressed, and is not read.
    code = {"code/__torch__.py": b"x" * 10_000}
    arrays = read_torch_file(write(path, root, compressed="code/__torch__.py", **code))
    assert list(arrays) == ["model.weight"]
    np.testing.assert_array_equal(arrays["model.weight"], np.arange(6))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, __import__])
def test_a_pickle_that_calls_a_function_is_refused_and_not_run(path, function, protocol):
    marker = path.with_name("marker")
    write(path, pickle.dumps({"a": Evil(function, f"touch {marker}")}, protocol))
    assert issubclass(UnsafeFileError, TorchFileError)
    module = os.system.__module__ if function is os.system else "builtins|__builtin__"
    assert_refused(path, f"refers to '({module}).{function.__name__}'", UnsafeFileError)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["torch.load", "torch._utils._rebuild_sparse_tensor", "argparse.FileType", "torch.x"]
)
def test_what_is_no_part_of_a_tensor_is_refused_by_its_name(path, name):
    write(path, {"a": T, "b": Global(*name.rsplit(".", 1))})
    assert_refused(path, f"refers to '{name}'", UnsafeFileError)


@pytest.mark.parametrize(
    "given", [REBUILD, Global("collections", "OrderedDict"), Global("__torch__", "Clip")]
)
@pytest.mark.parametrize("state", [{"state": 1}, (None, {"state": 1}), (REBUILD, (1,), {}, {})])
def test_a_pickle_cannot_alter_what_it_is_given(path, given, state):
    write(path, b"\x80\x02(" + opcodes(given) + opcodes(state) + b"bt.")
    try:
        assert read_torch_file(path) == {}
    except TorchFileError as error:
        assert "data.pkl" in str(error)
    module = Module(Global("__torch__", "Clip"), OrderedDict(a=T))
    np.testing.assert_array_equal(read_torch_file(write(path, module))["a"], np.arange(6))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (tensor((7,), (1,)), "reaches element 6 of 'data/0', which has 6"),
        (tensor((6,), (1,), offset=1), "reaches element 6"),
        (tensor((2, 3), (4, 1)), "reaches element 6"),
        (tensor((), (), offset=6), "reaches element 6"),
        (tensor((2,), (2**59,)), "reaches element"),
        (tensor((1,), (1,), length=0), "reaches element 0"),
        (tensor((6,), (-1,), offset=5), "as many strides"),
        (tensor((6,), (1,), offset=-1), "as many strides"),
        (tensor((-1,), (1,)), "as many strides"),
        (tensor((2**70,), (0,)), "as many strides"),
        (tensor((2.0,), (1,)), "as many strides"),
        (tensor((True,), (1,)), "as many strides"),
        (tensor((2, 3), (1,)), "as many strides"),
        (tensor((2**40, 2**40), (0, 0)), "too large for any array"),
        (tensor((0, 2**40, 2**40), (0, 0, 0)), "too large for any array"),
        (tensor((1,) * 33, (1,) * 33), "too large for any array"),
        (tensor((2**40,), (0,)), "times its size"),
        (tensor((6,), (1,), metadata={"neg": True}), "not plain numbers"),
        (Call(REBUILD, ("0", 0, (6,), (1,), False, None)), "not plain numbers"),
        (Call(REBUILD, ()), "damaged"),
        (tensor((6,), (1,), key="1"), "record 'data/1' is missing"),
        (tensor((6,), (1,), key=0), "a name"),
        (tensor((6,), (1,), length=7), "24 bytes, too few"),
        (tensor((6,), (1,), length=2**59), "24 bytes, too few"),
        (tensor((6,), (1,), length=-1), "a length of 0"),
        (tensor((6,), (1,), length=2**63), "a length of 0"),
        (Stored(("other", Global("torch", "FloatStorage"), "0", "cpu", 6)), "known kind"),
        (Stored(("storage", "EvilStorage", "0", "cpu", 6)), "known kind"),
        (Stored(("storage",)), "damaged"),
        (tensor((6,), (1,), kind="ComplexFloatStorage"), "dtype, by 'torch.ComplexFloatStorage'"),
        ([T, {"1": T}, {1: T, "1": T}], "'2.1' is there twice"),
        ({"a" * 2000: T}, "too long"),
        ({0.5: T}, "keys are not strings"),
        # A dict that holds itself; lists of lists that stand for 2**40 values; and four bytes for
        # which Python would take memory for 2**30 values.
        (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "too long"),
        (b"\x80\x02]q\x00" + b"](h\x00h\x00eq\x00" * 40 + b".", "more than"),
        (b"\x80\x02Nr\x00\x00\x00\x40.", "bytes for 1073741824 values"),
        (b"\x80\x02}", "damaged"),
        (b"", "damaged"),
    ],
)
def test_inconsistent_descriptions_are_refused(path, described, message):
    assert_refused(write(path, described), message)


@pytest.mark.parametrize("compressed", ["data.pkl", "data/0"])
def test_compressed_records_are_refused(path, compressed):
    assert_refused(write(path, {"a": T}, compressed=compressed), f"'{compressed}' is compressed")


def test_records_that_claim_the_same_bytes_are_refused(path):
    write(path, {"a": T})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/version", b"3")
        for key in range(1, 9):
            overlapping = zipfile.ZipInfo(f"archive/data/{key}")
            overlapping.header_offset = 0
            overlapping.CRC, overlapping.file_size, overlapping.compress_size = 0, 300, 300
            archive.filelist.append(overlapping)
    assert_refused(path, "claim more bytes")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a zip archive, .* begins with b''"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "b'version https.*has not fetched the file",
        ),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "an older one wrote it.*torch.load"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged"),
    ],
)
def test_other_files_are_refused(path, content, message):
    path.write_bytes(content)
    assert_refused(path, message)


def test_a_zip_archive_without_a_pickle_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    assert_refused(path, "has 0 records data.pkl")


def test_big_endian_files_are_refused(path):
    assert list(read_torch_file(write(path, {"a": T}, byteorder=b"little"))) == ["a"]
    assert_refused(write(path, {"a": T}, byteorder=b"big"), "byte order is b'big'")


def test_every_truncated_file_is_refused(path):
    whole = write(path, {"a": T}, version=b"3").read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert_refused(path, "not a zip archive|truncated or damaged")


def test_damaged_bytes_give_the_right_tensors_or_an_error(path):
    whole = write(path, {"a": T}).read_bytes()
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 85]) + whole[position + 1 :])
        try:
            np.testing.assert_array_equal(read_torch_file(path)["a"], np.arange(6))
        except TorchFileError:
            refused += 1
    assert refused > len(whole) // 2


def test_damaged_pickles_raise_no_other_error(path):
    whole = b"\x80\x02" + opcodes({"state_dict": {"a": T, "b": [T]}, "epoch": 1}) + b"."
    draw = random.Random(0).randrange
    refused = 0
    for _ in range(400):
        position = draw(len(whole))
        try:
            read_torch_file(
                write(path, whole[:position] + bytes([draw(256)]) + whole[position + 1 :])
            )
        except TorchFileError:
            refused += 1
    assert refused > 200


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch


@pytest.fixture
def network(torch):
    layers = torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2, bias=False)
    return torch.nn.Sequential(*layers)


def assert_reads(path, expected):
    """Compares a file with the tensors that PyTorch saved in it, in their order."""
    arrays = read_torch_file(path)
    assert list(arrays) == list(expected)
    for name, value in expected.items():
        wide = value.detach().float() if "bfloat16" in str(value.dtype) else value.detach()
        np.testing.assert_array_equal(arrays[name], wide.numpy(), strict=True)
        assert arrays[name].flags.c_contiguous and arrays[name].flags.owndata


@pytest.mark.torch
def test_a_state_dict_of_torch(torch, network, path):
    torch.save(network.state_dict(), path)
    assert_reads(path, network.state_dict())


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_checkpoint_of_torch(torch, network, path, protocol):
    optimizer = torch.optim.AdamW(network[2].parameters())
    network[2](torch.ones(1, 5)).sum().backward()
    optimizer.step()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    checkpoint = {"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, path, pickle_protocol=protocol)
    assert_reads(path, network.state_dict())


@pytest.mark.torch
def test_nested_parameters_of_torch(torch, network, path):
    torch.save({"visual": dict(network.named_parameters()), "text": [torch.arange(3)]}, path)
    visual = {f"visual.{name}": value for name, value in network.named_parameters()}
    assert_reads(path, {**visual, "text.0": torch.arange(3)})


@pytest.mark.torch
def test_views_of_torch(torch, path):
    base = torch.randn(4, 6, 5)
    views = {
        "whole": base,
        "again": base,
        "transposed": base.transpose(0, 2),
        "slice": base[1:3, ::2, 4],
        "scalar": base[1, 1, 1],
        "expanded": base[:, :1, :1].expand(4, 7, 8),
        "empty": base[:0],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "nothing": torch.empty(3, 0),
    }
    torch.save(views, path)
    assert_reads(path, views)


@pytest.mark.torch
def test_dtypes_of_torch(torch, path):
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    tensors = {name: torch.arange(15).reshape(3, 5).to(getattr(torch, name)) for name in names}
    tensors["special"] = torch.tensor([float("nan"), float("-inf"), 1e-40], dtype=torch.bfloat16)
    torch.save(tensors, path)
    assert_reads(path, tensors)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["complex64", "uint16", "float8_e4m3fn"])
def test_unknown_dtypes_of_torch(torch, path, name):
    torch.save({"a": torch.ones(2).to(getattr(torch, name))}, path)
    assert_refused(path, "unknown dtype")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_a_scripted_module_in_half_precision(torch, network, path):
    network.half()[1].float()
    torch.jit.save(torch.jit.script(network), path)
    arrays, expected = read_torch_file(path), network.state_dict()
    assert {str(array.dtype) for array in arrays.values()} == {"float16", "float32", "int64"}
    assert set(arrays) == set(expected)
    assert_reads(path, {name: expected[name] for name in arrays})


@pytest.mark.torch
def test_files_of_an_old_torch_and_whole_modules_are_refused(torch, network, path):
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    assert_refused(path, "save it again with a newer")
    torch.save(network, path)
    assert_refused(path, "torch.nn.modules.container.Sequential", UnsafeFileError)
