"""docs/architecture.md names every room and the layers, and the functions on its walks exist."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "tempme_jax"
WALKS = PAGE[PAGE.index("## Walks") : PAGE.index("## Invariants")]
NAMES = sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", WALKS)))


def read_tree():
    """The paths in the tree of the page, from the package's root; indents say what is in what."""
    [block] = re.findall(r"```\ntempme_jax/\n(.*?)```", PAGE, flags=re.DOTALL)
    paths, above = [], [Path()]
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        path = above[depth - 1] / name
        above[depth:] = [path]
        paths.append(path)
    return paths


def test_the_tree_names_every_folder_and_every_module_of_the_root():
    modules = [path.name for path in PACKAGE.glob("*.py")]
    folders = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*")
        if path.is_dir() and any(inner.is_file() for inner in path.iterdir())
        if path.name != "__pycache__"
    ]
    assert sorted(map(str, read_tree())) == sorted(modules + folders)


def test_the_readme_names_every_room():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```\ntempme_jax/ .*?\n(.*?)```", readme, flags=re.DOTALL)
    named = [line.split()[0] for line in block.splitlines()]
    rooms = [f"{path}/" for path in read_tree() if path.suffix == "" and len(path.parts) == 1]
    assert sorted(named) == sorted(rooms)


@pytest.mark.parametrize("name", NAMES)
def test_the_walks_name_what_exists(name):
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(["tempme_jax", *parts[:count]])
        if (ROOT / module.replace(".", "/")).with_suffix(".py").exists():
            break
    found = importlib.import_module(module)
    for part in parts[count:]:
        found = getattr(found, part)


def test_the_layers_are_those_that_are_checked():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [*_, layers] = [c["layers"] for c in config["tool"]["importlinter"]["contracts"]]
    [block] = re.findall(r"```\n(main : .*?)```", PAGE, flags=re.DOTALL)
    expected = [layer.replace("tempme_jax.", "") for layer in layers]
    assert block.strip().splitlines() == expected
