"""The stage machine: pretrain, train in rounds with rewinding, harden, fine-tune.

`Stages` moves a model with pruning methods through its stages. It knows nothing about how an epoch is trained, so the
compiled engine (`EngineStages`), Keras' `fit` (`weft.compression.callback`) and a loop written by the user
(`Stages.run`) share it. Where it stands follows from the number of finished epochs alone; what it remembers besides is
the state to rewind to, and the widths to begin with where training is in float first; `memory` hands them out for
checkpoints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from weft.atomic import write_arrays
from weft.compression.price import Price
from weft.config import HgqCompression
from weft.config.stages import StagesConfig
from weft.errors import ConfigError, RunError, TrainingError
from weft.quantize.kernels import pruned_kernels

if TYPE_CHECKING:
    import keras

    from weft.train.engine import Engine, State

PRETRAIN, TRAIN, FINETUNE = 0, 1, 2
NAMES = ("pretrain", "train", "finetune")

_BUILT_IN = tuple("recipe prune prune_first precisions granularity io_bits layers keep_float low_rank".split())
"""Settings that a model is built with."""


@dataclass(frozen=True)
class Position:
    """Where training is: the stage, the round (from 0), and the epoch within it (from 0) of `epochs`."""

    stage: int
    round: int
    epoch: int
    epochs: int

    @property
    def name(self) -> str:
        """The stage as a word."""
        return NAMES[self.stage]


class _Budgeted(Protocol):
    """A method that wants a budget."""

    sparsity: float


class Stages:
    """Moves one model through the stages of its compression.

    Args:
        model: A built model, or a `torch.nn.Module` made of one; layers without a pruning method are left alone.
        config: Length of the stages and what happens between them.
        optimizer: If given, of Keras or of PyTorch, rewinding takes its state back, too.
        rows: Rows of the training data, (n, ...), for what the recipe finds out without training.

    Raises:
        ConfigError: The recipe rewinds or prunes, but no layer of the model has a pruning method; the model was built
            with other settings; a sparsity is out of reach; weights decay, and the optimizer does not do it; or the
            recipe needs rows, and has none.
    """

    def __init__(
        self,
        model: Any,
        config: StagesConfig,
        optimizer: Any = None,
        *,
        rows: Any = None,
    ) -> None:
        from weft.quantize.observe import observe
        from weft.quantize.switch import switches
        from weft.torch_loop import keras_model
        from weft.torch_loop.optimizer import Moments, is_torch

        self.trained, model = model, keras_model(model)
        self._moments = Moments(optimizer, config.weight_decay is not None) if is_torch(optimizer) else None
        optimizer = None if self._moments else optimizer
        self.model, self.config, self.optimizer, self.rows = model, config, optimizer, rows
        self.kernels = pruned_kernels(model)
        if config.prune is not None and not self.kernels:
            raise ConfigError(
                f"prune.method '{config.prune.method}' was asked for, but no layer of '{model.name}' carries it; "
                "make the model with weft.compress, and look at prune.only and prune.skip"
            )
        self._check_built_for(config)
        self._check_reachable()
        if config.weight_decay is not None and optimizer is not None and not hasattr(optimizer, "decayed"):
            raise ConfigError(
                f"the recipe has a section weight_decay, and the optimizer is {type(optimizer).__name__}, which does "
                "not decay weights; use the one that weft.optimizer(recipe) makes"
            )
        if rows is None and config.prune is not None and config.epochs == 0:
            raise ConfigError(
                f"the recipe prunes by '{config.prune.method}' without training (epochs: 0), and has no rows to look "
                "at; give weft.compress, Stages or StagesCallback some rows of the training data"
            )
        if config.float_epochs and not any(True for _ in switches(model)):
            raise ConfigError(
                f"quantize_from: {config.quantize_from} was asked for, but the quantisers of '{model.name}' cannot be "
                "switched off; make the model with weft.compress and this recipe"
            )
        if config.float_epochs and rows is None:
            raise ConfigError(
                f"quantize_from: {config.quantize_from} needs rows of the training data to find ranges with; give "
                "Stages or StagesCallback rows=x"
            )
        observe(model)
        self._saved: dict[str, np.ndarray] = {}
        self._widths: dict[str, np.ndarray] = {}
        self._saved_moments: dict[str, Any] = {}
        self.price = Price(model, config, rows) if isinstance(config, HgqCompression) else None
        self.begun = 0

    def _check_built_for(self, config: StagesConfig) -> None:
        made = getattr(self.model, "weft_recipe", None)
        if made is None:  # read from a file
            theirs = [kernel.pruned.method for kernel in self.kernels]
            if config.prune is not None and config.prune not in theirs and not config.layers:
                raise ConfigError(
                    f"'{self.model.name}' was made with prune: {_said(theirs[0])}, and this recipe has "
                    f"{_said(config.prune)}; {_ANEW}"
                )
            return
        for name in _BUILT_IN:
            one, two = (getattr(recipe, name, None) for recipe in (made, config))
            if (one[:1] != two[:1]) if name == "precisions" and one and two else one != two:
                raise ConfigError(
                    f"'{self.model.name}' was made with {name}: {_said(one)}, and this recipe has {_said(two)}; {_ANEW}"
                )

    def _check_reachable(self) -> None:
        """Refuse a sparsity that would leave a kernel without weights."""
        from weft.prune._budget import check_reachable

        for sparsity, kernels in self._budgets().items():
            check_reachable({kernel.name: int(np.prod(kernel.pruned.kernel_shape)) for kernel in kernels}, sparsity)

    def _budgets(self) -> dict[float, list[Any]]:
        """Return the kernels that share one budget, by its sparsity: a layer may have been given its own."""
        found: dict[float, list[Any]] = {}
        for kernel in self.kernels:
            if kernel.pruned.method.wants_budget:
                found.setdefault(cast("_Budgeted", kernel.pruned.method).sparsity, []).append(kernel)
        return dict(sorted(found.items()))

    def position(self, epoch: int) -> Position:
        """Return where the epoch with this number, counted from 0 over all stages, lies."""
        config = self.config
        if epoch < config.pretrain_epochs:
            return Position(PRETRAIN, 0, epoch, config.pretrain_epochs)
        trained = epoch - config.pretrain_epochs
        if trained < config.rounds * config.epochs:
            return Position(TRAIN, trained // config.epochs, trained % config.epochs, config.epochs)
        return Position(FINETUNE, config.rounds - 1, trained - config.rounds * config.epochs, config.finetune_epochs)

    def turns(self, epoch: int) -> bool:
        """Say whether more than the clock changes before this epoch."""
        position = self.position(epoch)
        saves = position.stage == TRAIN and position.round == 0 and position.epoch == self.config.save_epoch
        return position.epoch == 0 or saves

    def begin_epoch(self, epoch: int) -> Position:
        """Do what is due before an epoch, and return where it lies."""
        position = self.position(epoch)
        self.begun = epoch + 1
        if epoch == 0 and self.config.float_epochs:
            self._begin_in_float()
        if position.epoch == 0:
            self._enter(position)
            if self.quantized(epoch):
                self._quantize()
        if position.stage == TRAIN and position.round == 0 and position.epoch == self.config.save_epoch:
            self._save()
        for variable, value in self.clock(position):
            variable.assign(value)
        return position

    def finish(self) -> None:
        """Fix the masks, where no fine-tuning stage has done it; the model then needs no stages any more."""
        if self.config.finetune_epochs == 0:
            self._end_training()
        self._quantize()

    def quantized(self, epoch: int) -> bool:
        """Say whether weights and activations are quantised in this epoch."""
        return epoch >= self.config.float_epochs

    def clock(self, position: Position) -> list[tuple[keras.Variable, int]]:
        """Return the variables that tell methods the time, and their values."""
        values = {"epoch": position.epoch, "epochs": position.epochs, "round": position.round}
        return [(k.pruned.times[name], value) for k in self.kernels for name, value in values.items()]

    def _enter(self, position: Position) -> None:
        if position.stage == TRAIN and position.round == 0:
            self._share_budget()
            self._set_stage(TRAIN)
        elif position.stage == TRAIN:
            self._between_rounds()
        elif position.stage == FINETUNE:
            self._end_training()

    def _begin_in_float(self) -> None:
        """Switch quantisers off; their widths, and what the optimizer knows of them, are to begin as they are now."""
        from weft.quantize.switch import turn

        turn(self.model, on=False)
        self._widths = {name: _numpy(variable) for name, variable in self._of_quantizers().items()}

    def _quantize(self) -> None:
        """Switch quantisers on, if they are off, with the widths from the beginning and ranges from the rows."""
        from weft.quantize.switch import switches, turn

        if all(int(_numpy(switch.on)) for switch in switches(self.model)):
            return
        for name, variable in self._of_quantizers().items():
            variable.assign(self._widths[name])
            if self._moments:
                self._moments.forget([variable.value])
        turn(self.model, on=True)
        find_ranges(self.model, self.rows)

    def _of_quantizers(self) -> dict[str, keras.Variable]:
        found = {f"width.{i}": v for i, v in enumerate(self._variables())}
        return {name: v for name, v in found.items() if "fixed_point_quantizer" in v.path}

    def _set_stage(self, stage: int) -> None:
        for kernel in self.kernels:
            kernel.pruned.stage.assign(stage)

    def _share_budget(self) -> None:
        from weft.prune._budget import shares

        for sparsity, kernels in self._budgets().items():
            mine = {kernel.name: kernel for kernel in kernels}
            for name, share in shares({name: k.seen() for name, k in mine.items()}, sparsity).items():
                mine[name].pruned.slots["share"].assign(share)

    def _between_rounds(self) -> None:
        for kernel in self.kernels:
            pruned = kernel.pruned
            for name, value in pruned.method.between_rounds(pruned.matrix(kernel.seen()), pruned.state()).items():
                pruned.slots[name].assign(value)
        if self.config.rewind == "every_round":
            self._rewind()

    def harden(self) -> None:
        """Fix the masks of all kernels whose method is still at work."""
        for kernel, seen in [(kernel, kernel.seen()) for kernel in self.kernels]:
            if int(_numpy(kernel.pruned.stage)) == TRAIN:
                kernel.harden(seen)

    def _end_training(self) -> None:
        if self.config.epochs == 0:
            self._prune_at_once()
        self.harden()
        if self.config.rewind != "never" and self.kernels:
            self._rewind()

    def _prune_at_once(self) -> None:
        """Prune the kernels that are still whole by what some rows show, in place of the train stage."""
        from weft.quantize.observe import look

        whole = [kernel for kernel in self.kernels if int(_numpy(kernel.pruned.stage)) == PRETRAIN]
        if not whole:
            return
        self._share_budget()
        shown = look(self.model, self.rows)
        for kernel, seen in [(kernel, kernel.seen()) for kernel in whole]:
            pruned = kernel.pruned
            w, mine = pruned.matrix(seen), shown[kernel.name]
            for name, value in pruned.method.at_once(w, pruned.state(), mine).items():
                pruned.slots[name].assign(value)
            pruned.stage.assign(TRAIN)

    def _save(self) -> None:
        if self.config.rewind != "never":
            self._saved = {path: _numpy(variable) for path, variable in self._rewound().items()}
            self._saved_moments = self._moments.saved() if self._moments else {}

    def _rewind(self) -> None:
        for path, variable in self._rewound().items():
            variable.assign(self._saved[path])
        if self._moments:
            self._moments.restore(self._saved_moments)

    def _rewound(self) -> dict[str, keras.Variable]:
        """Return what a rewind takes back: everything but the methods' own variables."""
        own = {id(v) for k in self.kernels for v in (k.pruned.mask, k.pruned.stage, *k.pruned.times.values())}
        own |= {id(v) for k in self.kernels for v in k.pruned.slots.values()}
        return {str(i): v for i, v in enumerate(self._variables()) if id(v) not in own}

    def memory(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint must hold besides the model's and the optimizer's variables."""
        return {**self._saved, **self._widths}

    def remember(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take back what `memory` returned."""
        self._widths = {name: value for name, value in memory.items() if name.startswith("width.")}
        self._saved = {name: value for name, value in memory.items() if name not in self._widths}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides the `state_dict` of module and optimizer, in `validate_epoch`."""
        import torch

        price = self.price.state() if self.price else {}
        memory = {name: torch.from_numpy(np.array(array)) for name, array in self.memory().items()}
        return {"epochs": self.begun, "memory": memory, "optimizer": self._saved_moments, "price": price}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; `run` goes on with the epoch after it."""
        self.begun, self._saved_moments = state["epochs"], state["optimizer"]
        self.remember({name: tensor.cpu().numpy() for name, tensor in state["memory"].items()})
        if self.price:
            self.price.restore(state["price"])

    def save(self, path: Path, epoch: int, extra: Mapping[str, Any] | None = None) -> None:
        """Write the complete state, optimizer included, after `epoch` epochs; `extra` is JSON.

        Raises:
            ConfigError: The optimizer is one of PyTorch, whose checkpoints are written by its own means.
        """
        if self._moments:
            raise ConfigError(
                "Stages.save does not write the state of a PyTorch optimizer; write torch.save({'model': "
                "model.state_dict(), 'optimizer': optimizer.state_dict(), 'stages': stages.state_dict()}, path)"
            )
        arrays = {f"variable.{i}": _numpy(v) for i, v in enumerate(self._variables())}
        arrays |= {f"memory.{name}": array for name, array in self.memory().items()}
        text = json.dumps({"epoch": epoch, "extra": dict(extra or {})})
        write_arrays(path, {**arrays, "meta": np.frombuffer(text.encode(), np.uint8)})

    def load(self, path: Path) -> tuple[int, dict[str, Any]]:
        """Take back what `save` wrote; return the number of finished epochs and `extra`.

        Raises:
            RunError: The file belongs to another model.
        """
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        variables = self._variables()
        found = [arrays.get(f"variable.{i}") for i in range(len(variables))]
        wrong = [v.path for v, a in zip(variables, found, strict=True) if a is None or a.shape != tuple(v.shape)]
        if wrong:
            raise RunError(
                f"checkpoint {path} belongs to another model or optimizer: it has no '{wrong[0]}' of this shape; "
                "delete it to start this training anew"
            )
        for variable, array in zip(variables, found, strict=True):
            variable.assign(array)
        self.remember({k.removeprefix("memory."): a for k, a in arrays.items() if k.startswith("memory.")})
        meta = json.loads(arrays["meta"].tobytes().decode())
        self.begun = meta["epoch"]
        return self.begun, meta["extra"]

    def _variables(self) -> list[keras.Variable]:
        if self.optimizer is None:
            return list(self.model.variables)
        if not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *self.optimizer.variables]

    def settled(self, epoch: int) -> bool:
        """Say whether the masks are fixed in this epoch, so that its weights can be a design."""
        return self.quantized(epoch) and (self.config.prune is None or self.position(epoch).stage == FINETUNE)

    def run(
        self,
        train_epoch: Callable[..., Any],
        validate_epoch: Callable[..., Any] | None = None,
        *,
        start: int | None = None,
        **arguments: Any,
    ) -> None:
        """Drive a user's functions through all stages; β, the price of bits, follows the recipe.

        Args:
            train_epoch: Called as `train_epoch(model, position=..., **arguments)`, with what `Stages` was given; trains
                one epoch. A module of PyTorch is in `train` mode. A number that it returns, alone or in a dictionary,
                has to be finite.
            validate_epoch: Called in the same way after each epoch. A module of PyTorch is in `eval` mode.
            start: Epochs that a loaded checkpoint has behind it; by default those that this object has seen begin.
            arguments: Go to the functions as they are.

        Raises:
            TrainingError: A number that a function returned is not finite.
        """
        from weft.compression.hgq import warn_of_missed

        model = self.trained
        turns = model is not self.model  # a module of PyTorch has a mode
        for epoch in range(self.begun if start is None else start, self.config.total_epochs):
            position = self.begin_epoch(epoch)
            if self.price:
                self.price.begin(epoch)
            if turns:
                model.train()
            check_finite(train_epoch(model, position=position, **arguments), "train_epoch returned", epoch)
            if self.price:
                self.price.end()
            if validate_epoch is None:
                continue
            if turns:
                model.eval()
            check_finite(validate_epoch(model, position=position, **arguments), "validate_epoch returned", epoch)
        if self.price:
            warn_of_missed(self.price.config, self.price.ebops)
        self.finish()


def check_finite(found: Any, what: str, epoch: int) -> None:
    """Refuse numbers of an epoch, alone or in a dictionary, that are not finite; whatever else `found` is, is not read.

    Raises:
        TrainingError: One is not.
    """
    for name, value in (found if isinstance(found, Mapping) else {"": found}).items():
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        if isinstance(number, float) and not math.isfinite(number):
            raise TrainingError(
                f"{' '.join([what, name]).strip()} {number} in epoch {epoch}; lower the learning rate, or check the "
                "inputs' scale"
            )


def find_ranges(model: keras.Model, x: Any) -> None:
    """Find the ranges of activations with rows before training, which may still find negative values: signs stay."""
    import keras

    from weft.quantize.calibrate import calibrate

    signs = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.variables if v.path.endswith("/k")}
    calibrate(model, x)
    for variable in model.variables:
        if variable.path in signs:
            variable.assign(signs[variable.path])


class EngineStages:
    """The stages of a model that the compiled engine trains; see `weft.train.fit.Phases`.

    Args:
        stages: The machine.
        engine: What trains its model.
        soft: Whether an epoch of the train stage can be a design, its masks still to be fixed.
    """

    def __init__(self, stages: Stages, engine: Engine, soft: bool = False) -> None:
        self.stages, self.engine, self.soft = stages, engine, soft
        self._index = {id(v): i for i, v in enumerate(engine.model.non_trainable_variables)}

    def before(self, epoch: int, state: State) -> State:
        """Return the state with which an epoch begins."""
        if self.stages.turns(epoch):
            self.engine.write_back(state)
            self.stages.begin_epoch(epoch)
            return self.engine.state()
        values = list(state.non_trainable)
        for variable, value in self.stages.clock(self.stages.position(epoch)):
            i = self._index[id(variable)]
            values[i] = np.asarray(value, values[i].dtype)  # an operation of JAX for each takes longer than ten steps
        return state._replace(non_trainable=values)

    def after(self, state: State) -> State:
        """Return the state with which training ends."""
        self.engine.write_back(state)
        self.stages.finish()
        return self.engine.state()

    def settled(self, epoch: int) -> bool:
        """Say whether the weights of this epoch can be a design."""
        soft = self.soft and self.stages.position(epoch).stage == TRAIN and self.stages.quantized(epoch)
        return soft or self.stages.settled(epoch)

    def note(self, epoch: int) -> dict[str, float]:
        """Return the numbers that the stages add to an epoch's log."""
        found = {"stage": float(self.stages.position(epoch).stage)} if self.stages.kernels else {}
        if self.stages.config.float_epochs:
            found["quantized"] = float(self.stages.quantized(epoch))
        return found if self.stages.quantized(epoch) else {**found, "ebops": float("nan")}  # a float network has none

    def memory(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint must hold."""
        return self.stages.memory()

    def remember(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take back what `memory` returned."""
        self.stages.remember(memory)


_ANEW = "make the model anew with weft.compress and this recipe"


def _said(value: Any) -> str:
    """Return a setting as a recipe writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    if not hasattr(value, "model_dump"):
        return str(value)
    tag = {"method": value.method} if hasattr(value, "method") else {}
    return str({**tag, **value.model_dump(mode="json", exclude_defaults=True)})


def _numpy(variable: keras.Variable) -> np.ndarray:
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))
