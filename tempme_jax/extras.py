"""Packages that only a part of tempme_jax needs: the extras, such as tempme-jax[search]."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence

PACKAGE = "tempme-jax"
# Extras that hold others, or what only developers need, are no answer to what is missing.
NO_ANSWER = {"all", "test", "docs", "dev", "torch"}
# Packages whose names differ from those that are imported.
IMPORTED_AS = {"faiss-cpu": "faiss"}
_EXTRA = re.compile(r"^([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]")


def list_extras() -> dict[str, set[str]]:
    """Return, by extra, the names that are imported of the packages that it installs.

    >>> "lancedb" in list_extras()["search"]
    True
    """
    try:
        required = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return {}
    found: dict[str, set[str]] = {}
    for package, extra in (m.groups() for line in required if (m := _EXTRA.match(line))):
        name = IMPORTED_AS.get(package, package)
        found.setdefault(extra, set()).add(_normalize(name))
    return {extra: names for extra, names in found.items() if extra not in NO_ANSWER}


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """Say what to install where a package is missing, or return None if no extra has it.

    >>> explain_missing(ModuleNotFoundError("No module named 'lancedb'", name="lancedb"))
    "this needs the package lancedb, which is not installed: pip install 'tempme-jax[search]'"
    """
    name = (error.name or "").partition(".")[0]
    for extra, names in list_extras().items():
        if _normalize(name) in names:
            return (
                f"this needs the package {name}, which is not installed: "
                f"pip install '{PACKAGE}[{extra}]'"
            )
    return None


def require_packages(names: Sequence[str]) -> None:
    """Raise a ModuleNotFoundError that says what to install, if one of the packages is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            error = ModuleNotFoundError(f"No module named {name!r}", name=name)
            raise ModuleNotFoundError(explain_missing(error) or str(error), name=name)


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
