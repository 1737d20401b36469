"""Check the opcodes of a pickle before it is read."""

import pickletools

# Python computes the hash of a key by recursion, which would overflow the stack without an error.
DEEPEST = 500
# They put their last values into the one before these.
MUTATORS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MARK = -1


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
