"""Checks of the pickle in a PyTorch file, before it is read: how deep it nests, what it names.

Values that are no tensors become stand-ins: nothing is imported, nothing is called.
"""

import pickletools
import re
import sys
from typing import Any

# Values of the standard library, of NumPy and of PyTorch that stand beside weights and do nothing.
INERT = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|collections\.(Counter|deque)|datetime\.\w+"
    r"|pathlib\.\w+|(builtins|__builtin__)\.(set|frozenset|complex|bytearray|range|xrange|slice"
    r"|Ellipsis|NotImplemented|object|int|long|float|str|unicode|bytes|bool|list|dict|tuple)|_codecs\.encode"
    r"|(copyreg|copy_reg)\.(_reconstructor|__newobj__)|decimal\.Decimal|fractions\.Fraction"
    r"|uuid\.(UUID|SafeUUID)|zoneinfo\.ZoneInfo(\._unpickle)?|functools\.partial|enum\.\w+"
    r"|time\.struct_time|random\.Random"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|_?core\.numeric\._frombuffer|ndarray"
    r"|dtype|dtypes\.\w+|random\.\w+\.\w+|(u?int|float|complex|bool|str|bytes)\d*_?)"
    r"|torch\.(Size|device|dtype|layout|Generator|Tensor|nn\.parameter\.Parameter|strided"
    r"|contiguous_format|channels_last|preserve_format|float\d*\w*|bfloat16|double|half"
    r"|complex\d+|long|short|bool|q?u?int\d+|serialization\._get_layout|optim\.[\w.]+"
    r"|(cuda\.)?amp\.grad_scaler\.[\w.]+)"
)
# Modules whose names mean something: of them, only what is listed is admitted. Values of all other
# packages become stand-ins.
GUARDED = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands", "torch", "numpy"}
# Python computes the hash of a key by recursion, which would overflow the stack without an error.
DEEPEST = 500
# They put their last values into the one before these.
MUTATORS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MARK = -1


class StandIn:
    """A stand-in for a value that is no tensor: it takes everything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        return object.__new__(cls)

    def _ignore(*args: Any, **kwargs: Any) -> None:
        pass

    __init__ = __setstate__ = __setitem__ = append = extend = add = update = _ignore

    def __call__(self, *args: Any, **kwargs: Any) -> "StandIn":
        return self


def may_stand_in(module: str, name: str) -> bool:
    """Return whether a stand-in may take the place of what a pickle refers to.

    >>> may_stand_in("argparse", "Namespace"), may_stand_in("os", "system")
    (True, False)
    """
    guarded = module.partition(".")[0] in GUARDED
    return not guarded or INERT.fullmatch(f"{module}.{name}") is not None


def check_opcodes(pickled: bytes) -> str:
    """Return what is wrong with a pickle that would fill the memory or the stack; "" if nothing is.

    Raises:
        Exception: if it is damaged; the standard library names many kinds.
    """
    stack: list[int] = []
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name.endswith("PUT"):
            number = argument or 0
            # Python allocates up to the highest memo number at once.
            if number > len(pickled):
                return f"has {len(pickled)} bytes for {number} values"
            memo[number] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument or 0])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif follow(opcode, stack) > DEEPEST:
            return f"nests values more than {DEEPEST} deep"
    return ""


def follow(opcode: pickletools.OpcodeInfo, stack: list[int]) -> int:
    """Replace what an opcode takes from the stack; return how deep what it makes is nested."""
    taken: list[int] = []
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while (depth := stack.pop()) != _MARK:
            taken.append(depth)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    deepest = max(taken, default=-1) + 1
    if opcode.name in MUTATORS:
        deepest = taken[-1]
    stack.extend([deepest] * len(opcode.stack_after))
    return deepest
