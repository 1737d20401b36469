"""The code in the documents runs, their links exist, and their costs are right."""

import contextlib
import io
import pathlib
import re
from unittest import mock

import pytest

from tempme_jax import costs, methods
from tempme_jax.methods import METHODS
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import BACKBONES
from tempme_jax.networks.clip import Clip

PAGES = [*sorted(pathlib.Path("docs").rglob("*.md")), pathlib.Path("README.md")]


@pytest.mark.parametrize("name", ["adding_a_method.md", "adding_a_backbone.md"])
@mock.patch.dict(METHODS)
@mock.patch.dict(BACKBONES)
def test_the_examples_of_new_parts_run(name):
    """The code of the page prints the output that the page gives."""
    page = (pathlib.Path("docs") / name).read_text(encoding="utf-8")
    namespace, printed = {"__name__": "example"}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(compile(code, name, "exec"), namespace)
    assert printed.getvalue().splitlines() == re.findall(r"print\(.*\)  # (.*)", page)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def read_overview():
    """Return the names, GFLOPs and tokens of each row in the overview of methods."""
    page = pathlib.Path("docs/methods/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|.*\| ([\d.]+) \| (\d+) \| \[", page, re.MULTILINE)
    return [(re.findall(r"`([a-z-]+)`", names), float(g), int(t)) for names, g, t in rows]


def test_every_method_has_a_page():
    """The overview leads to a page for each row of METHODS."""
    assert sorted(name for names, _, _ in read_overview() for name in names) == sorted(METHODS)


def test_the_costs_in_the_overview_are_ours():
    arch = ARCHITECTURES["ViT-B/32"]
    for names, gflops, tokens in read_overview():
        for name in names:
            network = Clip(arch, *methods.build(name, arch, 12))
            counted = macs.count_macs(network, 12)[1] / 1e9
            assert (name, round(counted, 1)) == (name, gflops)
            assert costs.count_output_tokens(network, macs.list_stages(network, 12)) == tokens
