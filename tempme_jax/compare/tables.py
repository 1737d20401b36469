"""Tables of the paper as comparisons that can be run: the files in `configs/tables/`."""

import dataclasses
import os
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from tempme_jax.compare.paper import Row
from tempme_jax.compare.runs import Entry
from tempme_jax.methods import METHODS
from tempme_jax.training.flags import make_importable

DEFAULT = "lora,tome,tempme"
# Beside the folder of the tables.
BUILT_IN = "moving_shapes.py"
# The short names of `configs/common.py`.
BACKBONES = {"ViT-B/32": "b32", "ViT-B/16": "b16"}


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows that belong together; a file in `configs/tables/` names one `TABLE`.

    Attributes:
        title: what the table is of.
        rows: with the paper's settings.
        small: by a row's name, its options on the built-in set, whose model has 6 blocks and 8
            frames: those of the method, `num_frames`, and the row's `name` there. None = that row
            is left out there. What is not named here has the options of that set's config.
        not_built_in: why the built-in set cannot show this table; empty = it can.
    """

    title: str
    rows: tuple[Row, ...]
    small: Mapping[str, Mapping[str, Any] | None] = dataclasses.field(default_factory=dict)
    not_built_in: str = ""


def read(file: str | os.PathLike) -> Table | None:
    """The table that a file names; None if it names none, as the config of a data set.

    The file is run, as every config file is.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not pathlib.Path(file).is_file():
        raise FileNotFoundError(
            f"there is no config file {os.fspath(file)}; name a file such as "
            "configs/msrvtt.py, without a method behind it, or configs/tables/table2.py"
        )
    make_importable([f"--config={os.fspath(file)}"])
    table = runpy.run_path(os.fspath(file)).get("TABLE")
    if not isinstance(table, Table | None):
        raise ValueError(
            f"TABLE in {os.fspath(file)} is no tempme_jax.compare.tables.Table: {table!r:.60}"
        )
    return table


def chosen(
    config: str, methods: str | None, data: str | None, recipe: str | None
) -> tuple[str, list[Entry], str]:
    """What `tempme compare` runs: the config of a data set, the rows, and a name for both.

    Args:
        config: a file, of a data set or of a table.
        methods: names by commas, or "all", for a data set.
        data: the config of a data set, for a table.
        recipe: see `entries`.

    Raises:
        ValueError: if the two kinds of file are mixed up.
    """
    table, stem = read(config), pathlib.Path(config).stem
    if table is None:
        if data:
            raise ValueError(f"--data={data} is for tables; {config} is a data set by itself")
        names = list(METHODS) if methods == "all" else (methods or DEFAULT).split(",")
        names = [name.strip() for name in names]
        return config, [Entry(n, ",".join(filter(None, (n, recipe)))) for n in names], stem
    if methods:
        raise ValueError(f"--methods={methods} is for data sets; {config} names its rows by itself")
    name = f"{stem}-{pathlib.Path(data).stem}" if data else stem
    built_in = os.fspath(pathlib.Path(config).parent.parent / BUILT_IN)
    return data or built_in, entries(table, data, recipe or ""), name


def entries(table: Table, data: str | os.PathLike | None = None, recipe: str = "") -> list[Entry]:
    """The rows of a table as runs on a data set.

    Args:
        table: of the paper.
        data: the config file of a data set; None = the built-in set, with its tiny model.
        recipe: "own" or "shared", as `configs/common.py` takes them; empty = what the data set's
            config does by itself.

    Raises:
        ValueError: if the table has no rows for that set; it says why.
    """
    if data is None:
        if table.not_built_in:
            raise ValueError(f"{table.title}: {table.not_built_in}")
        rows = [row for row in table.rows if table.small.get(row.name, {}) is not None]
        return [entry_of(row, table.small.get(row.name, {}), "", recipe) for row in unlike(rows)]
    name = pathlib.Path(data).stem
    sets = sorted({row.data for row in table.rows})
    rows = [row for row in table.rows if row.data == name or len(sets) == 1]
    if not rows:
        raise ValueError(f"{table.title} is of {', '.join(sets)}; there are no rows for {data}")
    return [
        entry_of(
            row, row.options | {"num_frames": row.frames},
            row.weights or BACKBONES[row.backbone], recipe,
        ) for row in rows
    ]  # fmt: skip


def unlike(rows: list[Row]) -> list[Row]:
    """Rows without those that an earlier one of the same name stands for, of another set."""
    return list({row.name: row for row in reversed(rows)}.values())[::-1]


def entry_of(row: Row, options: Mapping[str, Any], backbone: str, recipe: str) -> Entry:
    """A row with some options."""
    options = dict(options)
    name = options.pop("name", row.name)
    flags = [f"--config.model.num_frames={n}" for n in [options.pop("num_frames", None)] if n]
    flags += [f"--config.model.options.{name}={value!r}" for name, value in options.items()]
    printed = {name: getattr(row, name) for name in ("trainable", "gflops", "tokens")}
    printed |= {"R@1": row.recall_1, "R-Sum": row.recall_sum}
    words = ",".join(filter(None, (row.method, backbone, recipe)))
    return Entry(name, words, tuple(flags), printed)
