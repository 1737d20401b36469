"""Conditions in SQL, made of nothing but ids."""

import re
from collections.abc import Iterable

ID = re.compile(r"[0-9a-f]+(-[0-9]+)?")


def among(column: str, ids: Iterable[str]) -> str:
    """The condition that a column is one of some ids, at least one.

    Raises:
        ValueError: one of them is no id, but could be anything else in SQL.
    """
    ids = list(ids)
    for given in ids:
        if not ID.fullmatch(given):
            raise ValueError(
                f"{given!r} is no id: ids are hexadecimal digits, those of windows with a hyphen "
                "and a number behind"
            )
    return f"{column} IN ({', '.join(map(repr, ids))})"
