"""Read JSON whose fields have known names and types.

A file that is damaged, or that another program wrote, gives one error that names the field, not a
TypeError somewhere later.
"""

import collections
import dataclasses
import json
import math
import reprlib
import types
import typing
from typing import Any

from tempme_jax.checks import require_one_of, suggest


class FieldError(ValueError):
    """JSON that cannot be read, or a field that is missing or has another type."""


def parse_json(data: str | bytes, place: str) -> Any:
    """Parse JSON from text, or from UTF-8 with or without a byte order mark.

    Args:
        data: the JSON.
        place: name of the file, for errors.

    Raises:
        FieldError: it is not JSON, or an object holds a name twice.
    """

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            raise FieldError(f"{place}: {counts.most_common(1)[0][0]!r} is there twice")
        return fields

    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=make_object)
    except FieldError:
        raise
    except UnicodeDecodeError as error:
        raise FieldError(f"{place}: is not UTF-8 text (at byte {error.start})") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        where = f"{line}column {error.colno}"
        raise FieldError(f"{place}: is not JSON ({error.msg}, {where})") from error
    except (ValueError, RecursionError) as error:  # a huge number, or nested too deeply
        raise FieldError(f"{place}: is not JSON that can be read") from error


def parse_fields(data: str | bytes, kind: Any, place: str) -> Any:
    """Parse JSON of a known type; see `parse_json` and `check_type`.

    >>> parse_fields('{"size": "big"}', dict[str, int], "sizes.json")
    Traceback (most recent call last):
    tempme_jax.fields.FieldError: sizes.json: size='big' must be a whole number
    """
    value = parse_json(data, place)
    try:
        return check_type("", value, kind)
    except ValueError as error:
        raise FieldError(f"{place}: {error}") from error


def check_type(name: str, value: Any, kind: Any) -> Any:
    """Return a value of the given type; raise a ValueError that names the field for any other.

    A whole number may stand for a float. A list becomes a tuple and a dictionary a dataclass where
    the type says so.

    Args:
        name: path of the field, such as "train.steps"; empty for the whole value.
        value: value of JSON's types, or of a config file.
        kind: a plain type, `Any`, `Literal`, a union, `list[T]`, `tuple[T, ...]`, `dict[str, T]`,
            a TypedDict (further names are allowed and kept) or a dataclass (they are refused).

    Raises:
        ValueError: `value` has another type, or one of its fields is missing or has another type.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Required, typing.NotRequired):
        return check_type(name, value, inner[0])
    if origin is typing.Literal:
        return require_one_of(value, inner, name)
    if origin in (typing.Union, types.UnionType):
        return _check_union(name, value, inner)
    if typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _check_fields(name, value, kind)
    if origin in (list, tuple):
        _require(name, value, isinstance(value, list | tuple), _describe(kind))
        items = [check_type(f"{name}[{i}]", item, inner[0]) for i, item in enumerate(value)]
        return items if origin is list else tuple(items)
    if origin is dict:
        _require(name, value, isinstance(value, dict), "an object with fields")
        return {key: check_type(_join(name, key), item, inner[1]) for key, item in value.items()}
    return _check_plain(name, value, kind)


# What the plain types are called in errors.
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object with fields",
    types.NoneType: "none",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", dict: "objects"}


def _check_plain(name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    fits = isinstance(value, kind) and (kind is bool or type(value) is not bool)
    _require(name, value, fits, _NAMES.get(kind, f"of type {kind.__name__}"))
    return value


def _check_union(name: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    errors = []
    for kind in sorted(kinds, key=lambda kind: kind is float):  # a whole number stays one
        try:
            return check_type(name, value, kind)
        except ValueError as error:
            if kind is not types.NoneType:
                errors.append(error)
    nested = isinstance(value, list | tuple | dict) and not set(kinds) <= _NAMES.keys()
    if len(errors) == 1 and nested:
        raise errors[0]  # which says where in it the fault is
    allowed = " or ".join(map(_describe, kinds))
    raise ValueError(f"{_assign(name, value)} must be {allowed}")


def _check_fields(name: str, value: Any, kind: Any) -> Any:
    _require(name, value, isinstance(value, dict), "an object with fields")
    hints = typing.get_type_hints(kind, include_extras=True)
    if typing.is_typeddict(kind):
        needed = [key for key in hints if key in kind.__required_keys__]
    else:
        for key in value.keys() - hints.keys():
            there = ", ".join(hints)
            raise ValueError(
                f"unknown field {_join(name, key)}{suggest(key, hints)}; there are: {there}"
            )
        missing = dataclasses.MISSING
        needed = [
            field.name
            for field in dataclasses.fields(kind)
            if field.default is missing and field.default_factory is missing
        ]
    for key in needed:
        if key not in value:
            raise ValueError(f"the field {_join(name, key)} is missing")
    known = {
        key: check_type(_join(name, key), item, hints[key])
        for key, item in value.items()
        if key in hints
    }
    return value | known if typing.is_typeddict(kind) else kind(**known)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) in (list, tuple):
        return "a list of " + _PLURALS.get(typing.get_args(kind)[0], "values")
    return _NAMES.get(kind, str(kind))


def _require(name: str, value: Any, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"{_assign(name, value)} must be {allowed}")


def _assign(name: str, value: Any) -> str:
    shown = reprlib.repr(value)  # of bounded depth and length
    return f"{name}={shown}" if name else shown


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
