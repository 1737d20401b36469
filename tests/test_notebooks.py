"""The notebooks are clean, name only what the package has, and run from top to bottom."""

import ast
import importlib
import importlib.util
import json
import re
import shutil

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from repository import ROOT

import tempme_jax

NOTEBOOKS = ["search_your_videos", "start_here", "train_and_compare"]
# Folders of one machine only. What Colab has is named from where its notebooks start.
MACHINE = re.compile(r"(?<![\w.:/])/(content|home|mnt|opt|root|tmp|Users|work)\b|\b[C-Z]:\\")
# What the test sets in the cell of parameters, so that it takes a minute.
SMALL = {"train_and_compare": {"STEPS": 2, "VARIANT": "small"}}
# What a run shows in the end: pieces of text, and how many pictures.
SHOWN = {
    "search_your_videos": (
        [
            "96 videos indexed",
            "broken.mp4: not a video",
            "moves right then up: a strong match",
            "jumps into a lake: weak match",
        ],
        4,
    ),
    "start_here": (["(6, 64) float32", "tempme: 21 tokens of 128 patches", "| ViT-B/32 |"], 4),
    "train_and_compare": (["tempme/seed_0, already finished", "| tempme | 1 |", "of 96 right"], 4),
}


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parse(cell):
    return ast.parse(TransformerManager().transform_cell(cell.source))


def used_names(trees):
    """Dotted names of the package that code imports, and attributes of what it imports."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    ours = {name: path for name, path in imported.items() if path.split(".")[0] == "tempme_jax"}
    chains = [ast.unparse(node).partition(".") for node in nodes if isinstance(node, ast.Attribute)]
    return set(ours.values()) | {f"{ours[name]}.{rest}" for name, _, rest in chains if name in ours}


def attributes(trees, variable):
    """What code asks of a variable of this name."""
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if ast.unparse(node.value) == variable}


def resolve(path):
    """What a dotted name stands for; modules are imported on the way."""
    found = importlib.import_module(path.split(".")[0])
    for depth, name in enumerate(path.split(".")[1:], start=2):
        module = ".".join(path.split(".")[:depth])
        if not hasattr(found, name) and importlib.util.find_spec(module):
            importlib.import_module(module)
        found = getattr(found, name)
    return found


def test_all_notebooks_are_tested():
    assert sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_clean(name):
    """Valid, with a title and few cells, nothing that a run left, and no path of a machine."""
    notebook = read(name)
    nbformat.validate(notebook)
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    assert notebook.cells[0].source.startswith("# ") and len(notebook.cells) <= 21
    assert all(not cell.outputs and not cell.execution_count for cell in code_cells(notebook))
    assert not [cell.source for cell in notebook.cells if MACHINE.search(cell.source)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_it_uses_exists(name):
    cells = code_cells(read(name))
    trees = [parse(cell) for cell in cells]
    names = used_names(trees)
    for path in names:
        resolve(path)
    if name == "search_your_videos":
        assert "tempme_jax.VideoIndex" in names
        assert "search" in attributes(trees, "index") <= {*dir(tempme_jax.VideoIndex)}
    else:
        assert "tempme_jax.load" in names
        fields = tempme_jax.Model.__dataclass_fields__
        assert "similarity" in attributes(trees, "model") <= {*dir(tempme_jax.Model), *fields}
    commands = {found for cell in cells for found in re.findall(r"-m (tempme_jax\S*)", cell.source)}
    assert all(importlib.util.find_spec(command) for command in commands)


def test_all_install_alike():
    cells = [cell for name in NOTEBOOKS for cell in code_cells(read(name)) if cell.id == "install"]
    assert len(cells) == len(NOTEBOOKS) and len({cell.source for cell in cells}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name, tmp_path, monkeypatch):
    """As a user runs it, in a copy of the repository, but for fewer steps and videos."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    for folder in ("configs", "notebooks", "tempme_jax"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    notebook = read(name)
    [parameters] = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    for parameter, value in SMALL.get(name, {}).items():
        line = re.compile(rf"^{parameter} = .*$", flags=re.MULTILINE)
        parameters.source, count = line.subn(f"{parameter} = {value!r}", parameters.source)
        assert count == 1
    place = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=900, resources=place).execute()

    texts, pictures = SHOWN[name]
    silent = [cell.id for cell in code_cells(notebook) if not cell.outputs]
    assert silent == ["parameters"]
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    shown = [output.get("data", {}) for output in outputs]
    text = "".join(output.get("text", "") for output in outputs)
    text += "".join(data.get("text/markdown", "") for data in shown)
    assert not re.search(r"\bError\b|Warning|FAILED|Traceback", text)
    assert [piece for piece in texts if piece not in text] == []
    assert sum("image/png" in data for data in shown) == pictures
