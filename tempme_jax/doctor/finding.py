"""One line of the report of `tempme doctor`."""

import dataclasses
import enum
from typing import Any

GIB = 2**30


class State(enum.StrEnum):
    """The verdict of a finding; only MISSING keeps tempme_jax from working."""

    OK = "ok"
    MISSING = "missing"
    PROBLEM = "problem"
    OPTIONAL = "optional"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        topic: one word, such as "memory".
        state: the verdict.
        text: the result in words.
        cure: a command that fixes it, or advice if no command does; empty if all is well.
        values: the result for programs; sizes in bytes.
    """

    topic: str
    state: State
    text: str
    cure: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
