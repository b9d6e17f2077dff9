"""The operations of a module in order: by `torch.fx`, which keeps its layers whole, or else by `torch.export`.

The program is run once on some rows. What does not depend on them, sizes and weights and what is computed of these, is
known from then on; only what does depend on them is converted.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx
from torch import nn
from torch.fx.node import Argument

from weft.errors import UnsupportedError
from weft.pytorch.example import quiet, silent
from weft.pytorch.operations import MODULES


@dataclass
class Program:
    """A traced module.

    Attributes:
        code: Its graph, with its weights.
        seen: What each node gave for the rows.
        exported: Whether it comes from `torch.export`.
        moving: The nodes that depend on the rows.
    """

    code: torch.fx.GraphModule
    seen: dict[torch.fx.Node, Any]
    exported: bool
    moving: set[torch.fx.Node] = field(default_factory=set)

    def place(self, node: torch.fx.Node) -> str:
        """Return where in the user's module tree a node stands."""
        if node.op == "call_module":
            return str(node.target)
        stack = node.meta.get("nn_module_stack") or {}
        paths = [path for path, _ in stack.values()]
        return (
            re.sub(r"@\d+$", "", str(paths[-1]).removeprefix("L['self'].").removeprefix("L['self']")) if paths else ""
        )

    def name(self, node: torch.fx.Node) -> str:
        """Return what a node does, in one word."""
        if node.op == "call_module":
            return type(self.code.get_submodule(str(node.target))).__name__
        if node.op == "call_method":
            return str(node.target)
        target: Any = node.target
        if target is getattr:
            return str(node.args[1])
        if hasattr(target, "_schema"):
            return str(target._schema.name.split("::")[-1])
        return str(getattr(target, "__name__", target))


_CHECKS = ("_assert_is_none", "_assert", "eq")


class _Tracer(torch.fx.Tracer):
    """Leaves whole what has a handler, and notes where in the module tree it is."""

    def __init__(self) -> None:
        super().__init__()
        self.place = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_torch(m)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        before, self.place = self.place, self.path_of_module(m)
        found = super().call_module(m, forward, args, kwargs)
        self.place = before
        return found


def _is_torch(m: nn.Module) -> bool:
    return type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)


def trace(module: nn.Module, rows: Mapping[str, torch.Tensor]) -> Program:
    """Trace a module and run it on rows.

    Raises:
        UnsupportedError: Neither way can: what it computes depends on the data in a way that no graph has.
    """
    tracer = _Tracer()
    try:
        program = _traced(module, rows, tracer)
    except Exception as error:
        if "item assignment" in str(error):
            raise _refusal(module, tracer.place, error, error) from error
        try:
            with silent():
                program = _exported(module, rows)
        except Exception as other:  # noqa: BLE001 - and so does what torch.export makes of it
            raise _refusal(module, tracer.place, error, other) from error
    _mark(program)
    return program


def _traced(module: nn.Module, rows: Mapping[str, torch.Tensor], tracer: _Tracer) -> Program:
    if type(module).__name__ in MODULES and _is_torch(module):
        return _run(_whole(module, rows), list(rows.values()), exported=False)
    parameters = inspect.signature(module.forward).parameters
    given = {name: one.default for name, one in parameters.items() if name not in rows and one.default is not one.empty}
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters.values()):
        raise TypeError("forward takes *args or **kwargs")
    graph = tracer.trace(module, concrete_args=given or None)
    for node in reversed(
        graph.nodes
    ):  # what torch.fx makes of arguments that keep their default, and its checks of them
        checks = node.op == "call_function" and getattr(node.target, "__name__", "") in _CHECKS
        default = node.op == "placeholder" and str(node.target) not in rows
        if not node.users and (checks or default):
            graph.erase_node(node)
    with quiet():
        code = torch.fx.GraphModule(module, graph)
    inputs = [rows[name] for name in (str(node.target) for node in graph.nodes if node.op == "placeholder")]
    return _run(code, inputs, exported=False)


def _whole(module: nn.Module, rows: Mapping[str, torch.Tensor]) -> torch.fx.GraphModule:
    """Return the graph of a module that has a handler itself: one call."""
    graph = torch.fx.Graph()
    inputs: dict[str, Argument] = {name: graph.placeholder(name) for name in rows}
    name = type(module).__name__.lower()
    in_order = list(inspect.signature(module.forward).parameters)[: len(rows)] == list(rows)
    graph.output(graph.call_module(name, *((tuple(inputs.values()), {}) if in_order else ((), inputs))))
    root = nn.Module()
    root.add_module(name, module)
    return torch.fx.GraphModule(root, graph)


def _exported(module: nn.Module, rows: Mapping[str, torch.Tensor]) -> Program:
    program = torch.export.export(module, tuple(rows.values()), strict=False)
    options = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    code = program.module(**options)  # newer ones put checks of shapes into the graph
    return _run(code, list(rows.values()), exported=True)


def _run(code: Any, inputs: list[torch.Tensor], exported: bool) -> Program:
    recorder = _Recorder(code)
    with torch.no_grad(), quiet():
        recorder.run(*[one.clone() for one in inputs])
    return Program(code, recorder.seen, exported)


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps what every node gave."""

    def __init__(self, code: torch.fx.GraphModule) -> None:
        super().__init__(code, garbage_collect_values=False)
        self.seen: dict[torch.fx.Node, Any] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def _mark(program: Program) -> None:
    """Find the nodes that depend on the rows: those that give tensors made of such."""
    for node in program.code.graph.nodes:
        if node.op == "placeholder":
            program.moving.add(node)
        elif any(one in program.moving for one in node.all_input_nodes) and _holds_tensor(program.seen.get(node)):
            program.moving.add(node)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_tensor, value))
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    return isinstance(value, torch.Tensor)


def _refusal(module: nn.Module, place: str, error: Exception, other: Exception) -> UnsupportedError:
    where = f"'{place}' ({type(module.get_submodule(place)).__name__})" if place else f"{type(module).__name__}.forward"
    text = f"{error}".strip().splitlines() or [type(error).__name__]
    if "item assignment" in text[0]:
        return UnsupportedError(
            f"cannot convert {type(module).__name__}: {where} writes into a tensor (x[...] = y), which changes the "
            "graph; build the new tensor with torch.cat, torch.stack, or a product with a mask of 0 and 1"
        )
    if "control flow" in text[0] or "data-dependent" in f"{other}".lower():
        return UnsupportedError(
            f"cannot convert {type(module).__name__}: the control flow of {where} depends on the data (an if, a loop "
            "or an index that looks at values), and hardware does the same for every input; write it with torch.clamp, "
            "torch.maximum or a product with a mask, or take the decision outside of the module"
        )
    reasons = f"torch.fx says: {text[0]}; torch.export says: {(str(other).strip().splitlines() or [''])[0]}"
    return UnsupportedError(
        f"cannot convert {type(module).__name__}: {where} cannot be traced; {reasons}; write its forward with the "
        "modules and functions of docs/pytorch.md"
    )
