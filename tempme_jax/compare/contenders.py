"""The paper's tables as comparisons that can be run: the files in `configs/tables/`."""

import dataclasses
import os
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from tempme_jax.compare.rows import PaperRow
from tempme_jax.compare.runs import Contender
from tempme_jax.methods import METHODS
from tempme_jax.plugins import load_installed
from tempme_jax.training.flags import find_config_file, make_importable

DEFAULT = "lora,tome,tempme"
# The short names of `configs/common.py`.
BACKBONES = {"ViT-B/32": "b32", "ViT-B/16": "b16", "UMT-B/16": "umt-b16", "UMT-B/16-QA": "umt-b16"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper; each file in `configs/tables/` defines one, called `TABLE`.

    Attributes:
        title: number and subject.
        rows: the rows, with the paper's settings.
        small: options of rows on the built-in set, whose model has 6 blocks and takes 8 frames, by
            the row's name: options of the method, `num_frames`, and a new `name`. None leaves the
            row out; a row that is not named has the options of the set's config.
        not_built_in: the reason why the built-in set cannot show this table; empty if it can.
        built_in: config of the built-in set, in the folder above the tables.
    """

    title: str
    rows: Sequence[PaperRow]
    small: Mapping[str, Mapping[str, Any] | None] = dataclasses.field(default_factory=dict)
    not_built_in: str = ""
    built_in: str = "moving_shapes.py"


def read_table(file: str | os.PathLike) -> Table | None:
    """Return the `TABLE` of a config file; None if it has none, as the config of a data set.

    The file is executed, as every config file is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its TABLE is not a `Table`.
    """
    file = find_config_file(os.fspath(file))
    make_importable([f"--config={file}"])
    table = runpy.run_path(file).get("TABLE")
    if not isinstance(table, Table | None):
        raise ValueError(
            f"TABLE in {file} is not a tempme_jax.compare.contenders.Table: {table!r:.60}"
        )
    return table


def choose_contenders(
    config: str, methods: str | None, data: str | None, recipe: str | None
) -> tuple[str, list[Contender], str]:
    """Return the config of a data set, the contenders, and a name for the workdir.

    Args:
        config: config file of a data set, or of a table. Words after a colon, such as "hard" in
            "configs/moving_shapes.py:hard", are given to the config for every method.
        methods: names separated by commas, or "all"; only for a data set.
        data: config file of a data set; only for a table.
        recipe: as in `make_contenders`.

    Raises:
        ValueError: if `methods` or words are given for a table, or `data` for a data set.
    """
    config, _, words = config.partition(":")
    config = find_config_file(config)
    table, stem = read_table(config), pathlib.Path(config).stem
    if table is None:
        if data:
            raise ValueError(f"--data={data} is for tables; {config} is a data set itself")
        if methods == "all":
            load_installed()
        names = list(METHODS) if methods == "all" else (methods or DEFAULT).split(",")
        names = [name.strip() for name in names]
        contenders = [Contender(n, ",".join(filter(None, (n, words, recipe)))) for n in names]
        return config, contenders, "-".join(filter(None, [stem, *words.split(",")]))
    if methods:
        raise ValueError(f"--methods={methods} is for data sets; {config} has rows of its own")
    if words:
        raise ValueError(f":{words} is for data sets; {config} has rows of its own")
    name = f"{stem}-{pathlib.Path(data).stem}" if data else stem
    built_in = os.fspath(pathlib.Path(config).parent.parent / table.built_in)
    return data or built_in, make_contenders(table, data, recipe or ""), name


def make_contenders(
    table: Table, data: str | os.PathLike | None = None, recipe: str = ""
) -> list[Contender]:
    """Return the rows of a table as contenders on a data set.

    Args:
        table: a table of the paper.
        data: config file of a data set; None for the built-in set with its tiny model.
        recipe: "own", "shared" or "single", as in `configs/common.py`; empty for the config's
            default.

    Raises:
        ValueError: if the table has no rows for that set.
    """
    if data is None:
        if table.not_built_in:
            raise ValueError(f"{table.title}: {table.not_built_in}")
        rows = [row for row in table.rows if table.small.get(row.name, {}) is not None]
        return [
            make_contender(row, table.small.get(row.name) or {}, "", recipe)
            for row in drop_repeated(rows)
        ]
    name = pathlib.Path(data).stem
    sets = sorted({row.data for row in table.rows})
    rows = [row for row in table.rows if row.data == name or len(sets) == 1]
    if not rows:
        raise ValueError(f"{table.title} has rows for {', '.join(sets)}, not for {data}")
    found = []
    for row in rows:
        options = row.options | {"num_frames": row.frames}
        found.append(make_contender(row, options, row.weights or BACKBONES[row.backbone], recipe))
    return found


def drop_repeated(rows: list[PaperRow]) -> list[PaperRow]:
    """Return the first row of each name; rows of one name differ only in their data set."""
    return list({row.name: row for row in reversed(rows)}.values())[::-1]


def make_contender(
    row: PaperRow, options: Mapping[str, Any], backbone: str, recipe: str
) -> Contender:
    """Return a row of the paper as a contender with these options."""
    options = dict(options)
    name = options.pop("name", row.name)
    flags = [f"--config.model.num_frames={n}" for n in [options.pop("num_frames", None)] if n]
    flags += [f"--config.model.options.{name}={value!r}" for name, value in options.items()]
    words = ",".join(filter(None, (row.method, backbone, recipe)))
    return Contender(name, words, tuple(flags), dict(row.printed), row.note)
