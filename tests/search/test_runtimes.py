"""An index can be made and searched in ONNX Runtime; its header says what made its vectors."""

import sys
import types

import pytest
import toy_index

from tempme_jax.compile_cache import find_home_folder
from tempme_jax.export import saving
from tempme_jax.export.runtime import OnnxModel
from tempme_jax.search import runtimes
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.opening import IndexRequest

ONNX = {"name": "onnx", "precision": "float32", "cosine": 1.0}
INT8 = {"name": "onnx", "precision": "int8", "cosine": 0.9995}


class Exported:
    """What matters of an exported model here."""

    is_exported = True

    def __init__(self, precision, cosine):
        self.precision, self.cosine = precision, cosine


class Whole:
    is_exported = False


def test_the_runtime_is_that_of_the_index_unless_another_is_asked_for():
    assert runtimes.choose_runtime(None, None, int8=False) == ("jax", "float32")
    assert runtimes.choose_runtime({}, "onnx", int8=False) == ("onnx", "float32")
    assert runtimes.choose_runtime({"runtime": INT8}, None, int8=False) == ("onnx", "int8")
    assert runtimes.choose_runtime({"runtime": INT8}, "onnx", int8=False) == ("onnx", "int8")
    assert runtimes.choose_runtime({"runtime": INT8}, "jax", int8=False) == ("jax", "float32")
    assert runtimes.choose_runtime({"runtime": ONNX}, None, int8=True) == ("onnx", "int8")
    with pytest.raises(ValueError, match="int8 runs in ONNX Runtime, not in JAX"):
        runtimes.choose_runtime(None, "jax", int8=True)
    with pytest.raises(ValueError, match="runtime"):
        runtimes.choose_runtime(None, "onx", int8=False)


@pytest.mark.parametrize(
    ("header", "model", "refused"),
    [
        ({}, Whole(), False),
        ({}, Exported("float32", 1.0), False),
        ({}, Exported("int8", 0.9995), False),
        ({}, Exported("int8", 0.9985), True),
        ({}, Exported("int8", None), True),
        ({"runtime": INT8}, Whole(), False),
        ({"runtime": INT8 | {"cosine": 0.9985}}, Whole(), True),
        ({"runtime": INT8 | {"cosine": 0.9985}}, Exported("int8", 0.9985), False),
        ({"runtime": ONNX}, Exported("int8", 0.9985), True),
    ],
)
def test_precisions_are_compared_only_if_they_agree(header, model, refused):
    if not refused:
        return runtimes.refuse_other_precision(header, model, "here")
    with pytest.raises(VideoIndexError, match="0.999 is needed to search both together"):
        runtimes.refuse_other_precision(header, model, "here")


def test_queries_in_jax_of_vectors_in_int8_wait_for_the_check_of_their_model(monkeypatch):
    """The text tower alone, which the cache may hold, does not know whether the two agree."""
    options = dict.fromkeys(("model", "method", "num_frames", "fps", "overlap"))
    header = {"model": {}, "source": {"source": "here"}}
    tower = types.SimpleNamespace(description={})
    monkeypatch.setattr("tempme_jax.text_encoder.find", lambda source: tower)
    asked = IndexRequest(**options, runtime="jax")
    assert asked.open_text_encoder(header | {"runtime": ONNX}) is tower
    assert asked.open_text_encoder(header | {"runtime": INT8}) is None
    assert IndexRequest(**options).open_text_encoder(header | {"runtime": ONNX}) is None


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(VideoIndexError, match="set XDG_CACHE_HOME to a folder"):
        runtimes.open_exported({}, "float32", Whole)


@pytest.mark.slow
def test_an_index_in_onnx_runtime_finds_what_jax_finds(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="needs the extra [onnx]")
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = toy_index.write_films(tmp_path / "films", {"a.mp4": "1", "b.mp4": "2"})
    model = toy_index.make_model()
    model.save(tmp_path / "model.safetensors")
    made = VideoIndex(folder, model=tmp_path / "model.safetensors", runtime="onnx")
    made.add(folder, workers=1, quiet=True)
    assert capsys.readouterr().err.count("Exporting the model to ONNX in float32 (once)") == 1
    assert made.header["runtime"]["name"] == "onnx"
    assert made.header["runtime"]["cosine"] > 0.99999

    opened, in_jax = VideoIndex(folder), VideoIndex(folder, runtime="jax")
    assert isinstance(opened.model, OnnxModel)
    assert capsys.readouterr().err == ""  # it is in the cache
    found, expected = (index.search("a grey film").moments for index in (opened, in_jax))
    assert [moment.file for moment in found] == [moment.file for moment in expected]
    scores = [[moment.score for moment in one] for one in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert opened.whole_model.params

    monkeypatch.setattr(OnnxModel, "cosine", 0.98)
    monkeypatch.setattr(saving, "export_onnx", lambda model, file, int8: copy_export(file))
    with pytest.raises(VideoIndexError, match="only to a cosine of 0.9800, where 0.99 is needed"):
        VideoIndex(folder, int8=True).search("a grey film")


def copy_export(file):
    """Put the export in float32 where that in int8 is looked for."""
    [made] = (find_home_folder() / "exported").glob("*-float32")
    for path in made.iterdir():
        (file.parent / path.name).write_bytes(path.read_bytes())


def test_an_index_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'tempme-jax\[onnx\]'"):
        runtimes.open_exported({"method": "clip"}, "float32", lambda: pytest.fail("not opened"))
