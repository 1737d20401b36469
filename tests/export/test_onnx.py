"""An exported model computes what its model does, says what it is, and refuses other files."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import tempme_jax
from tempme_jax.export import about, runtime
from tempme_jax.export.metadata import read_metadata
from tempme_jax.export.saving import NotExportableError, export_onnx, export_stablehlo
from tempme_jax.fingerprint import compute_fingerprint, describe_model

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZES = dict(
    embed_dim=32, image_size=32, patch=8, width=32, depth=2, heads=2, text_width=32, text_depth=1,
    text_heads=2, vocab_size=600, context_length=16,
)  # fmt: skip


def make_model(method="tempme", **options):
    return tempme_jax.create(method=method, num_frames=4, method_options=options, **SIZES)


@pytest.fixture(scope="module")
def model():
    return make_model(layers=(1,), groups=(2,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def made(model, folder):
    return export_onnx(model, folder / "toy.onnx")


@pytest.fixture(scope="module")
def exported(made, folder):
    return tempme_jax.load(folder / "toy.onnx")


def test_videos_and_texts_get_the_same_vectors(model, exported):
    rng = np.random.default_rng(3)
    for frames in (4, 2):  # of two, the others are masked
        videos = rng.integers(0, 256, (2, frames, 40, 48, 3), np.uint8)
        expected = model.embed_video(videos)
        np.testing.assert_allclose(exported.embed_video(videos), expected, atol=2e-6)
    texts = ["a cat", "two dogs run", "red"]
    np.testing.assert_allclose(exported.embed_text(texts), model.embed_text(texts), atol=2e-6)
    np.testing.assert_allclose(
        exported.embed_tokens(np.array([[1, 5, 599, 0]])),
        model.embed_tokens(np.array([[1, 5, 599, 0]])),
        atol=2e-6,
    )
    text, video = exported.embed_text("a cat"), expected
    np.testing.assert_allclose(
        exported.similarity(text, video), model.similarity(text, video), atol=1e-4
    )


def test_the_report_is_of_the_file(made, exported):
    assert {tower: found["cosine"] > 0.999999 for tower, found in made.agreement.items()} == {
        "video": True,
        "text": True,
    }
    assert exported.agreement == made.agreement
    assert all(0 < found["largest"] < 1e-5 for found in made.agreement.values())


def test_the_file_says_what_it_is_of(model, exported):
    description = describe_model(model)
    assert describe_model(exported) == description
    assert exported.about["fingerprint"] == compute_fingerprint(description)
    assert exported.arch == dataclasses.replace(model.arch, tokenizer=model.arch.tokenizer)
    assert (exported.method, exported.num_frames) == ("tempme", 4)
    assert exported.about["versions"]["tempme_jax"] == tempme_jax.__version__


def test_any_batch_size_and_static_frames(made):
    graph = onnx.load(made.files["video"]).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {
        "frames": ["batch", 4, 32, 32, 3],
        "frame_mask": ["batch", 4],
        "vectors": ["batch", 32],
    }
    onnx.checker.check_model(onnx.load(made.files["video"]))


def test_it_runs_without_jax(made, folder):
    program = (
        "import sys, numpy, tempme_jax; model = tempme_jax.load(sys.argv[1]); "
        "assert model.embed_text('a cat').shape == (1, 32); "
        "assert model.embed_video(numpy.zeros((4, 9, 9, 3), numpy.uint8)).shape == (1, 32); "
        "print(*{'jax', 'flax', 'onnx'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(folder / "toy.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_tower_alone_is_enough_for_its_half(made, tmp_path):
    copy = tmp_path / made.files["text"].name
    copy.write_bytes(made.files["text"].read_bytes())
    alone = tempme_jax.load(copy)
    assert alone.embed_text("a cat").shape == (1, 32)
    with pytest.raises(FileNotFoundError, match="toy.video.onnx is missing; it lies beside"):
        alone.embed_video(np.zeros((4, 9, 9, 3), np.uint8))


def test_int8_covers_every_linear_layer_and_says_how_exact_it_is(model, tmp_path):
    made = export_onnx(model, tmp_path / "small.onnx", int8=True)
    nodes = [node.op_type for node in onnx.load(made.files["video"]).graph.node]
    # The patches, four linear layers of each of two blocks, and the projection.
    assert nodes.count("MatMulInteger") == 1 + 4 * 2 + 1
    assert made.speedup > 0
    small = runtime.OnnxModel(tmp_path / "small.onnx", warn=False)
    assert small.precision == "int8"
    worst = min(found["cosine"] for found in made.agreement.values())
    assert 0.9 < small.cosine == worst < 1 - 1e-7
    videos = np.random.default_rng(5).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(small.embed_video(videos)[1:], small.embed_video(videos[1:]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-300], "cut off"),
        (lambda data: b"", "is empty"),
        (lambda data: b"PK\x03\x04 a zip file, and more", "not an ONNX file"),
        (lambda data: data.replace(b'"format": 1', b'"format": 7'), "has format 7, and this"),
        (lambda data: data.replace(b'"format"', b'"formal"'), "format.* missing"),
        (lambda data: data.replace(b"tempme_jax\x12", b"tempme_jay\x12"), "was not made by tempme"),
    ],
)
def test_another_file_is_refused(made, tmp_path, damage, message):
    data = made.files["text"].read_bytes()
    (tmp_path / "toy.text.onnx").write_bytes(damage(data))
    with pytest.raises(about.NotExportedError, match=f"(?s){message}.*export"):
        tempme_jax.load(tmp_path / "toy.onnx")


def test_towers_of_different_models_are_refused(made, tmp_path):
    for tower in runtime.TOWERS:
        data = made.files[tower].read_bytes()
        found = json.loads(read_metadata(made.files[tower])[about.METADATA])["fingerprint"]
        other = found if tower == "text" else found[::-1]
        (tmp_path / f"toy.{tower}.onnx").write_bytes(data.replace(found.encode(), other.encode()))
    with pytest.raises(about.NotExportedError, match="are towers of different models"):
        tempme_jax.load(tmp_path / "toy.onnx")


def test_what_is_missing_is_named(made, folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match="has no file no.video.onnx or no.text.onnx"):
        tempme_jax.load(folder / "no.onnx")
    with pytest.raises(
        ValueError, match="is an exported model, which has its own method and settings"
    ):
        tempme_jax.load(folder / "toy.onnx", num_frames=3)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(runtime.MissingRuntimeError, match=r"pip install 'tempme-jax\[onnx\]'"):
        tempme_jax.load(folder / "toy.onnx")


def test_a_method_that_cannot_be_exported_names_the_operation(tmp_path):
    with pytest.raises(
        NotExportableError, match="method 'sta' .* uses the operation sort; --format"
    ):
        export_onnx(make_model("sta"), tmp_path / "toy.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["clip", "tome", "evit", "testa", "diffrate", "vop", "dgl"])
def test_other_methods_agree(method, tmp_path):
    made = export_onnx(
        tempme_jax.load("tiny-clip", method=method, num_frames=4), tmp_path / "a.onnx"
    )
    assert min(found["cosine"] for found in made.agreement.values()) > 0.99999


@pytest.mark.slow
def test_stablehlo_holds_every_platform_and_agrees(model, tmp_path):
    import jax.export

    made = export_stablehlo(model, tmp_path / "toy.stablehlo")
    assert min(found["cosine"] for found in made.agreement.values()) > 0.999999
    program = jax.export.deserialize(bytearray(made.files["text"].read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    described = json.loads(made.files["about"].read_text())
    assert described["fingerprint"] == compute_fingerprint(describe_model(model))
