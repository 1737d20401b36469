"""UMT's arrays keep their values in all public layouts, and what is no UMT is told so."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
import umt_weights
from random_weights import TOY, assert_same_params, make_random_params, write_weights
from torch_archives import Call, Evil, Global, Module, tensor
from torch_archives import write as write_zip
from umt_weights import TINY_UMT, TINY_UMT_QA

from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import make_network
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, list_pretrained_paths
from tempme_jax.weights.convert import convert_file
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.files import load_weights, save_weights
from tempme_jax.weights.layouts import fit_backbone, read_layout, write_layout
from tempme_jax.weights.saved import read_safetensors
from tempme_jax.weights.sizes import infer_architecture
from tempme_jax.weights.torch_files import UnsafeFileError

FUSION = TINY_UMT_QA["fusion_layer"]
# Two widths of 64, where one head is as wide as in every public file.
SIZES = TINY_UMT_QA | {"heads": 1, "text_heads": 1}
ARCH = umt_weights.make_architecture(SIZES, image_size=224)
ANSWERS = dataclasses.replace(ARCH, backbone="umt-qa")
LAYOUTS = ("umt", "umt_retrieval", "umt_qa")


def make_files(sizes):
    pretrained = umt_weights.umt_state_dict(**sizes)
    return {
        "umt": pretrained,
        "umt_retrieval": umt_weights.strip_to_retrieval(pretrained),
        "umt_qa": umt_weights.turn_into_answers(pretrained, sizes["fusion_layer"]),
    }


@pytest.fixture(scope="module")
def files():
    return make_files(SIZES)


def write_torch(path, arrays, **beside):
    """A file of UMT's training: the arrays under "model", and other values beside."""
    kinds = {"float32": "FloatStorage", "int64": "LongStorage"}
    described, records = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        stride = tuple(step // array.itemsize for step in array.strides)
        kind = kinds[str(array.dtype)]
        described[name] = tensor(array.shape, stride, 0, str(key), kind, array.size)
        records[f"data/{key}"] = array.tobytes()
    return write_zip(path, {"model": described, **beside}, **records)


@pytest.mark.parametrize("backbone", ["UMT-B/16", "UMT-B/16-QA"])
def test_the_table_holds_every_parameter(backbone):
    arch = ARCHITECTURES[backbone]
    assert list_pretrained_paths(arch) == set(find_shapes(make_network(arch), 1))


@pytest.mark.parametrize("sizes", [TINY_UMT, TINY_UMT_QA], ids=["narrow text", "one width"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_holds_a_model(layout, sizes):
    found, params = read_layout(make_files(sizes)[layout])
    assert found == layout
    answers = layout == "umt_qa"
    heads = {"heads": 2, "text_heads": sizes["text_heads"]}
    arch = infer_architecture(params, **heads, image_size=64, embed_dim=32, tokenizer="unknown")
    assert arch == umt_weights.make_architecture(sizes, backbone="umt-qa" if answers else "umt")
    shapes = find_shapes(make_network(arch), 1)
    if not (answers and sizes is TINY_UMT):  # as such a model cannot be
        assert {path: params[path].shape for path in shapes} == shapes
    head = {path for path in params.keys() - shapes.keys() if path[0] == "answer"}
    assert params.keys() - shapes.keys() == head
    assert len(head) == (5 if layout == "umt" else 0)


def test_arrays_lie_where_they_belong(files):
    arrays, params = files["umt"], read_layout(files["umt"])[1]
    patches = arrays["vision_encoder.encoder.patch_embed.proj.weight"]
    kernel = params["video", "patches", "kernel"].reshape(64, 16, 16, 3)
    np.testing.assert_array_equal(kernel, patches[:, :, 0].transpose(0, 2, 3, 1))
    block, layer = "vision_encoder.encoder.blocks.1.", "text_encoder.bert.encoder.layer.2."
    biases = [arrays[f"{block}attn.{part}_bias"] for part in "qv"]
    self = [arrays[f"{layer}attention.self.{p}.weight"] for p in ("query", "key", "value")]
    cross = [arrays[f"{layer}crossattention.self.{p}.bias"] for p in ("key", "value")]
    for path, expected in {
        "video/block_1/attn/qkv/kernel": arrays[f"{block}attn.qkv.weight"],
        "video/block_1/attn/qkv/bias": np.concatenate(biases),
        "video/ln_pool/scale": arrays["vision_encoder.pool_norm.weight"],
        "text/layer_2/attn/qkv/kernel": np.concatenate(self),
        "text/layer_2/cross/kv/bias": np.concatenate(cross),
        "text/layer_2/ln_cross/bias": arrays[f"{layer}crossattention.output.LayerNorm.bias"],
        "text/layer_2/ln_attn/bias": arrays[f"{layer}attention.output.LayerNorm.bias"],
        "text/layer_2/ln_mlp/bias": arrays[f"{layer}output.LayerNorm.bias"],
        "answer/bias": arrays["text_encoder.cls.predictions.bias"],
        "match/kernel": arrays["itm_head.weight"],
        "temperature": np.float32(0.07),
    }.items():
        np.testing.assert_array_equal(params[tuple(path.split("/"))], expected, err_msg=path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writing_and_reading_changes_nothing(layout, files):
    params = read_layout(files[layout])[1]
    for target in (layout, "tempme_jax"):
        arrays = write_layout(target, params)
        assert all(a.flags.c_contiguous and a.flags.owndata for a in arrays.values())
        found, again = read_layout(arrays)
        assert found == target
        assert_same_params(again, params)
    written = write_layout(layout, params)
    useless = ("clip_teacher.", "vision_encoder.clip_decoder.")
    left_out = {n for n in files[layout] if "predictions.decoder" in n or "position_ids" in n}
    left_out |= {n for n in files[layout] if n.startswith(useless)}
    assert written.keys() == files[layout].keys() - left_out
    for name, array in written.items():
        np.testing.assert_array_equal(array, files[layout][name], err_msg=name)


def test_clip_positions_are_kept(files):
    learned = umt_weights.clip_positions(SIZES, 4, ((1, 2), (2, 2)))
    params = read_layout(files["umt_retrieval"] | learned)[1]
    assert params["video", "block_2", "join_clips", "clip_position"].shape == (2, 64)
    for layout in ("umt_retrieval", "tempme_jax"):
        assert_same_params(read_layout(write_layout(layout, params))[1], params)


def test_another_layout_has_no_place(files):
    params = read_layout(files["umt"])[1]
    with pytest.raises(WeightsError, match="5 without a place in the layout 'umt_retrieval'"):
        write_layout("umt_retrieval", params)
    with pytest.raises(WeightsError, match="without a place in the layout 'umt': answer/layer_0"):
        write_layout("umt", read_layout(files["umt_qa"])[1])
    with pytest.raises(WeightsError, match="'openai' has no place for UMT: choose 'tempme_jax',"):
        write_layout("openai", params)
    with pytest.raises(WeightsError, match="'umt' has no place for CLIP: choose 'tempme_jax', 'p"):
        write_layout("umt", make_random_params(Clip(TOY)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_training_is_converted(layout, files, tmp_path):
    config = Module(Global("utils.easydict", "EasyDict"), {"evaluate": False})
    state = {"state": {0: {"step": 3, "exp_avg": tensor((64,), (1,), length=64, key="0")}}}
    source = write_torch(
        tmp_path / "x.pth", files[layout], optimizer=state, epoch=9, global_step=7030,
        scheduler={"_step_count": 2, "f": Call(Global("torch.optim.lr_scheduler", "LambdaLR"), ())},
        scaler={"scale": 65536.0, "growth_factor": 2.0}, config=config,
    )  # fmt: skip
    assert convert_file(source, tmp_path / "same.safetensors") == []
    convert_file(source, tmp_path / "ours.safetensors", layout="tempme_jax")
    expected = read_layout(files[layout])[1]
    assert_same_params(read_layout(read_safetensors(tmp_path / "same.safetensors")[0])[1], expected)
    arch = ANSWERS if layout == "umt_qa" else ARCH
    for name in ("same", "ours"):
        weights = load_weights(tmp_path / f"{name}.safetensors")
        assert dataclasses.replace(weights.arch, embed_dim=32) == arch
        assert weights.arch.tokenizer == "unknown"
        assert_same_params(weights.params, fit_backbone(expected, arch, arch.backbone))


def test_nothing_beside_the_arrays_is_run(files, tmp_path):
    import os

    with pytest.raises(UnsafeFileError, match="refers to 'posix.system'"):
        convert_file(
            write_torch(tmp_path / "x.pth", files["umt"], config=Evil(os.system, "true")),
            tmp_path / "x.safetensors",
        )


def test_the_whole_vocabulary_is_berts(tmp_path):
    arrays = umt_weights.umt_state_dict(**SIZES | {"vocab_size": 30522})
    write = safetensors.numpy.save_file
    write(umt_weights.strip_to_retrieval(arrays), tmp_path / "x.safetensors")
    arch = load_weights(tmp_path / "x.safetensors").arch
    assert (arch.tokenizer, arch.activation, arch.resize) == ("bert", "gelu", "squash")
    assert arch.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("arch", [ARCH, ANSWERS], ids=["retrieval", "answers"])
def test_what_is_saved_opens_as_it_was(arch, files, tmp_path):
    small = dataclasses.replace(arch, image_size=64, heads=2, text_heads=4)
    params = fit_backbone(read_layout(files["umt"])[1], ARCH, arch.backbone)
    save_weights(tmp_path / "x.safetensors", params, small)
    weights = load_weights(tmp_path / "x.safetensors")
    assert weights.arch == small and weights.arch.tokenizer == "unknown"
    assert_same_params(weights.params, params)


def test_pretraining_opens_for_answers(files, tmp_path):
    for layout, arrays in files.items():
        write_torch(tmp_path / f"{layout}.pth", arrays)
        convert_file(tmp_path / f"{layout}.pth", tmp_path / f"{layout}.safetensors")
    opened = load_weights(tmp_path / "umt.safetensors", backbone="umt-qa")
    assert opened.arch == ANSWERS
    assert_same_params(opened.params, read_layout(files["umt_qa"])[1])
    text = opened.params["text", f"layer_{FUSION + 1}", "cross", "kv", "kernel"]
    copied = opened.params["answer", "layer_1", "cross", "kv", "kernel"]
    np.testing.assert_array_equal(copied, text)
    same = load_weights(tmp_path / "umt_qa.safetensors", backbone="umt-qa")
    assert_same_params(same.params, opened.params)
    with pytest.raises(WeightsError, match=r"umt_retrieval.*lacks 5 arrays of the head.*b16_25m"):
        load_weights(tmp_path / "umt_retrieval.safetensors", backbone="umt-qa")
    with pytest.raises(WeightsError, match="fine-tuned to answer questions and has no heads for"):
        load_weights(tmp_path / "umt_qa.safetensors", backbone="umt")


def test_answers_need_one_width():
    params = read_layout(umt_weights.umt_state_dict(**TINY_UMT))[1]
    with pytest.raises(WeightsError, match="texts of width 48 by what was made to see videos of"):
        fit_backbone(params, umt_weights.make_architecture(TINY_UMT), "umt-qa")


def test_one_family_is_not_the_other(files, tmp_path):
    write_weights(tmp_path / "clip.safetensors", make_random_params(Clip(TOY)), "openai")
    with pytest.raises(WeightsError, match=r"clip\.safetensors: these are weights of CLIP, not of"):
        load_weights(tmp_path / "clip.safetensors", backbone="umt", activation="gelu")
    with pytest.raises(WeightsError, match="weights of CLIP, not of 'other', whose files"):
        load_weights(tmp_path / "clip.safetensors", backbone="other", activation="gelu")
    umt = {name: a for name, a in files["umt_retrieval"].items()}
    safetensors.numpy.save_file(umt, tmp_path / "umt.safetensors")
    with pytest.raises(WeightsError, match=r"umt\.safetensors: these are weights of UMT, not of C"):
        load_weights(tmp_path / "umt.safetensors", backbone="clip")
    with pytest.raises(WeightsError, match="UMT has the activation 'gelu', not 'quick_gelu'"):
        load_weights(tmp_path / "umt.safetensors", activation="quick_gelu")
    save_weights(tmp_path / "ours.safetensors", read_layout(umt)[1], ARCH)
    with pytest.raises(WeightsError, match="these are weights of UMT, not of CLIP"):
        load_weights(tmp_path / "ours.safetensors", backbone="clip")


BLOCK = "vision_encoder.encoder.blocks.1."
CROSS = "text_encoder.bert.encoder.layer.3.crossattention.output.dense.bias"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{BLOCK}attn.v_bias": None}, r"1 missing: .*blocks\.1\.attn\.v_bias"),
        ({CROSS: None}, r"1 missing: .*layer\.3\.crossattention"),
        ({"temp": None, "itm_head.bias": None}, "2 missing: itm_head.bias, temp"),
        ({f"{BLOCK}gamma_1": np.ones(64)}, r"1 unexpected: .*gamma_1"),
        ({f"{BLOCK}attn.k_bias": np.zeros(64)}, r"1 unexpected: .*attn\.k_bias"),
        ({"text_encoder.bert.pooler.dense.bias": np.ones(64)}, "1 unexpected: .*pooler"),
        ({f"{BLOCK}mlp.fc1.bias": np.full(256, np.nan)}, r"with NaN or infinite .*fc1\.bias"),
        (
            {"vision_encoder.encoder.patch_embed.proj.weight": np.ones((64, 3, 2, 16, 16))},
            r"1 misshapen: .*patch_embed\.proj\.weight \(64, 3, 2, 16, 16\)",
        ),
        ({"temp": np.ones(3)}, r"1 misshapen: temp \(3,\)"),
        (
            {"text_encoder.cls.predictions.decoder.weight": np.ones((100, 64))},
            "decoder.weight differs from text_encoder.bert.embeddings.word_embeddings.weight",
        ),
        (
            {"text_encoder.cls.predictions.decoder.bias": np.ones(100)},
            "decoder.bias differs from text_encoder.cls.predictions.bias",
        ),
        (
            {"text_encoder.bert.embeddings.position_ids": np.arange(40)[::-1]},
            "position_ids is not 0 .. 39",
        ),
        (
            {"text_encoder.bert.embeddings.word_embeddings.weight": None},
            "of no known layout of CLIP with a ViT, of SigLIP or of UMT, but a part of UMT",
        ),
    ],
)
def test_a_file_that_is_no_umt_is_refused(changes, message, files):
    arrays = {n: a for n, a in (files["umt"] | changes).items() if a is not None}
    with pytest.raises(WeightsError, match=message):
        read_layout(arrays)


def test_our_own_file_must_be_whole(files):
    params = read_layout(files["umt_qa"])[1]
    del params["answer", "layer_1", "cross", "q", "bias"]
    with pytest.raises(WeightsError, match="1 missing: answer/layer_1/cross/q/bias"):
        read_layout(write_layout("tempme_jax", params))


@pytest.mark.parametrize(
    ("image_size", "message"),
    [
        (65, "this UMT cannot be built: cannot divide image_size by patch: 65 by 16"),
        (0, "this UMT cannot be built: image_size=0"),
        (16_000_000, "image_size=16000000 of a UMT is at most 2048"),
    ],
)
def test_a_damaged_size_of_frames_is_refused(image_size, message, files, tmp_path):
    about = {"architecture": dataclasses.asdict(ARCH) | {"image_size": image_size}}
    arrays = write_layout("tempme_jax", read_layout(files["umt"])[1])
    metadata = {"tempme_jax": json.dumps(about)}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / "x.safetensors")


def test_a_prefix_of_all_names_is_taken_off(files):
    for layout, arrays in files.items():
        found, params = read_layout({f"module.{name}": a for name, a in arrays.items()})
        assert found == layout
        assert_same_params(params, read_layout(arrays)[1])


def test_heads_that_cannot_be_told():
    params = read_layout(umt_weights.umt_state_dict(**TINY_UMT))[1]
    with pytest.raises(WeightsError, match="text_heads cannot be told: width 48"):
        infer_architecture(params)
