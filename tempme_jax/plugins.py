"""Methods and data sets from outside the package.

A plugin is a Python file or module that adds rows to `tempme_jax.METHODS` or to
`tempme_jax.datasets.DATASETS`. A user gives it by `--plugin` or `load_plugin`. Installed packages
name theirs as entry points of the group "tempme_jax.plugins"; they are imported when a name is
asked for that is not in the tables.

Plugins are code, and only what the user gave or installed is run. A workdir notes its plugin, which
is run only if this user has given it before. A file of weights only names it in an error.
"""

import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterable
from typing import Any

from tempme_jax.checks import require_one_of, suggest
from tempme_jax.compile_cache import find_home_folder
from tempme_jax.files import write_text

# The group of the entry points of installed packages.
GROUP = "tempme_jax.plugins"
# The file that lists the plugins that the user has given, in the user's cache.
GIVEN = "plugins.txt"
# What a name may look like; "+", "," and ":" have a meaning beside it.
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class PluginError(ValueError):
    """A plugin cannot be found, imported or used."""


@dataclasses.dataclass
class Table:
    """A table that plugins add rows to.

    Attributes:
        kind: what a row is called, such as "method".
        rows: the rows by their names.
        find_problem: says what is wrong with a row of a given name; empty if nothing is.
        known: the rows before the plugin that is being imported.
        sources: the plugins that rows come from, by the names of the rows.
    """

    kind: str
    rows: dict[str, Any]
    find_problem: Callable[[str, Any], str]
    known: dict[str, Any]
    sources: dict[str, str] = dataclasses.field(default_factory=dict)

    def accept_rows(self, source: str) -> None:
        """Note the rows that a plugin has added.

        Raises:
            PluginError: if one of them is wrong, or others are gone.
        """
        if gone := sorted(self.known.keys() - self.rows.keys()):
            raise PluginError(
                f"the plugin {source} takes away the {self.kind} {gone[0]!r}; it may only add rows"
            )
        for name, row in self.rows.items():
            if self.known.get(name) is row:
                continue
            problem = self.find_problem(name, row)
            if name in self.known:
                problem = "this name is taken; choose another one"
            elif not NAME.fullmatch(name):
                problem = "a name has letters, digits, and - _ . between them"
            if problem:
                raise PluginError(f"the plugin {source} adds the {self.kind} {name!r}: {problem}")
        self.sources |= dict.fromkeys(self.rows.keys() - self.known.keys(), source)

    def drop_rows(self) -> None:
        """Leave the rows as they were before a plugin failed."""
        self.rows.clear()
        self.rows.update(self.known)
        self.sources = {name: source for name, source in self.sources.items() if name in self.known}


TABLES: dict[str, Table] = {}
# The modules of the plugins, by what `resolve` returns for them.
LOADED: dict[str, types.ModuleType] = {}


def add_table(
    kind: str, rows: dict[str, Any], find_problem: Callable[[str, Any], str]
) -> dict[str, Any]:
    """Let plugins add rows to a table, and return the rows; the arguments are those of `Table`."""
    TABLES[kind] = Table(kind, rows, find_problem, dict(rows))
    return rows


def find_row(kind: str, name: str) -> Any:
    """Return a row of a table, of an installed plugin if need be.

    Raises:
        ValueError: if there is no such row; it names similar ones, and installed plugins that fail.
    """
    table = TABLES[kind]
    if name not in table.rows and (problems := load_installed()) and name not in table.rows:
        raise ValueError(f"unknown {kind}: {name!r}; an installed plugin fails: {problems[0]}")
    return table.rows[require_one_of(name, table.rows, kind)]


def find_source(kind: str, name: str) -> str:
    """Return the plugin that a row comes from; empty if it is the package's own."""
    return TABLES[kind].sources.get(name, "") if kind in TABLES else ""


def load_plugin(source: str | os.PathLike) -> str:
    """Import a plugin, which adds methods or data sets.

    It is noted in the user's cache that the user has given it, so workdirs trained with it open
    without asking again.

    Args:
        source: a Python file, such as "mine.py", or the name of a module.

    Returns:
        The absolute path of the file, or the name of the module.

    Raises:
        PluginError: if it is not there, fails, or adds what cannot be used. Nothing is added then.
    """
    resolved = resolve(source)
    import_plugin(resolved)
    remember(resolved)
    return resolved


def load_recorded(sources: Iterable[str], place: str | os.PathLike) -> None:
    """Import the plugins that a workdir names, if the user has given or installed them before.

    Raises:
        PluginError: if one was not, or fails.
    """
    trusted = {*LOADED, *read_given(), *list_installed()}
    for source in sources:
        if source not in trusted:
            raise PluginError(
                f"{os.fspath(place)} needs the plugin {source}, which you have not given on this "
                f"computer. It is code that would run: if you trust it, give --plugin {source}, or "
                f"in Python tempme_jax.load_plugin({source!r})"
            )
        import_plugin(source)


def load_installed() -> list[str]:
    """Import the plugins of installed packages; return what is wrong with those that fail."""
    problems = []
    for source in list_installed():
        try:
            import_plugin(source)
        except PluginError as error:
            problems.append(str(error))
    return problems


def list_installed() -> list[str]:
    """Return the names of the modules that installed packages name as plugins."""
    return [entry.module for entry in importlib.metadata.entry_points(group=GROUP)]


def resolve(source: str | os.PathLike) -> str:
    """Return the absolute path of a file, or the name of a module as it is."""
    text = os.fspath(source)
    is_path = isinstance(source, os.PathLike) or text.endswith(".py") or os.sep in text
    return os.path.abspath(os.path.expanduser(text)) if is_path else text


def import_plugin(source: str) -> None:
    """Import a plugin, by what `resolve` returned, and take its rows; only the first time."""
    if source in LOADED:
        return
    importing = import_file if os.path.isabs(source) else import_module
    for table in TABLES.values():
        table.known = dict(table.rows)
    try:
        module = importing(source)
        for table in list(TABLES.values()):
            table.accept_rows(source)
    except BaseException:
        for table in TABLES.values():
            table.drop_rows()
        raise
    LOADED[source] = module


def import_file(path: str) -> types.ModuleType:
    """Import a Python file, which can import its neighbours."""
    file = pathlib.Path(path)
    if file.is_dir():
        raise PluginError(f"the plugin {path} is a folder; give its Python file")
    if not file.is_file():
        near = [str(other) for other in file.parent.glob("*.py")]
        raise PluginError(f"there is no plugin {path}{suggest(path, near)}")
    # Its own name, under which Python finds the types of its classes.
    name = f"{file.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"the plugin {path} is not a Python file; let its name end in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(describe_failure(path, error)) from error
    return module


def import_module(name: str) -> types.ModuleType:
    """Import a module by its name."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        if missing:
            raise PluginError(
                f"there is no module {name!r} for a plugin; install its package, or give its file, "
                "whose name ends in .py"
            ) from error
        raise PluginError(describe_failure(name, error)) from error


def describe_failure(source: str, error: BaseException) -> str:
    """Return the words of the error for a plugin that fails while it is imported."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        line = frame.lineno if frame.filename == source else line
    where = f" in line {line}" if line else ""
    return f"the plugin {source} fails{where}: {type(error).__name__}: {error}"


def read_given() -> Collection[str]:
    """Return the plugins that the user has given."""
    try:
        return (find_home_folder() / GIVEN).read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError, UnicodeDecodeError):
        return ()


def remember(source: str) -> None:
    """Note that the user has given a plugin, if there is a cache that can be written to."""
    given = read_given()
    if source in given or "\n" in source:
        return
    try:
        folder = find_home_folder()
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / GIVEN, "".join(f"{one}\n" for one in [*given, source]))
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError
        pass
