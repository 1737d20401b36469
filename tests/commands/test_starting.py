"""Commands start quickly: they import no more than they need, and check before they import."""

import json
import subprocess
import sys

import click.testing
import pytest
import toy_index

from tempme_jax.cli import main
from tempme_jax.commands import search
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.query.results import convert_to_json

HEAVY = ("jax", "flax", "lancedb", "pyarrow", "av", "rich", "tqdm", "tokenizers", "uvicorn")
PROGRAM = """
import json, sys
from tempme_jax.cli import main
told = []
for words in {commands}:
    try:
        main(words, prog_name="tempme")
    except SystemExit as ended:
        told.append([ended.code, [name for name in {heavy} if name in sys.modules]])
    if words[-1] != "--help":
        continue
    told[-1][1] += [name for name in ["numpy"] if name in sys.modules]
print(json.dumps(told), file=sys.stderr)
"""


def test_help_and_mistakes_import_nothing_large(tmp_path):
    """In one process, in this order."""
    commands = [[name, "--help"] for name in main.commands] + [
        ["search", "  "],
        ["index", str(tmp_path / "nowhere")],
        ["search", "a cat", "--index", str(tmp_path)],
        ["search", "a cat", "--index", str(tmp_path / "nowhere")],
    ]
    program = PROGRAM.format(commands=commands, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    told = json.loads(result.stderr.splitlines()[-1])
    assert told == [[0, []]] * len(main.commands) + [[2, []], [1, []], [1, []], [1, []]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An index of two videos, in the current folder, whose model is open."""
    toy_index.decode_here(monkeypatch)
    toy_index.write_films(tmp_path, {"a.mp4": "1", "b.mp4": "2"})
    made = toy_index.make_toy_index(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tempme_jax.search.index.VideoIndex",
        lambda place, **_: VideoIndex(place, model=made.model),
    )
    return tmp_path


def test_a_terminal_asks_for_one_text_after_another(folder, monkeypatch):
    """A mistake does not end it; an empty line and the end of the input do."""
    monkeypatch.setattr(search, "is_terminal", lambda: True)
    runner = click.testing.CliRunner()
    result = runner.invoke(main, ["search", "-k", "1"], input="a red circle\na cat\n\nrest\n")
    assert result.exit_code == 0 and result.stdout.count("Weak match: ") == 2
    assert result.stderr.count("Search: ") == 3
    result = runner.invoke(main, ["search", "--json"], input="a red circle")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["answered_by"] == "search"
    (folder / ".tempme").rename(folder / "moved")
    result = runner.invoke(main, ["search"], input="a cat\na dog\n")
    assert result.exit_code == 0 and result.stderr.count("Error: there is no index") == 2


def test_a_server_is_asked_if_it_would_answer_the_same(folder, monkeypatch):
    """With other weights, or to judge, the command searches itself."""

    def ask(uri, text, k, folder, per_video):
        return {"results": convert_to_json(results), "warning": "cut", "outdated": 2}

    results = VideoIndex(".", model=toy_index.make_model()).search("a red circle")
    monkeypatch.setattr("tempme_jax.search.serve.local.ask", ask)
    runner = click.testing.CliRunner()
    result = runner.invoke(main, ["search", "a red circle", "--json"])
    told = json.loads(result.stdout)
    assert told["answered_by"] == "serve" and len(told["moments"]) == 2
    assert result.stderr.splitlines()[0] == "Warning: cut"
    assert result.stderr.splitlines()[1].startswith("Note: 2 files were read by an older version")
    result = runner.invoke(main, ["search", "a red circle", "--model", "same", "--json"])
    assert json.loads(result.stdout)["answered_by"] == "search"
