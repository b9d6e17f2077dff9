"""A search space over architectures: what a sampler may choose, and the way back from a known design."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from weft.blocks import BLOCKS, RANKS, Block, Chooser, Genes, MlpGenes, Shape, options
from weft.choice import Categorical, Choice, allows, one_of
from weft.conditions import Conditional
from weft.config import BaselineConfig, QuantizationSpace, SpaceConfig
from weft.config.space import FloatQuantization, OptimizerSpace, PruningSpace
from weft.errors import ConfigError
from weft.prune import method_of
from weft.space.architecture import Architecture, FixedNumbers, FloatNumbers, HgqNumbers, Pruning, parse

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

MOST_ORDERS = 4096
"""So many sequences of types of blocks are told apart."""

MOST_SHAPES = 1024
"""So many shapes of rows behind a block are told apart; more count as not known."""

Order = tuple[Block, ...]
"""The block of each place."""


class Space:
    """The architectures that an experiment's `space` section allows for one data set.

    Args:
        config: The `space` section.
        input_shape: Shape of one input row.
        n_outputs: Number of logits.

    Raises:
        ConfigError: No sequence of blocks suits the rows, or there are more than `MOST_ORDERS`.
    """

    def __init__(self, config: SpaceConfig, input_shape: tuple[int, ...], n_outputs: int) -> None:
        self.config, self.input_shape, self.n_outputs = config, input_shape, n_outputs
        self.orders = _legal_orders([options(slot) for slot in config.blocks], input_shape)

    def sample(self, trial: BaseTrial) -> dict[str, Any]:
        """Return a genotype (JSON) chosen by an Optuna trial."""
        return self._drawn(lambda name, choice: suggest(trial, name, choice))

    def params_of(self, genotype: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters by which a sampler arrives at a genotype, for enqueueing it.

        Parameters that have no effect on it (widths beyond its depth) take their smallest value.

        Raises:
            ConfigError: The genotype lies outside the space; the message names the parameter.
        """
        architecture = parse(dict(genotype))
        *others, last = self._orders_of(architecture)
        for order in others:
            with suppress(ConfigError):
                return self._params(architecture, order)
        return self._params(architecture, last)

    def _params(self, architecture: Architecture, order: str) -> dict[str, Any]:
        """Return the parameters of a network in one order of blocks, with those that are skipped."""
        training = {"learning_rate": architecture.learning_rate, "weight_decay": architecture.weight_decay or 0.0}
        training |= {"batch_size": architecture.batch_size, "schedule": architecture.schedule}
        wanted: dict[str, Any] = self.config.optimizer.active(training)
        numbers, quantization = architecture.numbers, self.config.quantization
        if not isinstance(quantization, FloatQuantization):
            wanted |= quantization.active({name: getattr(numbers, name) for name in type(numbers).model_fields})
        if self.config.pruning is not None:
            pruning = architecture.pruning
            pruned = {"method": "none"} if pruning is None else pruning.model_dump(exclude_none=True)
            wanted |= {f"pruning.{name}": value for name, value in self.config.pruning.active(pruned).items()}
        if len(self.orders) > 1:
            wanted["blocks"] = order
        blocks = iter(architecture.blocks)
        for i, block in enumerate(self.orders[order]):
            if block.type != "skip":
                mine = block.params(next(blocks))
                wanted |= {f"{self._prefix(i, block)}{name}": value for name, value in mine.items()}
        asked: dict[str, Choice] = {}

        def take(name: str, choice: Choice) -> Any:
            asked[name] = choice
            if name in wanted and allows(choice, wanted[name]):
                return wanted[name]
            return choice.bounds[name in wanted]  # what is not in the space was too large for the rows, or lies outside

        drawn = self._drawn(take)
        strange = [name for name, choice in asked.items() if name in wanted and not allows(choice, wanted[name])]
        if self.key(drawn) != architecture.key:
            name, allowed = next(((name, _describe(asked[name])) for name in strange), ("", ""))
            what = f"{name} = {wanted[name]!r} lies outside the space ({allowed})" if name else "the space lacks it"
            raise ConfigError(f"{architecture.describe()}: {what}; widen the space, or change the network")
        return {name: take(name, choice) for name, choice in asked.items() if not choice.fixed}

    def baselines(self, configs: Sequence[BaselineConfig]) -> list[dict[str, Any]]:
        """Return the genotypes of the baselines of an experiment, in the numbers of this space."""
        return [self._baseline(one).model_dump(mode="json") for one in configs]

    def key(self, genotype: Mapping[str, Any]) -> str:
        """Return the digest by which equal genotypes are recognised."""
        return parse(dict(genotype)).key

    def kin(self, genotype: Mapping[str, Any]) -> str | None:
        """Return `Architecture.kin` of a genotype."""
        return parse(dict(genotype)).kin

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of the parameters that have a choice."""
        asked: dict[str, Choice] = {}

        def record(name: str, choice: Choice) -> Any:
            asked[name] = choice
            return choice.bounds[0]

        self._drawn(record)
        return {name: distribution_of(choice) for name, choice in asked.items() if not choice.fixed}

    def _baseline(self, config: BaselineConfig) -> Architecture:
        blocks = config.blocks
        if blocks is None:
            shared = ("activation", "normalization", "dropout", "l1")
            blocks = [MlpGenes(units=tuple(config.units or ()), **{name: getattr(config, name) for name in shared})]
        given = {"beta": config.beta, "total_bits": config.total_bits}
        given = {name: one for name, one in given.items() if one is not None}

        def value(name: str, choice: Choice) -> Any:
            """Return what the baseline says, or else what the space lists first."""
            first = choice.values[0] if isinstance(choice, Categorical) else choice.low
            return {**given, "learning_rate": config.learning_rate}.get(name, first)

        try:
            return Architecture(
                input_shape=self.input_shape,
                n_outputs=self.n_outputs,
                blocks=_walked(blocks, self.input_shape),
                numbers=_numbers(self.config.quantization, value, given),
                pruning=_pruning(self.config.pruning, value),
                **{**_training(self.config.optimizer, value), "learning_rate": config.learning_rate},
            )
        except ValidationError as error:
            found = error.errors()[0]
            what = f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
            raise ConfigError(
                f"search.baselines: {config.model_dump(exclude_defaults=True)} is no network: {what}"
            ) from error

    def _drawn(self, choose: Chooser) -> dict[str, Any]:
        """Return the genotype of values for all parameters: those of blocks that are not taken are asked for, too."""
        taken = self.orders[choose("blocks", one_of(*self.orders))]
        blocks: list[Genes] = []
        shape: Shape | None = self.input_shape
        for i, slot in enumerate(self.config.blocks):
            for block in options(slot):
                prefix = self._prefix(i, block)
                asked = block.ask(lambda name, choice, prefix=prefix: choose(prefix + name, choice))
                if block is taken[i] and block.type != "skip":
                    blocks.append(block.decide(asked, shape))
                    shape = None if shape is None else blocks[-1].output_shape(shape)
        return Architecture(
            input_shape=self.input_shape,
            n_outputs=self.n_outputs,
            blocks=tuple(blocks),
            numbers=_numbers(self.config.quantization, choose),
            **_training(self.config.optimizer, choose),
            pruning=_pruning(self.config.pruning, choose),
        ).model_dump(mode="json")

    def _prefix(self, i: int, block: Block) -> str:
        """Return what the names of a block's parameters begin with."""
        return f"block{i}." if len(options(self.config.blocks[i])) == 1 else f"block{i}.{block.type}."

    def _orders_of(self, architecture: Architecture) -> list[str]:
        """Return the orders that have the blocks of a network, at least one."""
        types = [genes.type for genes in architecture.blocks]
        orders = self.orders.items()
        found = [name for name, order in orders if [block.type for block in order if block.type != "skip"] == types]
        if not found:
            raise ConfigError(
                f"{architecture.describe()}: the space has no network of the blocks {', '.join(types)} (it has "
                f"{_some(self.orders)}); widen the space, or change the network"
            )
        return found


class _Rows(NamedTuple):
    """What is known of rows: how many axes they have, and every shape that they may have; None if that is not known."""

    rank: int
    shapes: frozenset[Shape] | None


def _legal_orders(slots: Sequence[Sequence[Block]], input_shape: Shape) -> dict[str, Order]:
    """Return the sequences of blocks in which each can read whatever the one before may give, by a name for each."""
    n_orders = math.prod(map(len, slots))
    if n_orders > MOST_ORDERS:
        raise ConfigError(
            f"space.blocks has {n_orders:,} sequences of types, and {MOST_ORDERS:,} are the most; take away places, or "
            "types from one_of"
        )
    for i, block in ((i, block) for i, slot in enumerate(slots) for block in slot):
        if (fault := block.fault()) is not None:
            raise ConfigError(f"space.blocks: block {i}, {block.type}, {fault}")
    first = _Rows(len(input_shape), frozenset([input_shape]))

    @cache
    def behind(i: int, choice: int, rows: _Rows) -> _Rows | str:
        objection = _objection(slots[i][choice], rows)
        if objection is None:
            return _behind(slots[i][choice], rows)
        reason, shape = objection
        given = "" if shape in (None, input_shape) else f" (blocks before it may give rows of shape {shape})"
        return f"block {i}, {slots[i][choice].type}, {reason}{given}"

    legal, reasons = {}, {}
    for order in itertools.product(*(range(len(slot)) for slot in slots)):
        rows: _Rows | str = first
        for i, choice in enumerate(order):
            rows = rows if isinstance(rows, str) else behind(i, choice, rows)
        if isinstance(rows, str):
            reasons[rows] = None
        else:
            blocks = tuple(slot[choice] for slot, choice in zip(slots, order, strict=True))
            legal[" > ".join(block.type for block in blocks)] = blocks
    if not legal:
        raise ConfigError(
            f"space.blocks: no sequence of these blocks suits rows of shape {input_shape}: "
            f"{'; '.join(list(reasons)[:3])}; a block reshape gives rows another shape"
        )
    return legal


def _objection(block: Block, rows: _Rows) -> tuple[str, Shape | None] | None:
    """Return why a block cannot read rows, and of which shape, where it is the shape that matters."""
    if rows.rank not in block.takes:
        reads = " or ".join(RANKS[one] for one in block.takes)
        return f"reads {reads}, and gets {RANKS[rows.rank]}", None
    if rows.shapes is None:
        return None if block.blind is None else (block.blind, None)
    reasons = ((block.objection(shape), shape) for shape in sorted(rows.shapes))
    return next(((reason, shape) for reason, shape in reasons if reason is not None), None)


def _behind(block: Block, rows: _Rows) -> _Rows:
    """Return what is known of rows behind a block that can read them."""
    rank, found = block.gives(rows.rank), set[Shape]()
    for shape in rows.shapes or ():
        for one in block.shapes(shape) or ():
            found.add(one)
            if len(found) > MOST_SHAPES:
                return _Rows(rank, None)
    return _Rows(rank, frozenset(found) or None)


def _walked(blocks: Sequence[Genes], input_shape: Shape) -> tuple[Genes, ...]:
    """Return the blocks of a baseline as they are for rows of a shape.

    Raises:
        ConfigError: A block cannot read what the one before gives.
    """
    found: list[Genes] = []
    shape: Shape | None = input_shape
    for i, genes in enumerate(blocks):
        takes = BLOCKS[genes.type].takes
        if shape is not None and len(shape) not in takes:
            reads = " or ".join(RANKS[one] for one in takes)
            raise ConfigError(f"search.baselines: block {i}, {genes.type}, reads {reads}, and gets {RANKS[len(shape)]}")
        if shape is not None and (reason := genes.objection(shape)) is not None:
            raise ConfigError(f"search.baselines: block {i}, {genes.type}, {reason}")
        found.append(genes if shape is None else genes.fitted(shape))
        shape = None if shape is None else found[-1].output_shape(shape)
    return tuple(found)


def _numbers(
    config: QuantizationSpace, choose: Chooser, given: Mapping[str, Any] | None = None
) -> FloatNumbers | FixedNumbers | HgqNumbers:
    """Return the numbers that were chosen; what is `given` goes before it."""
    match config.mode:
        case "float":
            return FloatNumbers(cost_bits=config.cost_bits)
        case "fixed":
            return FixedNumbers(**{**_chosen(config, choose), **(given or {})})
        case "hgq":
            return HgqNumbers(**{**_chosen(config, choose), **(given or {})})


def _training(config: OptimizerSpace, choose: Chooser) -> dict[str, Any]:
    chosen = _chosen(config, choose)
    return {**chosen, "weight_decay": chosen["weight_decay"] or None}


def _pruning(config: PruningSpace | None, choose: Chooser) -> Pruning | None:
    if config is None:
        return None
    chosen = _chosen(config, choose, "pruning.")
    method = chosen["method"]
    if method == "none":
        return None
    return Pruning(method=method, sparsity=chosen["sparsity"] if method_of(method).steered() else None)


def _chosen(section: Conditional, choose: Chooser, prefix: str = "") -> dict[str, Any]:
    """Return the values of a section's choices; all are asked for, also where a condition leaves the default."""
    return section.decided({name: choose(prefix + name, choice) for name, choice in section.choices.items()})


def suggest(trial: BaseTrial, name: str, choice: Choice) -> Any:
    """Take a value of a choice by an Optuna trial; where there is nothing to choose, the trial is not asked."""
    if choice.fixed:
        return choice.bounds[0]
    if isinstance(choice, Categorical):
        return trial.suggest_categorical(name, list(choice.values))
    low, high = choice.bounds
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, step=choice.step or 1, log=choice.log)
    return trial.suggest_float(name, low, high, step=choice.step, log=choice.log)


def distribution_of(choice: Choice) -> BaseDistribution:
    """Return the distribution that `suggest` asks Optuna for."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, Categorical):
        return CategoricalDistribution(choice.values)
    low, high = choice.bounds
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=choice.log, step=choice.step or 1)
    return FloatDistribution(low, high, log=choice.log, step=choice.step)


def _describe(choice: Choice) -> str:
    if isinstance(choice, Categorical):
        return f"one of {', '.join(map(str, choice.values))}"
    return f"{choice.low} to {choice.high}"


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
