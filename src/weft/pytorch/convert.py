"""From any traceable `nn.Module` to a Keras functional model with the same weights, which computes the same.

torch is read and never used by the result. Everything that has no counterpart is named at once, each with its place in
the user's module tree. The result is compared with the module on random rows before it is handed out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.errors import UnsupportedError, VerificationError

if TYPE_CHECKING:
    import keras
    import torch
    from torch import nn

    from weft.pytorch.builder import Builder
    from weft.pytorch.trace import Program

TOLERANCE = 1e-4
"""How much of the largest output the two may differ by, in float32, before the conversion is called wrong."""


def from_torch(module: nn.Module, example_input: Any, name: str | None = None) -> keras.Model:
    """Return a Keras model that computes what a module computes in eval mode, with its weights.

    Inputs and outputs keep the module's layout, (n, channels, height, width) for an image: the same arrays go into
    both. Layers are called after their place in the module, `encoder.layers.0` as `encoder_layers_0`. The module is not
    changed, and stays free of the model.

    Args:
        module: A module that `torch.fx` can trace, or else `torch.export`; its control flow may depend on shapes only.
        example_input: Some rows, (n, ...), as a tensor, a tuple of tensors for several inputs, or a dictionary by the
            names of `forward`. float32, or whole numbers where an `nn.Embedding` reads them.
        name: The model's name; the module's class by default.

    Returns:
        A functional Keras model on the Keras backend at hand. Several inputs become several inputs, in order.

    Raises:
        UnsupportedError: Operations have no counterpart, all of them, each with its place and a remedy; or control flow
            depends on the data; or a tensor that is read later is changed in place.
        ShapeError: The module does not take rows of this shape.
        DataError: An input is neither float32, nor the numbers that an embedding reads.
        ConfigError: The example does not fit the arguments of `forward`.
        VerificationError: The model computes something else, which is an error of weft.
    """
    import torch
    from torch import nn

    from weft.pytorch.example import arguments_of, check_types, quiet, random_rows, run
    from weft.pytorch.inplace import resolve
    from weft.pytorch.trace import trace

    if not isinstance(module, nn.Module):
        raise UnsupportedError(f"expected an nn.Module, and got a {type(module).__name__}")
    module = copy.deepcopy(module).cpu().eval()
    arguments = {key: one.detach().cpu() for key, one in arguments_of(module, example_input).items()}
    check_types(module, arguments)
    rows = random_rows(arguments, 0)
    shapes = {key: one.shape for key, one in arguments.items()}
    run(module, rows, shapes)
    program = trace(copy.deepcopy(module), rows)
    resolve(program)
    model = _Conversion(program, name or _model_name(module)).model(rows)
    others = random_rows(arguments, 1)
    with torch.no_grad(), quiet():
        _compare(model, others, module(**others))
    return model


def _model_name(module: nn.Module) -> str:
    import re

    return re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", type(module).__name__).lower()


class _Conversion:
    """The graph of a program, operation by operation."""

    def __init__(self, program: Program, name: str) -> None:
        from weft.pytorch.builder import Builder
        from weft.pytorch.example import ROWS

        self._program, self._name = program, name
        self._at: Builder = Builder(ROWS)
        self._known: dict[Any, Any] = {}
        self._problems: list[str] = []

    def model(self, rows: Mapping[str, torch.Tensor]) -> keras.Model:
        """Return the model; raises one error for all that has no counterpart."""
        import keras

        inputs: list[Any] = []
        outputs: Any = None
        for node in self._program.code.graph.nodes:
            if node.op == "placeholder":
                self._input(node, inputs)
            elif node.op == "output":
                outputs = self._outputs(node)
            elif node not in self._program.moving:
                self._known[node] = self._program.seen[node]
            else:
                self._operation(node)
        if self._problems:
            raise UnsupportedError(
                f"cannot convert '{self._name}' to Keras:\n- " + "\n- ".join(dict.fromkeys(self._problems))
            )
        model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=self._name)
        missing = [one.name for one in inputs if not one._keras_history.operation._outbound_nodes]
        if missing:
            raise UnsupportedError(f"no output depends on input '{missing[0]}'; leave it out of forward")
        return model

    def _input(self, node: Any, inputs: list[Any]) -> None:
        import keras

        from weft.pytorch.value import Value

        found = self._program.seen[node]
        name = "x" if node.target == "input" else str(node.target)
        if any(path == name for path, _ in self._program.code.named_modules()):
            name += "_in"  # the module's own names are for its layers
        tensor = keras.Input(tuple(found.shape[1:]), name=self._at.name(name))
        inputs.append(tensor)
        self._known[node] = Value(tensor, tuple(range(found.ndim)))
        if not found.is_floating_point():
            self._check_reads_numbers(node, found)

    def _check_reads_numbers(self, node: Any, found: torch.Tensor) -> None:
        """Whole numbers may be moved and looked up, and nothing else."""
        from weft.errors import DataError
        from weft.pytorch.inplace import _VIEWS

        program = self._program
        for user in node.users:
            name = program.name(user)
            if name in ("Embedding", "embedding", "one_hot") or user not in program.moving:
                continue
            if name in _VIEWS and not program.seen[user].is_floating_point():
                self._check_reads_numbers(user, found)
            elif name not in ("float", "to", "type", "_to_copy", "long"):
                raise DataError(
                    f"example_input '{node.name}' is of {found.dtype}, and '{program.place(user) or 'forward'}' "
                    f"({name}) computes with it; give float32 (x.float()): only an nn.Embedding reads whole numbers"
                )

    def _operation(self, node: Any) -> None:
        at, program = self._at, self._program
        place = program.place(node)
        at.place = place if node.op == "call_module" else f"{place or 'forward'}.{program.name(node)}"
        try:
            self._known[node] = self._checked(node, self._call(node))
        except UnsupportedError as error:
            where = f"'{place}'" if place else "forward"
            self._problems.append(f"{where} ({program.name(node)}): {error}")
            self._known[node] = self._stand_in(program.seen[node])

    def _call(self, node: Any) -> Any:
        from weft.pytorch.operations import ATTRIBUTES, EXPORTED, FUNCTIONS, MODULES, remedy_of

        at, program = self._at, self._program
        args, kwargs = self._values(node.args), self._values(node.kwargs)
        name = program.name(node)
        before: tuple[Any, ...] = ()
        if node.op == "call_module":
            before, handler = (program.code.get_submodule(str(node.target)),), MODULES.get(name)
        elif node.op == "call_function" and node.target is getattr:
            handler, args = ATTRIBUTES.get(name), args[:1]
        else:
            name = name.rstrip("_") if not name.startswith("__") else name
            handler = (EXPORTED.get(name) if program.exported else None) or FUNCTIONS.get(name)
        if handler is None:
            raise UnsupportedError(f"it has no counterpart; {remedy_of(name)}")
        kwargs = {key: one for key, one in kwargs.items() if key not in ("inplace", "_stacklevel", "dtype") or one}
        return handler(at, *before, *args, **kwargs)

    def _values(self, arguments: Any) -> Any:
        import torch
        from torch.fx.node import map_arg

        from weft.pytorch.operations.reductions import Missing

        def value(node: Any) -> Any:
            found = self._known[node]
            if isinstance(found, Missing):
                raise UnsupportedError(f"it reads what the network does not give: {found.what}")
            if isinstance(found, torch.Tensor) and found.ndim == 0 and not found.requires_grad:
                return found.item()
            return found

        return map_arg(arguments, value)

    def _checked(self, node: Any, value: Any) -> Any:
        """Return a value whose axes are those that torch has; anything else is an error of weft."""
        from weft.pytorch.value import Value

        found = self._program.seen[node]
        if isinstance(value, Value) and hasattr(found, "shape"):
            mine = tuple(self._at.rows if axis == value.batch else value.size(axis) for axis in range(value.rank))
            if mine != tuple(found.shape):
                raise UnsupportedError(
                    f"it gives shape {tuple(found.shape)} in torch and {mine} in Keras, where {self._at.rows} stands "
                    "for the rows of the batch; write it in smaller steps, and keep the batch an axis of its own"
                )
        return value

    def _stand_in(self, found: Any) -> Any:
        """Return a value in place of one that could not be made, so that all problems are found."""
        import keras

        from weft.pytorch.value import Value

        if isinstance(found, tuple | list):
            return [self._stand_in(one) for one in found]
        if not hasattr(found, "shape"):
            return found
        batch = next((axis for axis, size in enumerate(found.shape) if size == self._at.rows), 0)
        others = [axis for axis in range(found.ndim) if axis != batch]
        return Value(keras.Input([found.shape[axis] for axis in others]), (batch, *others))

    def _outputs(self, node: Any) -> Any:
        from weft.pytorch.operations.reductions import Missing
        from weft.pytorch.value import Value

        def end(value: Any) -> Any:
            if isinstance(value, Value):
                self._at.place = "output"
                return self._at.plain(value).tensor
            if isinstance(value, tuple | list):
                found = [end(one) for one in value]
                return [one for one in found if one is not None]
            if isinstance(value, dict):
                return {key: end(one) for key, one in value.items()}
            if isinstance(value, Missing):
                self._problems.append(f"output: it holds {value.what}")
            elif value is not None:
                self._problems.append(
                    f"output: it holds a {type(value).__name__} that does not depend on the input; leave it out of "
                    "what forward returns"
                )
            return None

        from torch.fx.node import map_arg

        found = end(map_arg(node.args[0], lambda one: self._known[one]))
        return found[0] if isinstance(found, list) and len(found) == 1 else found


def _compare(model: keras.Model, rows: Mapping[str, torch.Tensor], expected: Any) -> None:
    """Refuse a model whose outputs are not the module's."""
    import numpy as np
    from keras import tree

    values = [one.numpy() for one in rows.values()]
    made = model.predict_on_batch(
        values if len(values) > 1 else values[0]
    )  # compiled once, and not operation by operation
    mine = [np.asarray(one) for one in tree.flatten(made)]
    theirs = [one.numpy() for one in tree.flatten(expected) if hasattr(one, "numpy")]
    for i, (one, two) in enumerate(zip(mine, theirs, strict=True)):
        two = two if two.shape == one.shape else np.moveaxis(two, list(two.shape).index(len(one)), 0)
        scale = max(1.0, float(np.abs(two[np.isfinite(two)]).max(initial=0.0)))
        if not np.allclose(one, two, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            worst = float(np.nanmax(np.abs(one - two)))
            raise VerificationError(
                f"output {i} of the Keras model '{model.name}' differs from the module's by {worst:g} on random rows; "
                "this is an error of weft.from_torch: please report it, with the module"
            )
