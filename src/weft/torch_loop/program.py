"""A function of tensors as a program of PyTorch: traced once, then run without Python between its operations.

PyTorch's AOTAutograd writes the operations of forward and backward down. They are simplified in three ways, none of
which changes a bit of the result: what only renames a tensor is left out, what is computed twice is computed once, and
a tensor is spread to a larger shape as late as possible, so that powers of two are taken of widths and not of batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from functorch.compile import aot_function, default_partition, make_boxed_func
from torch import fx

_aten = torch.ops.aten
_RENAMES = (_aten.detach.default, _aten.alias.default, _aten.lift_fresh_copy.default)
_EXPAND = _aten.expand.default
_FUNCTIONS = """abs add amax amin any ceil clone detach div eq exp floor ge gt le log2 lt maximum mean minimum mm mul ne
neg permute pow prod relu round rsub sgn sub sum t where"""
_DIRECT: dict[Any, Any] = {getattr(_aten, name): getattr(torch, name) for name in _FUNCTIONS.split()}
_DIRECT |= {_aten.expand: torch.Tensor.expand, _aten.view: torch.Tensor.view}
"""Python's own way to an operation, which takes half as long as the one that a traced graph goes."""


def traced(function: Callable[..., Any], compiler: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function of trees of tensors as a program for the shapes, types and devices of its first call.

    Args:
        function: It computes with nothing but its arguments, and returns a tree of tensors.
        compiler: Makes something faster of a graph of operations, `torch.compile` for one.
    """

    def compiled(graph: fx.GraphModule, _: Any) -> Callable[..., Any]:
        simplify(graph)
        return make_boxed_func(graph.forward if compiler is None else compiler(graph))

    return aot_function(function, compiled, compiled, default_partition)


def simplify(graph: fx.GraphModule) -> None:
    """Leave out of a graph of ATen operations what is not needed; its results stay the same to the last bit."""
    kept = set(next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes)
    known: dict[Any, fx.Node] = {}
    for node in graph.graph.nodes:  # nodes made on the way come after it, and are looked at, too
        if node.op != "call_function":
            continue
        if node not in kept and node.target in _RENAMES:
            node.replace_all_uses_with(node.args[0])
            continue
        if torch.Tag.pointwise in getattr(node.target, "tags", ()):
            _spread_later(graph.graph, node)
        if node in kept or not _repeats(node.target):
            continue
        try:
            same = known.setdefault((node.target, node.args, tuple(node.kwargs.items())), node)
        except TypeError:  # a list among the arguments
            continue
        if same is not node:
            node.replace_all_uses_with(same)
    graph.graph.eliminate_dead_code()
    for node in graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = _DIRECT.get(node.target.overloadpacket, node.target)
    graph.recompile()


def _repeats(target: Any) -> bool:
    """Say whether an operation gives the same whenever it is given the same, and changes nothing."""
    return (
        isinstance(target, torch._ops.OpOverload)
        and not target._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in target.tags
    )


def _spread_later(graph: fx.Graph, node: fx.Node) -> None:
    """Let a pointwise operation read tensors before they are expanded, and expand its result instead."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return
    before = {one: one.all_input_nodes[0] for one in node.all_input_nodes if one.target is _EXPAND}
    if not before:
        return
    given = [before.get(one, one) for one in node.all_input_nodes]
    shape = torch.broadcast_shapes(*(one.meta["val"].shape for one in given))
    for one, narrow in before.items():
        node.replace_input_with(one, narrow)
    if shape == value.shape:
        return
    with graph.inserting_after(node):
        wide = graph.call_function(_EXPAND, (node, list(value.shape)))
    wide.meta["val"] = value
    node.meta["val"] = value.new_empty(shape)
    node.replace_all_uses_with(wide, delete_user_cb=lambda user: user is not wide)
