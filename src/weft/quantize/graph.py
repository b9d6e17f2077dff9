"""The graph of a Keras model: its calls in order, facts carried along them, and the same graph with other layers.

A model is a graph of calls of operations: layers, nested models, and pure operations such as `x + y`. A layer may be
called more than once, and a nested model by several models. This module is the only one that knows how Keras keeps all
that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeVar

import keras
from keras import tree
from keras.src.models.cloning import functional_like_constructor
from keras.src.models.functional import Functional

from weft.errors import UnsupportedError

T = TypeVar("T")

Step = Callable[..., Any]
"""A layer, or anything else that can be called with tensors in its place."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one operation.

    Attributes:
        place: The names of the nested models around the operation and its own, joined by `/`.
        operation: The layer, nested model or pure operation.
        node: Keras' record of the call.
    """

    place: str
    operation: Any
    node: Any

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors that the operation reads."""
        return self.node.input_tensors

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that it makes."""
        return self.node.outputs

    @property
    def is_model(self) -> bool:
        """Whether the operation is a nested model whose graph is known."""
        return isinstance(self.operation, Functional | keras.Sequential)


def graph_of(model: Any, place: str = "") -> Functional:
    """Return the graph of a model.

    Raises:
        UnsupportedError: It has none: it is a subclass with a `call` of its own, or was not built.
    """
    if isinstance(model, keras.Sequential):
        if model._functional is None:
            raise UnsupportedError(
                f"the graph of '{place or model.name}' is not known yet: build the model, or begin it with keras.Input"
            )
        return model._functional
    if isinstance(model, Functional):
        return model
    if not isinstance(model, keras.Model):
        raise UnsupportedError(
            f"expected a Keras model, and got a {type(model).__name__}; read a file with keras.models.load_model first"
        )
    raise UnsupportedError(
        f"'{place or model.name}' is a {type(model).__name__}, whose graph is hidden in its call function; write the "
        "model as keras.Sequential or with the functional API, keras.Model(inputs, outputs)"
    )


def calls(model: Any, place: str = "") -> Iterator[Call]:
    """Yield the calls of one model in an order in which they can be computed, a nested model as one call."""
    graph = graph_of(model, place)
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                name = node.operation.name
                yield Call(f"{place}/{name}" if place else name, node.operation, node)


def graphs(model: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a model and the models nested in it, each once, with the place of its first call."""
    seen: set[int] = set()

    def inside(model: Any, place: str) -> Iterator[tuple[str, Any]]:
        if id(model) not in seen:
            seen.add(id(model))
            yield place, model
            for call in calls(model, place):
                if call.is_model:
                    yield from inside(call.operation, call.place)

    return inside(model, place)


def walk(model: Any) -> Iterator[Call]:
    """Yield all calls of a model and of the models nested in it; those calls themselves are left out."""
    return (call for place, graph in graphs(model) for call in calls(graph, place) if not call.is_model)


def flow(
    model: Any, values: Sequence[T], visit: Callable[[Call, list[T]], T | Sequence[T]], place: str = ""
) -> list[T]:
    """Carry values from the inputs of a model to its outputs, through nested models each time they are called.

    Args:
        model: The model.
        values: One value for each input.
        visit: Called at every call with the values of the tensors that it reads; returns the value of the tensor that
            it makes, or a list of one for each.
        place: The names of the models around this one.

    Returns:
        One value for each output.
    """
    graph = graph_of(model, place)
    known = {id(tensor): value for tensor, value in zip(graph.inputs, values, strict=True)}
    for call in calls(model, place):
        read = [known[id(tensor)] for tensor in call.inputs]
        if call.is_model:
            made: Any = flow(call.operation, read, visit, call.place)
        else:
            made = visit(call, read)
            made = made if isinstance(made, list) else [made] * len(call.outputs)
        known |= {id(tensor): value for tensor, value in zip(call.outputs, made, strict=True)}
    return [known[id(tensor)] for tensor in graph.outputs]


def rebuild(
    model: Any,
    replace: Callable[[Call], Sequence[Step]],
    quantizer: Callable[[Call | None, Any], Step | None] = lambda call, tensor: None,
) -> Any:
    """Build the graph of a model anew with other operations; names, nesting and structure of inputs stay.

    Args:
        model: The model; it is not changed.
        replace: Returns what takes the place of an operation: steps, called one after the other, where the first gets
            all arguments and the others what the one before returned. No step at all hands the first input on. A step
            is made once for each operation, however often that is called.
        quantizer: Returns what is put between a tensor and a call that reads it, or None; the call is None where the
            tensor is an output of the model.
    """
    operations: dict[int, Sequence[Step]] = {}
    models: dict[int, Any] = {}

    def steps(call: Call) -> Sequence[Step]:
        key = id(call.operation)
        if key not in operations:
            operations[key] = [again(call.operation, call.place)] if call.is_model else list(replace(call))
        return operations[key]

    def again(model: Any, place: str) -> Any:
        if id(model) not in models:
            build = _sequential if isinstance(model, keras.Sequential) else _functional
            models[id(model)] = build(model, place, steps, quantizer)
        return models[id(model)]

    return again(model, "")


def _positional(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments of a call with its first tensors by position, which is how HGQ2 needs them."""
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    for name in list(signature(operation.call).parameters)[len(args) :]:
        if not isinstance(kwargs.get(name), keras.KerasTensor):
            break
        args = (*args, kwargs.pop(name))
    return args, kwargs


def _sequential(model: Any, place: str, steps: Callable[[Call], Sequence[Step]], quantizer: Any) -> keras.Sequential:
    first = graph_of(model, place).inputs[0]
    layers: list[Any] = [keras.Input(batch_shape=(None, *first.shape[1:]), dtype=first.dtype, name=first.name)]
    for call in calls(model, place):
        layers += [quantizer(call, call.inputs[0]), *steps(call)]
    layers.append(quantizer(None, graph_of(model, place).outputs[0]))
    return keras.Sequential([layer for layer in layers if layer is not None], name=model.name)


def _functional(model: Any, place: str, steps: Callable[[Call], Sequence[Step]], quantizer: Any) -> Any:
    graph = graph_of(model, place)
    inputs = tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), graph._inputs_struct
    )
    known = {id(old): new for old, new in zip(graph.inputs, tree.flatten(inputs), strict=True)}

    def read(call: Call | None, tensor: Any) -> Any:
        between = quantizer(call, tensor)
        return known[id(tensor)] if between is None else between(known[id(tensor)])

    for call in calls(model, place):
        here = {key: read(call, tensor) for key, tensor in {id(tensor): tensor for tensor in call.inputs}.items()}
        args, kwargs = _positional(call.operation, *call.node.arguments.fill_in(here))
        made = here[id(call.inputs[0])]
        for i, step in enumerate(steps(call)):
            made = step(*args, **kwargs) if i == 0 else step(made)
        known |= {id(old): new for old, new in zip(call.outputs, tree.flatten(made), strict=True)}
    outputs = tree.pack_sequence_as(graph._outputs_struct, [read(None, tensor) for tensor in graph.outputs])
    kind = model.__class__ if functional_like_constructor(model.__class__) else keras.Model
    return kind(inputs, outputs, name=model.name)
