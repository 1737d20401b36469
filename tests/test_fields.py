"""Typed reading of JSON: every mistake is one error that names the file and the field."""

import dataclasses
import json
import random
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from tempme_jax.fields import FieldError, check_type, parse_fields, parse_json


class Header(TypedDict):
    version: str
    sizes: dict[str, int]
    rate: NotRequired[float | None]


@dataclasses.dataclass
class Point:
    x: float
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"a": 1, "a": 2}', "f.json: 'a' is there twice"),
        ("[" * 100_000, "f.json: is not JSON that can be read"),
        ("1" * 5000, "f.json: is not JSON that can be read"),
        ("{'a': 1}", "f.json: is not JSON .*column 2"),
        (b"\xff\xfe{}", "f.json: is not UTF-8 text .at byte 0"),
        ("", "f.json: is not JSON"),
    ],
)
def test_what_is_no_json(data, message):
    with pytest.raises(FieldError, match=message):
        parse_json(data, "f.json")


def test_a_byte_order_mark_is_taken():
    assert parse_json(b"\xef\xbb\xbf[1]", "f.json") == [1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "f.json: .* must be an object with fields"),
        ({"sizes": {}}, "the field version is missing"),
        ({"version": 1, "sizes": {}}, "version=1 must be text"),
        ({"version": "1", "sizes": {"a": "x"}}, "sizes.a='x' must be a whole number"),
        ({"version": "1", "sizes": {"a": True}}, "sizes.a=True must be a whole number"),
        ({"version": "1", "sizes": {}, "rate": []}, "rate=.. must be a number or none"),
    ],
)
def test_what_is_no_header(value, message):
    with pytest.raises(FieldError, match=message):
        parse_fields(json.dumps(value), Header, "f.json")


def test_names_of_later_versions_are_kept():
    value = {"version": "1", "sizes": {"a": 1}, "rate": 2, "later": [1]}
    assert parse_fields(json.dumps(value), Header, "f.json") == value


def test_dataclasses_are_made_and_refuse_other_names():
    assert check_type("", {"x": 1, "names": ["a"]}, Point) == Point(1.0, ("a",))
    with pytest.raises(ValueError, match="unknown field point.y; there are: x, names"):
        check_type("point", {"x": 1, "y": 2}, Point)
    with pytest.raises(ValueError, match="the field point.x is missing"):
        check_type("point", {}, Point)


def test_whole_numbers_and_numbers():
    assert isinstance(check_type("n", 1, float), float)
    assert isinstance(check_type("n", 1, float | int), int)
    assert check_type("n", 10**400, float) == float("inf")
    assert check_type("n", "a", Literal["a", "b"]) == "a"


def test_any_type_in_any_place_is_an_error_of_ours():
    draw = random.Random(0)
    wrong: list[Any] = [None, True, 0, -1, 1e400, "x", "\ud800", [], [[]], {}, {"a": {}}]
    good = {"version": "1", "sizes": {"a": 1, "b": 2}, "rate": 1.0}
    for _ in range(200):
        value = json.loads(json.dumps(good))
        place = draw.choice([value, value["sizes"]])
        place[draw.choice([*place, "new"])] = draw.choice(wrong)
        try:
            assert parse_fields(json.dumps(value), Header, "f.json").keys() >= good.keys() - {
                "rate"
            }
        except FieldError as error:
            assert str(error).startswith("f.json: ")
