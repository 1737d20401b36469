"""requirements.txt lists each package once, and exactly those that the package imports."""

import ast
import sys

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
OPTIONAL = {"faiss", "onnx", "onnxruntime", "ray"}
# Imported by a part of another package, which leaves it to us to ask for it.
INDIRECT = {"flatbuffers"}


def list_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line).name for line in lines if line]


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
