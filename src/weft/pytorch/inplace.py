"""Operations in place: who reads the tensor later reads the new value; who reads a view of it is an error.

`x += y` and `relu_(x)` change x, and with it every view of x. In a graph there are no tensors to be changed, only
values. So each is taken as a new value, which takes the place of the old one from there on.
"""

from __future__ import annotations

from typing import Any

from weft.errors import UnsupportedError
from weft.pytorch.trace import Program

_VIEWS = frozenset(
    "view reshape flatten transpose permute getitem chunk split squeeze unsqueeze narrow expand unflatten contiguous "
    "detach select slice unbind movedim moveaxis swapaxes t T mT alias to float split_with_sizes dropout Identity "
    "Flatten Unflatten Dropout".split()
)
_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv", "ipow"})


def is_inplace(program: Program, node: Any) -> bool:
    """Whether a node changes the first tensor that it reads."""
    name = program.name(node)
    if node.op == "call_module":
        return bool(getattr(program.code.get_submodule(str(node.target)), "inplace", False))
    ends = name.endswith("_") and not name.endswith("__")
    position = {"relu": 1, "relu6": 1, "silu": 1, "hardswish": 1, "hardsigmoid": 1, "leaky_relu": 2, "elu": 2}
    flag = node.kwargs.get("inplace", False)
    if node.op == "call_function" and not hasattr(node.target, "_schema") and len(node.args) > position.get(name, 99):
        flag = flag or node.args[position[name]] is True
    return ends or name in _OPERATORS or flag is True


def resolve(program: Program) -> None:
    """Let those who read a changed tensor later read the new value; refuse where they read it by a view.

    Raises:
        UnsupportedError: All operations in place of which a view is read later, with their places.
    """
    nodes = list(program.code.graph.nodes)
    order = {node: i for i, node in enumerate(nodes)}
    tensor: dict[Any, Any] = {}  # the node that made the tensor which a node gives
    memory: dict[Any, Any] = {}  # the node that made the memory which it lies in
    problems = []
    for node in nodes:
        tensor[node] = memory[node] = node
        first = node.all_input_nodes[0] if node.all_input_nodes else None
        if first is None or first not in program.moving:
            continue
        if program.name(node) in _VIEWS:
            memory[node] = memory[first]
        if not is_inplace(program, node):
            continue
        for other in [one for one in memory if memory[one] is memory[first] and one is not node]:
            late = [user for user in other.users if order[user] > order[node]]
            if tensor[other] is tensor[first]:
                for user in late:
                    user.replace_input_with(other, node)
            elif late:
                problems.append(
                    f"'{program.place(node) or 'forward'}' ({program.name(node)}) changes a tensor in place, and "
                    f"'{program.place(late[0]) or 'forward'}' ({program.name(late[0])}) reads it later through a view; "
                    "write it out of place: y = x + 1 in place of x += 1, nn.ReLU() in place of nn.ReLU(inplace=True)"
                )
        tensor[node], memory[node] = tensor[first], memory[first]
    if problems:
        raise UnsupportedError("cannot convert operations that change the graph:\n- " + "\n- ".join(problems))
