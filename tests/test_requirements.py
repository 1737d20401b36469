"""requirements.txt lists each package once, and exactly those that the package imports."""

import ast
import sys
import tomllib

from packaging.requirements import Requirement
from repository import ROOT

# Import names that differ from the names of their packages.
PACKAGES = {
    "PIL": "pillow",
    "absl": "absl-py",
    "array_record": "array_record",
    "orbax": "orbax-checkpoint",
    "tensorflow_datasets": "tensorflow-datasets",
}
# Imported only where an extra is installed.
OPTIONAL = {"datasets", "mteb", "faiss", "mcp", "onnx", "onnxruntime", "ray", "wandb"}
# Imported by a part of another package, which leaves it to us to ask for it.
INDIRECT = {"flatbuffers"}


def read_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in lines if line]


def list_requirements():
    return [requirement.name for requirement in read_requirements()]


def read_lists():
    """The lists of pyproject.toml: the dependencies, and the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"], project["optional-dependencies"]


def list_imports():
    found = set()
    for file in (ROOT / "tempme_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"tempme_jax"}


def test_every_package_is_listed_once():
    names = list_requirements()
    assert len(names) == len(set(names))


def test_the_list_is_what_is_imported():
    imported = {PACKAGES.get(name, name) for name in list_imports() - OPTIONAL}
    assert imported == set(list_requirements()) - INDIRECT


def test_dependencies_and_the_extra_all_are_the_list():
    core, extras = read_lists()
    assert extras["all"] == ["tempme-jax[train,search]"]
    parts = [*core, *extras["train"], *extras["search"]]
    assert sorted(map(str, map(Requirement, parts))) == sorted(map(str, read_requirements()))
