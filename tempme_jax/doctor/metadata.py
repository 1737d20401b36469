"""Which libraries are installed, against what the metadata of an installed package asks for."""

import dataclasses
import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PACKAGE = "tempme-jax"
# Older ones have known faults that a request (Starlette: CVE-2025-62727) or a video can use.
SECURE = {"starlette": Version("0.49.1"), "av": Version("18.1")}


@dataclasses.dataclass(frozen=True)
class Library:
    """A library, as it is and as it should be.

    Attributes:
        name: of the distribution, as pip knows it.
        version: the installed one; None if there is none.
        wanted: the range that is allowed, such as ">=18.1,<20"; empty for any.
        fault: "missing", "too old", "too new" or "not allowed"; empty if all is well.
        unsafe: whether it is older than the first that is known to be secure.
    """

    name: str
    version: str | None
    wanted: str = ""
    fault: str = ""
    unsafe: bool = False

    @property
    def requirement(self) -> str:
        """What pip is to install, such as "av>=18.1,<20"."""
        return self.name + self.wanted


def required(extra: str = "", *, package: str = PACKAGE) -> list[Library]:
    """The libraries that a package needs, or that one of its extras needs beyond these.

    Those that must be secure are among the former wherever they are installed.

    Raises:
        importlib.metadata.PackageNotFoundError: if the package is not installed.
    """
    needs = list(requirements(package, extra))
    if not extra:
        named = {canonicalize_name(need.name) for need in needs}
        others = [name for name in SECURE if name not in named and installed(name)]
        needs += [Requirement(name) for name in others]
    # The extras of two libraries may need the same third.
    return list(dict.fromkeys(library for need in needs for library in examined(need)))


def extras(package: str = PACKAGE) -> list[str]:
    """The names of a package's extras."""
    return importlib.metadata.metadata(package).get_all("Provides-Extra") or []


def requirements(package: str, extra: str = "") -> Iterator[Requirement]:
    """What a package needs here, or what one of its extras needs beyond that."""
    for line in importlib.metadata.requires(package) or ():
        need = Requirement(line)
        always = need.marker is None or need.marker.evaluate({"extra": ""})
        if extra:
            if not always and need.marker.evaluate({"extra": extra}):
                yield need
        elif always:
            yield need


def examined(need: Requirement) -> Iterator[Library]:
    """The library that is needed, and those that its own extras in `need` need."""
    version = installed(need.name)
    limits = set(need.specifier)
    least = SECURE.get(canonicalize_name(need.name))
    if least is not None:
        limits.add(Specifier(f">={least}"))
    # ">=18.1" is read before "<20".
    wanted = ",".join(sorted(map(str, limits), reverse=True))
    unsafe = least is not None and version is not None and version < least
    text = None if version is None else str(version)
    yield Library(need.name, text, wanted, fault(version, limits), unsafe)
    if version is not None:
        for extra in sorted(need.extras):
            for further in requirements(need.name, extra):
                yield from examined(further)


def fault(version: Version | None, limits: set[Specifier]) -> str:
    """What is wrong with a version; empty if nothing is."""
    if version is None:
        return "missing"
    # A preview of a version that is allowed was chosen by whoever installed it.
    broken = [limit for limit in limits if not limit.contains(version, prereleases=True)]
    if not broken:
        return ""
    if any(limit.operator == "!=" or "*" in limit.version for limit in broken):
        return "not allowed"
    below = any(
        version < Version(limit.version) and limit.operator in (">=", ">", "==", "~=")
        for limit in broken
    )
    return "too old" if below else "too new"


def installed(name: str) -> Version | None:
    """The version of a library; None if it is not installed, or only remains of it are."""
    try:
        return Version(importlib.metadata.version(name))
    # The latter two: a folder of metadata that names no version.
    except (importlib.metadata.PackageNotFoundError, InvalidVersion, KeyError, TypeError):
        return None


def python(version: str, package: str = PACKAGE) -> Library:
    """Python itself, of some version, as a library of the package."""
    wanted = importlib.metadata.metadata(package)["Requires-Python"] or ""
    limits = set(Requirement(f"python{wanted}").specifier)
    return Library("Python", version, wanted, fault(Version(version), limits))
