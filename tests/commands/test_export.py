"""`tempme export` refuses what cannot be, before it opens a model, and reports what it wrote."""

import pathlib

import pytest
from click.testing import CliRunner

from tempme_jax.cli import main
from tempme_jax.commands.export import print_export
from tempme_jax.export.saving import Export


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.foo"], "ends neither in .safetensors, .onnx nor in .stablehlo"),
        (
            ["a.onnx", "--format", "stablehlo"],
            "is to hold stablehlo; let its name end in .stablehlo",
        ),
        (["a.stablehlo", "--int8"], "--int8 belongs to --format onnx, not to stablehlo"),
        (["a.onnx", "--backbone"], "--backbone belongs to --format safetensors, not to onnx"),
        (["there.onnx"], "there.text.onnx exists; give another name, or --overwrite"),
        (["no/a.onnx"], "there is no folder no; make it first"),
    ],
)
def test_mistakes_are_said_before_a_model_is_opened(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there.text.onnx").touch()
    result = CliRunner().invoke(main, ["export", "no-such-model", *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.output


def test_what_has_no_place_in_a_plain_clip_is_said(tmp_path):
    words = ["export", "tiny-tempme", str(tmp_path / "plain.safetensors"), "--backbone"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1 and not list(tmp_path.iterdir())
    assert "method 'tempme' learned what has no place in a plain clip model: " in result.output
    assert "video/block_3/join_clips/clip_position" in result.output
    assert "Write the whole model, without backbone" in result.output


def test_the_report_warns_of_int8_that_changes_much(tmp_path, capsys):
    file = tmp_path / "a.video.onnx"
    file.write_bytes(bytes(1_500_000))
    found = {"largest": 0.05, "cosine": 0.98}
    print_export(Export({"video": file}, {"video": found}, 1.5), tmp_path / "a.onnx")
    printed = capsys.readouterr()
    assert "a.video.onnx: 1.5 MB" in printed.out
    assert "video: largest difference 5.0e-02, cosine 0.9800000" in printed.out
    assert "Speed: 1.50 times that of float32" in printed.out
    assert "Warning: a cosine below 0.99 changes what a search finds" in printed.err
