"""The engine: a whole epoch is one compiled program.

`model.stateless_call` and the optimizer's `stateless_apply` run inside `jax.lax.scan` over the batches of an epoch,
with the data on the device. The step does what `keras.Model.fit` does, in the same order, so weights agree with `fit`
to the last bit; what falls away is the return to Python after every batch.

The program is compiled ahead of time, once: an argument of another shape or type is an error, never a silent recompile.
Learning rate and β enter as arrays with one value a step, so schedules and controllers never recompile either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weft._cache import cache_directory
from weft.errors import ShapeError, UnsupportedError
from weft.train._threefry import fuse_random_bits
from weft.train.losses import Penalty
from weft.types import Tensor

if TYPE_CHECKING:
    import keras

_PREDICT_ROWS = 8192
"""Rows that one step of `predict` holds at once."""

_ROW_BLOCK = 1024
"""Training rows are filled up to a multiple of this, so that folds, which differ by a row, share a program."""

_COMPILER_OPTIONS: dict[str, str | bool] = {"xla_cpu_copy_insertion_use_region_analysis": True}
"""The analysis that XLA uses on accelerators: without it every step copies each weight matrix once more."""


Programs = dict[Hashable, Callable[..., Any]]
"""Compiled programs by name, and by structure, shapes and types of their arguments."""


class State(NamedTuple):
    """Everything a step changes: trainable and non-trainable variables and the optimizer's, as lists of arrays."""

    trainable: list[Tensor]
    non_trainable: list[Tensor]
    optimizer: list[Tensor]


class EpochData(NamedTuple):
    """The training rows on the device: x (n, ...), y (n,) or (n, k), and weight (n,) or None.

    Behind the rows there may be others, of zeros, that no order names.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that one architecture compiles once a machine, not once a process."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class Engine:
    """Trains one Keras model by compiled epochs on the JAX backend.

    Args:
        model: A built functional model whose outputs are logits.
        optimizer: A Keras optimizer with a plain learning rate.
        loss: A Keras loss on (target, logits[, weight]).
        penalty: An extra term of the loss, from the trainable variables by path.
        frozen: Says of a trainable variable's path that it keeps its value.

    Attributes:
        programs: What is compiled; engines whose models and losses compute the same may share it.
        compile_seconds: Time that compiling has taken.

    Raises:
        UnsupportedError: Keras runs on another backend than JAX.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: Callable[..., Tensor],
        penalty: Penalty | None = None,
        frozen: Callable[[str], bool] = lambda path: False,
    ) -> None:
        import keras

        if keras.backend.backend() != "jax":
            raise UnsupportedError(
                f"the compiled engine runs on Keras' JAX backend, and KERAS_BACKEND is '{keras.backend.backend()}'; "
                "set KERAS_BACKEND=jax"
            )
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self.model, self.optimizer = model, optimizer
        self.loss, self.penalty = loss, penalty
        self._paths = [variable.path for variable in model.trainable_variables]
        self._frozen = [frozen(path) for path in self._paths]
        self._rate = _index_of(optimizer.variables, optimizer._learning_rate)
        betas = [layer._beta for layer in model._flatten_layers() if getattr(layer, "_beta", None) is not None]
        self._betas = [_index_of(model.non_trainable_variables, beta) for beta in betas]
        ebops = [layer._ebops for layer in model._flatten_layers() if getattr(layer, "_ebops", None) is not None]
        self._ebops = [_index_of(model.non_trainable_variables, count) for count in ebops]
        self._epoch: Callable[..., tuple[State, Tensor]] | None = None
        self.programs: Programs = {}
        self.compile_seconds = 0.0

    @property
    def learns_bits(self) -> bool:
        """Whether any layer counts EBOPs, so that β means something."""
        return bool(self._betas)

    def state(self) -> State:
        """Copy the model's and the optimizer's variables: later updates of either do not reach the other."""
        variables = (self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables)
        return State(*(self._strong([np.array(v.value) for v in group]) for group in variables))

    def write_back(self, state: State) -> None:
        """Assign a state to the model's and the optimizer's variables."""
        variables = (self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables)
        for group, values in zip(variables, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(np.asarray(value))

    def put(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> EpochData:
        """Copy training rows to the device."""
        import jax.numpy as jnp

        length = -(-len(x) // _ROW_BLOCK) * _ROW_BLOCK
        return EpochData(*(None if part is None else jnp.asarray(padded(part, length)) for part in (x, y, weight)))  # type: ignore[arg-type]

    def epoch(
        self, state: State, data: EpochData, order: np.ndarray, controls: Mapping[str, np.ndarray]
    ) -> tuple[State, np.ndarray]:
        """Run one epoch and return the new state and the loss of every step; `state` is consumed.

        Args:
            state: Start of the epoch; its arrays are donated and must not be used again.
            data: The training rows.
            order: Row indices of each batch, int32 (n_steps, n_batch).
            controls: `learning_rate` and, for models that learn bits, `beta`; float32 (n_steps,) each.
        """
        import jax.numpy as jnp

        arguments = (
            state,
            data,
            jnp.asarray(order, "int32"),
            {name: jnp.asarray(values, "float32") for name, values in controls.items()},
        )
        if self._epoch is None:
            self._epoch = self._shared("epoch", self._epoch_program, arguments, donate=(0,))
        state, losses = self._epoch(*arguments)
        return state, np.asarray(losses)

    def compile_together(
        self, arguments: tuple[Any, ...], axes: tuple[Any, ...]
    ) -> Callable[..., tuple[State, Tensor]]:
        """Compile the epoch of several members, states and rows stacked along the `axes`; see `weft.train.together`."""
        import jax

        return self._compile(jax.vmap(self._epoch_program(), in_axes=axes), arguments, donate=(0,))

    def predict(self, state: State, x: np.ndarray) -> np.ndarray:
        """Return the logits of all rows, float32 (n, k), as inference computes them."""
        import jax.numpy as jnp

        rows = min(_PREDICT_ROWS, len(x))
        n_chunks = -(-len(x) // rows)
        padded = np.zeros((n_chunks * rows, *x.shape[1:]), np.float32)
        padded[: len(x)] = x
        chunks = jnp.asarray(padded.reshape(n_chunks, rows, *x.shape[1:]))
        arguments = (state.trainable, state.non_trainable, chunks)
        outputs = np.asarray(self._shared("forward", lambda: self._forward_program, arguments)(*arguments))
        return outputs.reshape(n_chunks * rows, -1)[: len(x)]

    def ebops(self, state: State) -> float:
        """Return the EBOPs that HGQ2's layers counted in the last training step; NaN if none counts."""
        if not self._ebops:
            return float("nan")
        return float(sum(int(np.asarray(state.non_trainable[i])) for i in self._ebops))

    def _epoch_program(self) -> Callable[..., tuple[State, Tensor]]:
        import jax
        import jax.numpy as jnp

        model, optimizer = self.model, self.optimizer

        def loss(trainable: Any, non_trainable: Any, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Any]:
            outputs, non_trainable, extra = model.stateless_call(
                trainable, non_trainable, x, training=True, return_losses=True
            )
            task = self.loss(y, outputs) if weight is None else self.loss(y, outputs, weight)
            terms = [task, *extra]
            if self.penalty is not None:
                terms.append(self.penalty(dict(zip(self._paths, trainable, strict=True))))
            return sum(terms), non_trainable

        gradient = jax.value_and_grad(loss, has_aux=True)

        def step(state: State, inputs: tuple[Tensor, dict[str, Tensor]], data: EpochData) -> tuple[State, Tensor]:
            rows, control = inputs
            non_trainable, variables = list(state.non_trainable), list(state.optimizer)
            variables[self._rate] = control["learning_rate"].astype(variables[self._rate].dtype)
            for i in self._betas if "beta" in control else ():
                non_trainable[i] = control["beta"].astype(non_trainable[i].dtype)
            weight = None if data.weight is None else data.weight[rows]
            (value, non_trainable), gradients = gradient(
                state.trainable, non_trainable, data.x[rows], data.y[rows], weight
            )
            trainable, variables = optimizer.stateless_apply(variables, gradients, state.trainable)
            kept = zip(self._frozen, state.trainable, trainable, strict=True)
            trainable = [old if frozen else new for frozen, old, new in kept]
            return State(trainable, list(non_trainable), list(variables)), jnp.asarray(value, "float32")

        def epoch(state: State, data: EpochData, order: Tensor, controls: dict[str, Tensor]) -> tuple[State, Tensor]:
            return jax.lax.scan(lambda carry, inputs: step(carry, inputs, data), state, (order, controls))

        return epoch

    def _forward_program(self, trainable: Sequence[Tensor], non_trainable: Sequence[Tensor], chunks: Tensor) -> Tensor:
        import jax

        def forward(x: Tensor) -> Tensor:
            return self.model.stateless_call(trainable, non_trainable, x, training=False)[0]

        return jax.lax.map(forward, chunks)

    def _shared(
        self,
        name: str,
        make: Callable[[], Callable[..., Any]],
        arguments: tuple[Any, ...],
        donate: tuple[int, ...] = (),
    ) -> Callable[..., Any]:
        """Return the program of this name for arguments of these shapes, compiled if it is not yet."""
        import jax

        leaves, structure = jax.tree.flatten(arguments)
        key = name, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in self.programs:
            self.programs[key] = self._compile(make(), arguments, donate)
        return self.programs[key]

    def _compile(
        self, program: Callable[..., Any], arguments: tuple[Any, ...], donate: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        import jax

        use_compilation_cache()
        fuse_random_bits()
        start = time.perf_counter()
        compiled = jax.jit(program, donate_argnums=donate).lower(*arguments).compile(_COMPILER_OPTIONS)
        self.compile_seconds += time.perf_counter() - start
        return compiled

    @staticmethod
    def _strong(arrays: Sequence[np.ndarray]) -> list[Tensor]:
        import jax.numpy as jnp

        return [jnp.array(array, dtype=array.dtype) for array in arrays]


def padded(rows: np.ndarray, length: int) -> np.ndarray:
    """Return rows (n, ...) filled up with zeros to a length >= n."""
    if len(rows) == length:
        return rows
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])


def _index_of(variables: Sequence[Any], wanted: Any) -> int:
    for index, variable in enumerate(variables):
        if variable is wanted:
            return index
    raise ShapeError(
        f"variable '{getattr(wanted, 'path', wanted)}' is not among the model's own; build the model first"
    )
