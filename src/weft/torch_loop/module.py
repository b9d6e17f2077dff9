"""A Keras model, or a single layer of it, as a PyTorch module for a training loop of one's own.

`TorchModule` holds every variable of the model as a parameter or a buffer under a name that two builds of the same
model share, and calls the model as a function of them: `train()` and `eval()` choose what a call does, a call in
training writes the state that it moved back into the buffers, and the terms of the loss that the model adds to the
task's (the price of bits, what pruning methods ask for, regularisers) wait for `penalty`. After some calls with one
shape the call is traced (`weft.torch_loop.program`): the same numbers, without Keras between the operations.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakSet

import keras
import torch
from keras.src.backend.torch.core import device_scope
from keras.src.utils.naming import to_snake_case
from torch.optim.optimizer import register_optimizer_step_post_hook

from weft.errors import ConfigError, NoEffectWarning
from weft.torch_loop.program import traced

_logger = logging.getLogger(__name__)
_modules: WeakSet[TorchModule] = WeakSet()


class TorchModule(torch.nn.Module):
    """A built Keras model or layer as a `torch.nn.Module`.

    It computes in float32 (after `double()` in float64), under `torch.autocast` as well: numbers of 16 bits do not hold
    fixed-point values.

    Args:
        model: A built model or layer, which shares its variables with the module.

    Attributes:
        keras_model: The model.
        trace_after: After so many calls of one kind (shape, type, device, training or not) they are traced, which takes
            seconds; None to run operation by operation always.

    Raises:
        ConfigError: The backend is not torch, or the model is not built.
    """

    keras_model: keras.Layer
    _parameters: dict[str, torch.nn.Parameter]
    _buffers: dict[str, torch.Tensor]

    def __init__(self, model: keras.Layer) -> None:
        from weft.quantize.observe import observe

        super().__init__()
        if keras.backend.backend() != "torch":
            raise ConfigError(
                f"a model of backend '{keras.backend.backend()}' is no PyTorch module; set KERAS_BACKEND=torch before "
                "weft or Keras is imported"
            )
        if not model.built:
            raise ConfigError(f"'{model.name}' has no variables yet: build it, or call it once, before it is a module")
        observe(model)
        self.__dict__["keras_model"] = model  # PyTorch would register it as a submodule
        self.trace_after: int | None = 20
        self._compiler: Callable[..., Any] | None = None
        self._mode: Any = None  # what a call does whatever train() and eval() say
        self._layers_in = model._flatten_layers()
        self._variables = dict(_named(model))
        for name, variable in self._variables.items():
            if _learns(variable, self._layers_in):
                self.register_parameter(name, variable._value)
            else:
                self.register_buffer(name, variable._value.detach())
        self._bind()
        self._forget()
        self.register_load_state_dict_post_hook(lambda module, _: module._bind())
        _modules.add(self)

    @torch.compiler.disable  # what compiles a user's own code has nothing to find in Keras
    def forward(self, *inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - disable is untyped
        """Call the model with its inputs, tensors (n, ...), or with one list or dictionary of them."""
        given = list(inputs)
        training = self.training if self._mode is None else self._mode
        learnt, kept = dict(self._parameters), dict(self._buffers)
        device = str(next(iter({**learnt, **kept}.values())).device)
        step = self._step(training, given, device)
        if training:  # what a gradient needs of the state must not change when the state moves on
            kept = {name: value.clone() for name, value in kept.items()}
        kind = torch.device(device).type
        exact = nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
        with device_scope(device), exact:
            outputs, terms, moved = step(learnt, kept, given)
        if training:
            with torch.no_grad():
                for name, value in moved.items():
                    self._buffers[name].copy_(value)
            self._terms = terms
            self._warn_if_unread()
        return outputs

    def penalty(self) -> torch.Tensor:
        """Return what the model adds to the task's loss, a scalar: of the last call in training, and 0 in `eval` mode.

        Raises:
            ConfigError: The module was not called in training yet.
        """
        self._read = True
        if not self.training:
            return torch.zeros((), device=next(self.parameters()).device)
        if self._terms is None:
            raise ConfigError(
                f"'{self.keras_model.name}' has no penalty yet: add weft.penalty(model) to the loss after "
                "the model was called in training"
            )
        return self._terms

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile forward and backward with `torch.compile`, whose arguments these are, from the first call on."""
        self._compiler, self.trace_after = partial(torch.compile, *args, **kwargs), 0
        self._forget()

    def constrain(self) -> None:
        """Put parameters back into their bounds (a width is never negative); every `torch.optim` step does it."""
        with torch.no_grad():
            for (low, high), variables in self._bounds.items():
                values = [variable._value for variable in variables]
                if low is not None:
                    torch._foreach_clamp_min_(values, low)  # pyright: ignore[reportPrivateImportUsage] - no public one
                if high is not None:
                    torch._foreach_clamp_max_(values, high)  # pyright: ignore[reportPrivateImportUsage] - no public one
            for variable in self._constrained:
                variable.assign(variable.constraint(variable))

    def _step(self, training: Any, given: Any, device: str) -> Callable[..., Any]:
        """Return what computes a call of this kind: the model itself, or a program of it."""
        eager = partial(self._call, training)
        if self.trace_after is None or self._mode is not None:
            return eager
        shown = tuple(
            (tuple(one.shape), one.dtype, one.device, one.requires_grad)
            for one in keras.tree.flatten(given)
            if isinstance(one, torch.Tensor)
        )
        learnt = tuple(parameter.requires_grad for parameter in self._parameters.values())
        able = tuple(layer._trainable for layer in self._layers_in)
        key = (training, torch.is_grad_enabled(), device, shown, learnt, able)
        calls, program = self._programs.get(key, (0, None))
        if program is None:
            if calls >= self.trace_after:
                program = self._traced(eager)
            self._programs[key] = (calls + 1, program)
        return program or eager

    def _traced(self, eager: Callable[..., Any]) -> Callable[..., Any]:
        program = traced(eager, self._compiler)
        ran: list[bool] = []

        def run(*arguments: Any) -> Any:
            if ran == [False]:
                return eager(*arguments)
            try:
                result = program(*arguments)
            except Exception as error:
                if ran:
                    raise
                ran.append(False)
                _logger.info("'%s' stays as it is, since it cannot be traced: %s", self.keras_model.name, error)
                return eager(*arguments)
            if not ran:
                ran.append(True)
            return result

        return run

    def _call(self, training: Any, learnt: dict[str, Any], kept: dict[str, Any], given: Any) -> Any:
        """Call the model with these values of its variables; return outputs, penalty, and the state that moved."""
        model, variables = self.keras_model, self._variables
        mapping = [(variables[name], value) for name, value in {**learnt, **kept}.items()]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            outputs = call(model, given, training)
            terms = sum(model.losses, torch.zeros(())) if training else None
        moved = {}
        if training:
            new = {name: scope.get_current_value(variables[name]) for name in kept}
            moved = {name: value.detach() for name, value in new.items() if value is not kept[name]}
        return outputs, terms, moved

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> TorchModule:
        kind = fn(torch.zeros(1)).dtype
        if kind not in (torch.float32, torch.float64):
            raise ConfigError(
                f"a quantised module cannot compute in {kind}, which does not hold fixed-point values exactly; leave "
                "it in float32, or use double()"
            )
        super()._apply(fn, recurse)
        self._bind()
        self._forget()
        return self

    def _bind(self) -> None:
        """Let the model's variables be the module's tensors, in their type."""
        for name, variable in self._variables.items():
            kept = self._buffers.get(name)  # Keras knows parameters only: one in the buffer's memory
            variable._value = self._parameters[name] if kept is None else torch.nn.Parameter(kept, requires_grad=False)
            if variable._value.is_floating_point():
                variable._dtype = keras.backend.standardize_dtype(variable._value.dtype)
        kinds = {v._dtype for v in self._variables.values() if "float" in v._dtype}
        if len(kinds) == 1 and (kind := kinds.pop()) != self.keras_model.compute_dtype:
            _compute_in(self._layers_in, kind)
        self._bounds: dict[Any, list[Any]] = {}
        self._constrained: list[Any] = []
        for name in self._parameters:
            variable = self._variables[name]
            if variable.constraint is None:
                continue
            bounds = _bounds(variable.constraint)
            (self._constrained if bounds is None else self._bounds.setdefault(bounds, [])).append(variable)
        self._mine = {id(parameter) for parameter in self._parameters.values()}

    def _forget(self) -> None:
        self._programs: dict[Any, Any] = {}
        self._terms: torch.Tensor | None = None
        self._read, self._unread = False, 0

    def _warn_if_unread(self) -> None:
        if self._read or self._terms is None or not self._terms.requires_grad or self._unread > 2:
            return
        self._unread += 1
        if self._unread == 3 and float(self._terms.detach()) != 0:
            warnings.warn(
                f"'{self.keras_model.name}' was called in training three times, and its penalty was never in the loss; "
                "write loss = criterion(model(x), y) + weft.penalty(model)",
                NoEffectWarning,
                stacklevel=4,
            )

    def __reduce__(self) -> Any:
        """Copy and pickle by the model's own file, and the complete state."""
        settings = {
            "trace_after": self.trace_after,
            "training": self.training,
            "recipe": getattr(self.keras_model, "weft_recipe", None),
            "learns": {name: one.requires_grad for name, one in self.named_parameters()},
        }
        return _rebuilt, (self.keras_model, dict(self.state_dict()), settings)

    def extra_repr(self) -> str:
        return f"{type(self.keras_model).__name__} '{self.keras_model.name}'"


def _rebuilt(model: keras.Layer, state: dict[str, torch.Tensor], settings: dict[str, Any]) -> TorchModule:
    made = TorchModule(model)
    first = next(iter(state.values()))
    made.to(first.device)
    if any(value.dtype == torch.float64 for value in state.values()):
        made.double()
    made.load_state_dict(state)
    made.trace_after = settings["trace_after"]
    if settings["recipe"] is not None:
        model.weft_recipe = settings["recipe"]
    for name, one in made.named_parameters():
        one.requires_grad_(settings["learns"][name])
    return made.train(settings["training"])


def call(layer: keras.Layer, given: list[Any], training: Any = None) -> Any:
    """Call a layer with several inputs as one list, or as several arguments, whichever it takes."""
    asks = {"training": training} if layer._call_has_training_arg and training is not None else {}
    required = [one for one in layer._call_signature.parameters.values() if one.default is one.empty]
    named = sum(one.kind is one.POSITIONAL_OR_KEYWORD for one in required)
    return layer(*given, **asks) if len(given) == max(named, 1) else layer(given, **asks)


def penalty(module: torch.nn.Module) -> torch.Tensor:
    """Return what the quantised parts of a module add to the loss, a scalar tensor: the price of bits, what pruning
    methods ask for, regularisers.

    Add it to the loss once, after the module was called: `loss = criterion(model(x), y) + weft.penalty(model)`. In
    `eval` mode it is 0. A module that was called several times asks for it once.

    Raises:
        ConfigError: The module has no part that weft made, or was not called in training yet.
    """
    parts = list(modules_in(module))
    if not parts:
        raise ConfigError(
            f"{type(module).__name__} has no part that weft quantises; make it with weft.compress(module, ...), or of "
            "weft.layers with input_shape=..."
        )
    return sum((part.penalty() for part in parts[1:]), parts[0].penalty())


def modules_in(module: torch.nn.Module) -> Iterator[TorchModule]:
    """Yield the modules of weft in a module, itself included, each once."""
    return (one for one in module.modules() if isinstance(one, TorchModule))


def model_of(module: Any) -> Any:
    """Return the Keras model of a module that weft made; anything else as it is.

    A hand-written module with several quantised parts becomes one Keras layer that holds all of them, and calls it.
    """
    if isinstance(module, TorchModule):
        return module.keras_model
    if isinstance(module, keras.Layer) or not isinstance(module, torch.nn.Module):
        return module
    while isinstance(inside := getattr(module, "module", None), torch.nn.Module):  # DistributedDataParallel and others
        module = inside
        if isinstance(module, TorchModule):
            return module.keras_model
    parts = list(modules_in(module))
    return _Parts(module, parts) if parts else module


class _Parts(keras.Layer):
    """The quantised parts of a hand-written module as one layer."""

    def __init__(self, module: torch.nn.Module, parts: list[TorchModule]) -> None:
        super().__init__(name=type(module).__name__.lower())
        self.layers_of_module = [part.keras_model for part in parts]
        self.__dict__.update(of=(module, parts))
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        module, parts = self.__dict__["of"]
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        with _called_with(parts, bool(training) if training is None else training):
            return module(*given)


@contextmanager
def _called_with(parts: list[TorchModule], mode: Any) -> Iterator[None]:
    """Let parts be called in a mode of Keras, `training="tracing"` for one, and show their calls to who watches."""
    for part in parts:
        part._mode = mode
    try:
        yield
    finally:
        for part in parts:
            part._mode = None


def _named(layer: keras.Layer, before: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the variables of a layer and what is in it, each once, with names that do not depend on what was built
    before it: those of the graph's layers, below them those of attributes."""
    seen = set() if seen is None else seen
    seeds = [generator.state for generator in layer._seed_generators]
    own = [(v, v.name) for v in (*layer._trainable_variables, *layer._non_trainable_variables)]
    own += [(v, f"seed_{i}") for i, v in enumerate(seeds)]
    used: set[str] = set()
    for variable, name in own:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield before + _new(name, used), variable
    attributes = {id(value): name.strip("_") for name, value in {**vars(layer), **layer._modules}.items()}
    graph = isinstance(layer, keras.Model) and not type(layer).__module__.startswith("weft.torch_loop")
    for inside in layer._layers:
        if id(inside) not in seen:
            seen.add(id(inside))
            name = _plain_name(inside) if graph else attributes.get(id(inside), _plain_name(inside))
            yield from _named(inside, f"{before}{_new(name, used)}/", seen)


def _plain_name(layer: keras.Layer) -> str:
    """Return a layer's name without the number of those made before it, if Keras gave it both."""
    name = re.sub(r"_\d+$", "", layer.name)
    kinds = type(layer).__mro__[: type(layer).__mro__.index(keras.Layer)]
    made = {to_snake_case(kind.__name__) for kind in kinds}
    return (name if name in made else layer.name).replace(".", "_")


def _new(name: str, used: set[str]) -> str:
    found, i = name, 0
    while found in used:
        i += 1
        found = f"{name}_{i}"
    used.add(found)
    return found


def _learns(variable: Any, layers: list[keras.Layer]) -> bool:
    """Say whether a variable was made to be trained, frozen now or not."""
    return any(any(variable is one for one in layer._trainable_variables) for layer in layers)


def _bounds(constraint: Any) -> tuple[float | None, float | None] | None:
    """Return what a constraint clips to, (None, None) where it does not, and None if it does something else."""
    from hgq.constraints import Constant, Max, Min, MinMax

    if isinstance(constraint, Constant):
        return constraint.value, constraint.value
    if isinstance(constraint, Min | Max | MinMax):
        return getattr(constraint, "min_value", None), getattr(constraint, "max_value", None)
    return None


def _compute_in(layers: list[keras.Layer], kind: str) -> None:
    """Let layers compute in a floating-point type."""
    for layer in layers:
        layer.dtype_policy = keras.DTypePolicy(kind)
        for tensor in getattr(layer, "_inputs", None) or ():
            if "float" in tensor.dtype:
                tensor._dtype = kind


def _after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Keep parameters in their bounds after each step of any optimizer, as Keras' optimizers do."""
    for module in list(_modules):
        if any(id(one) in module._mine for group in optimizer.param_groups for one in group["params"]):
            module.constrain()


register_optimizer_step_post_hook(_after_step)
