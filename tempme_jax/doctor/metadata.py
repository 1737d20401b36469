"""The libraries that a package asks for in its metadata, beside those that are installed."""

import dataclasses
import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PACKAGE = "tempme-jax"
# Older versions have known faults that a request (Starlette: CVE-2025-62727) or a video can use.
SECURE = {"starlette": Version("0.49.1"), "av": Version("18.1")}


@dataclasses.dataclass(frozen=True)
class Library:
    """A library that is needed, and its installed version.

    Attributes:
        name: name of the distribution, as pip knows it.
        version: the installed version; None if there is none.
        wanted: the range that is allowed, such as ">=18.1,<20"; empty for any.
        fault: "missing", "out of range", or empty if all is well.
        unsafe: True if the installed version has known security holes.
    """

    name: str
    version: str | None
    wanted: str = ""
    fault: str = ""
    unsafe: bool = False

    @property
    def requirement(self) -> str:
        """Argument of `pip install`, such as "av>=18.1,<20"."""
        return self.name + self.wanted


def list_required(extra: str = "", *, package: str = PACKAGE) -> list[Library]:
    """Return the libraries that a package needs, or those that one of its extras adds.

    Raises:
        importlib.metadata.PackageNotFoundError: if the package is not installed.
    """
    needs = read_requirements(package, extra)
    # The extras of two libraries may need the same third.
    return list(dict.fromkeys(library for need in needs for library in compare_requirement(need)))


def list_extras(package: str = PACKAGE) -> list[str]:
    """Return the names of a package's extras."""
    return importlib.metadata.metadata(package).get_all("Provides-Extra") or []


def read_requirements(package: str, extra: str = "") -> Iterator[Requirement]:
    """Yield what a package requires on this system, or what one of its extras adds to that."""
    for line in importlib.metadata.requires(package) or ():
        need = Requirement(line)
        always = need.marker is None or need.marker.evaluate({"extra": ""})
        added = need.marker is not None and not always and need.marker.evaluate({"extra": extra})
        if added if extra else always:
            yield need


def compare_requirement(need: Requirement) -> Iterator[Library]:
    """Yield the required library, and those that its own extras named in `need` require."""
    version = find_version(need.name)
    least = SECURE.get(canonicalize_name(need.name))
    # ">=18.1" is easier to read before "<20".
    wanted = ",".join(sorted(map(str, need.specifier), reverse=True))
    yield Library(
        name=need.name,
        version=None if version is None else str(version),
        wanted=wanted,
        fault=find_fault(version, need.specifier),
        unsafe=least is not None and version is not None and version < least,
    )
    if version is not None:
        for extra in sorted(need.extras):
            for further in read_requirements(need.name, extra):
                yield from compare_requirement(further)


def find_fault(version: Version | None, wanted: SpecifierSet) -> str:
    """Return "missing", "out of range" or, if the version is allowed, an empty string."""
    if version is None:
        return "missing"
    # Whoever installed a preview of an allowed version chose it.
    return "" if wanted.contains(version, prereleases=True) else "out of range"


def find_version(name: str) -> Version | None:
    """Return the version of a library; None if it, or all but its folder, is not installed."""
    try:
        return Version(importlib.metadata.version(name))
    # The last two are raised for a folder of metadata that names no version.
    except (importlib.metadata.PackageNotFoundError, InvalidVersion, KeyError, TypeError):
        return None


def compare_python(version: str, package: str = PACKAGE) -> Library:
    """Return a version of Python beside the range that the package asks for."""
    wanted = importlib.metadata.metadata(package)["Requires-Python"] or ""
    return Library("Python", version, wanted, find_fault(Version(version), SpecifierSet(wanted)))
