"""A search space over architectures: what a sampler may choose, and the way back from a known design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weft.config import BaselineConfig, Categorical, Choice, QuantizationSpace, SpaceConfig
from weft.errors import ConfigError
from weft.space.architecture import Architecture, FixedNumbers, FloatNumbers, HgqNumbers, parse
from weft.space.blocks import BLOCKS, MlpGenes

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Chooser = Callable[[str, Choice], Any]
"""Takes a parameter's name and its choice, returns the value taken."""


class Space:
    """The architectures that an experiment's `space` section allows for one data set.

    Args:
        config: The `space` section.
        input_shape: Shape of one input row.
        n_outputs: Number of logits.
    """

    def __init__(self, config: SpaceConfig, input_shape: tuple[int, ...], n_outputs: int) -> None:
        self.config, self.input_shape, self.n_outputs = config, input_shape, n_outputs

    def sample(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return a genotype (JSON) chosen by an Optuna trial."""
        return self._architecture(lambda name, choice: suggest(trial, name, choice)).model_dump(mode="json")

    def params_of(self, genotype: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters by which a sampler arrives at a genotype, for enqueueing it.

        Parameters that have no effect on it (widths beyond its depth) take their smallest value.

        Raises:
            ConfigError: The genotype lies outside the space; the message names the parameter.
        """
        architecture = parse(dict(genotype))
        chosen: dict[str, Any] = {}
        if len(architecture.blocks) != len(self.config.blocks):
            raise ConfigError(
                f"a baseline has {len(architecture.blocks)} blocks, the space has {len(self.config.blocks)}"
            )
        for i, (block, genes) in enumerate(zip(self.config.blocks, architecture.blocks, strict=True)):
            mine = BLOCKS[block.type].params(block, genes)
            chosen |= {f"block{i}.{name}": value for name, value in mine.items()}
        chosen["learning_rate"] = architecture.learning_rate
        numbers = architecture.numbers
        if isinstance(numbers, HgqNumbers):
            chosen["beta"] = numbers.beta
        elif isinstance(numbers, FixedNumbers):
            chosen["total_bits"] = numbers.total_bits
        asked: dict[str, Choice] = {}

        def record(name: str, choice: Choice) -> Any:
            asked[name] = choice
            return chosen.get(name, choice.bounds[0])

        self._architecture(record)
        for name, value in chosen.items():
            if name not in asked or not _allows(asked[name], value):
                allowed = _describe(asked[name]) if name in asked else "no such parameter"
                raise ConfigError(
                    f"baseline {architecture.describe()}: {name} = {value!r} lies outside the space ({allowed}); "
                    "widen the space, or change the baseline"
                )
        return {name: chosen.get(name, choice.bounds[0]) for name, choice in asked.items() if not choice.fixed}

    def baselines(self, configs: Sequence[BaselineConfig]) -> list[dict[str, Any]]:
        """Return the genotypes of the baselines of an experiment, in the numbers of this space."""
        numbers = self.config.quantization
        genotypes = []
        for one in configs:
            genes = MlpGenes(
                units=tuple(one.units),
                activation=one.activation,
                normalization=one.normalization,
                dropout=one.dropout,
                l1=one.l1,
            )

            def value(name: str, choice: Choice, one: BaselineConfig = one) -> Any:
                return choice.bounds[0] if getattr(one, name) is None else getattr(one, name)

            genotypes.append(
                Architecture(
                    input_shape=self.input_shape,
                    n_outputs=self.n_outputs,
                    blocks=(genes,),
                    numbers=_numbers(numbers, value),
                    learning_rate=one.learning_rate,
                ).model_dump(mode="json")
            )
        return genotypes

    def key(self, genotype: Mapping[str, Any]) -> str:
        """Return the digest by which equal genotypes are recognised."""
        return parse(dict(genotype)).key

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of the parameters that have a choice."""
        asked: dict[str, Choice] = {}

        def record(name: str, choice: Choice) -> Any:
            asked[name] = choice
            return choice.bounds[0]

        self._architecture(record)
        return {name: distribution_of(choice) for name, choice in asked.items() if not choice.fixed}

    def _architecture(self, choose: Chooser) -> Architecture:
        blocks = tuple(
            BLOCKS[block.type].sample(block, lambda name, choice, i=i: choose(f"block{i}.{name}", choice))
            for i, block in enumerate(self.config.blocks)
        )
        return Architecture(
            input_shape=self.input_shape,
            n_outputs=self.n_outputs,
            blocks=blocks,
            numbers=_numbers(self.config.quantization, choose),
            learning_rate=choose("learning_rate", self.config.optimizer.learning_rate),
        )


def _numbers(config: QuantizationSpace, choose: Chooser) -> FloatNumbers | FixedNumbers | HgqNumbers:
    match config.mode:
        case "float":
            return FloatNumbers(cost_bits=config.cost_bits)
        case "fixed":
            return FixedNumbers(
                total_bits=choose("total_bits", config.total_bits),
                integer_bits=config.integer_bits,
                granularity=config.granularity,
                io_bits=config.io_bits,
            )
        case "hgq":
            return HgqNumbers(beta=choose("beta", config.beta), bits0=config.bits0)


def suggest(trial: optuna.Trial, name: str, choice: Choice) -> Any:
    """Take a value of a choice by an Optuna trial; where there is nothing to choose, the trial is not asked."""
    if choice.fixed:
        return choice.bounds[0]
    if isinstance(choice, Categorical):
        return trial.suggest_categorical(name, list(choice.values))
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, step=choice.step or 1, log=choice.log)
    return trial.suggest_float(name, choice.low, choice.high, step=choice.step, log=choice.log)


def distribution_of(choice: Choice) -> BaseDistribution:
    """Return the distribution that `suggest` asks Optuna for."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(choice, Categorical):
        return CategoricalDistribution(choice.values)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return IntDistribution(choice.low, choice.high, log=choice.log, step=choice.step or 1)
    return FloatDistribution(choice.low, choice.high, log=choice.log, step=choice.step)


def _allows(choice: Choice, value: Any) -> bool:
    if isinstance(choice, Categorical):
        return value in choice.values
    return choice.low <= value <= choice.high


def _describe(choice: Choice) -> str:
    if isinstance(choice, Categorical):
        return f"one of {', '.join(map(str, choice.values))}"
    return f"{choice.low} to {choice.high}"
