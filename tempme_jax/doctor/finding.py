"""What `tempme doctor` says of something that it looked at."""

import dataclasses
import enum
from collections.abc import Callable, Iterable
from typing import Any

GIB = 2**30


class State(enum.StrEnum):
    """What a finding means: only what is MISSING keeps tempme_jax from working."""

    OK = "ok"
    MISSING = "missing"
    PROBLEM = "problem"
    OPTIONAL = "optional"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        topic: what it belongs to, in a word.
        state: what it means.
        text: what was found.
        cure: what to do, as a command wherever there is one; empty if nothing.
        values: the same and more, for programs; sizes in bytes.
    """

    topic: str
    state: State
    text: str
    cure: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


Probe = Callable[[], Iterable[Finding]]


Probe = Callable[[], Iterable[Finding]]
