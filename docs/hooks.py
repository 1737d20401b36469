"""Hooks for building the site with mkdocs, and an extension of its reader of docstrings.

Some pages live outside docs/. On GitHub the links to them are relative to the repository; the hooks
make them lead to pages of the site.
"""

import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
# File of the repository -> page of the site.
OUTSIDE = {
    "data/README.md": "data.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
# Files that are no pages themselves: the page that tells the same.
INSTEAD = {"README.md": "index.md"}
DOCTEST = re.compile(r"^( *)>>> (?:.+\n?)+", re.MULTILINE)
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files, config):
    """Add the pages that live outside docs/."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point the links of a page at pages of the site."""
    sources = {page: source for source, page in OUTSIDE.items()}
    uri = page.file.src_uri
    source = sources.get(uri, f"docs/{uri}")

    def point(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        pages = OUTSIDE | INSTEAD
        inside = target.removeprefix("docs/") if target.startswith("docs/") else pages.get(target)
        if inside is None:
            return match[0]
        return match[1] + posixpath.relpath(inside, posixpath.dirname(uri) or ".") + match[3]

    return LINK.sub(point, markdown)


class Doctests(griffe.Extension):
    """Shows doctests in docstrings as code."""

    def on_instance(self, *, obj, **_):
        """Put a fence around every doctest of an object that was read."""
        if obj.docstring and not obj.is_alias:
            fence = lambda match: f"{match[1]}```pycon\n{match[0].rstrip()}\n{match[1]}```\n"  # noqa: E731
            obj.docstring.value = DOCTEST.sub(fence, obj.docstring.value)
