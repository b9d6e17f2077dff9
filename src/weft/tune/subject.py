"""What is tuned: the network of a run's design, a Keras model, or the first baseline of the experiment.

It is prepared once, and kept in the directory of the tuning, in `network/`: every trial starts from the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.errors import ConfigError, RunError, ShapeError, UnsupportedError
from weft.quantize.files import read_model
from weft.run.design import save_model
from weft.run.directory import Run

if TYPE_CHECKING:
    import keras

    from weft.compression.recipe import Compressed
    from weft.compression.training import Material
    from weft.config import Experiment
    from weft.space.architecture import Architecture

PLACE = "network"
"""The folder of a tuning that holds its network."""

_SAID, _WEIGHTS, _MODEL = "network.json", "weights.npz", "model.keras"


@dataclass(frozen=True)
class Asked:
    """What the user wants tuned: a design of a run, or a Keras model, or neither: the first baseline."""

    run: Path | None = None
    design: str | None = None
    model: Path | None = None

    def __post_init__(self) -> None:
        if self.model is not None and (self.run is not None or self.design is not None):
            raise ConfigError("--model and --run each say what is tuned; give one of them")
        if self.design is not None and self.run is None:
            raise ConfigError(f"--design {self.design} needs the run that it belongs to; add --run RUN")

    def __str__(self) -> str:
        if self.run is not None:
            return f"design {self.design} of {self.run.resolve()}"
        return "the first baseline" if self.model is None else f"the model {self.model.resolve()}"

    def named(self) -> Asked:
        """Return the same with the design's name filled in, where the run has a single one.

        Raises:
            ConfigError: it has several, or none.
        """
        if self.run is None or self.design is not None:
            return self
        designs = Run(self.run).designs()
        if len(designs) != 1:
            known = ", ".join(design.id for design in designs) or "none yet"
            raise ConfigError(f"{self.run} has {len(designs)} designs ({known}); say which one to tune with --design")
        return replace(self, design=designs[0].id)


@dataclass(frozen=True)
class Subject:
    """A network that is ready to be compressed.

    Attributes:
        source: Where it comes from, in words.
        architecture: What it is, where weft built it; None for a Keras model.
        weights: Of the architecture.
        model: The Keras model, ending in logits.
    """

    source: str
    architecture: Architecture | None = None
    weights: Mapping[str, np.ndarray] | None = None
    model: keras.Model | None = None

    @staticmethod
    def open(directory: Path) -> Subject:
        """Read the network of a tuning."""
        from weft.space.architecture import parse

        place = directory / PLACE
        said = atomic.read_json(place / _SAID)
        if said["architecture"] is None:
            return Subject(said["source"], model=read_model(place / _MODEL))
        with np.load(place / _WEIGHTS) as archive:
            weights = {name: archive[name] for name in archive.files}
        return Subject(said["source"], parse(said["architecture"]), weights)

    def save(self, directory: Path) -> None:
        """Write the network into the directory of a tuning; what says that it is there, last."""
        place = directory / PLACE
        if self.model is not None:
            save_model(place / _MODEL, self.model)
        else:
            atomic.write_arrays(place / _WEIGHTS, self.weights or {})
        genotype = None if self.architecture is None else self.architecture.model_dump(mode="json")
        atomic.write_json(place / _SAID, {"source": self.source, "architecture": genotype})

    def fits(self, data: Mapping[str, Any]) -> Subject:
        """Return this network, if it reads the data's rows and gives their outputs.

        Raises:
            ShapeError: it does not.
        """
        if self.architecture is not None:
            mine = tuple(self.architecture.input_shape), self.architecture.n_outputs
        else:
            assert self.model is not None
            mine = tuple(self.model.input_shape[1:]), self.model.output_shape[-1]
        wanted = tuple(data["input_shape"]), data["n_outputs"]
        if mine != wanted:
            raise ShapeError(
                f"{self.source} cannot be tuned on these data: it reads rows of shape {mine[0]} and gives {mine[1]} "
                f"outputs, the data have shape {wanted[0]} and {wanted[1]}"
            )
        return self

    def compress(self, material: Material, experiment: Experiment, directory: Path) -> list[Compressed]:
        """Compress the network by section `compress` of an experiment, with the seed of its search."""
        from weft.compression.recipe import compress

        config, seed = experiment.compress, experiment.search.seed
        if self.architecture is not None:
            return compress(self.architecture, material, config, seed, dict(self.weights or {}), directory)
        return _compress_model(self.model, material, config, seed, directory)


def prepare(run: Run, asked: Asked | None, data: Mapping[str, Any]) -> Subject:
    """Return the network of a tuning: the one it was begun with, or the one that is asked for.

    Args:
        run: Directory and experiment of the tuning.
        asked: None goes on with whatever the tuning was begun with.
        data: The summary of the data set.

    Raises:
        ConfigError: there is no baseline, no such design, or no readable model.
        RunError: the tuning was begun with another network.
        ShapeError: the network does not fit the data.
        UnsupportedError: the model has several inputs or outputs.
    """
    asked = None if asked is None else asked.named()
    if (run.path / PLACE / _SAID).exists():
        subject = Subject.open(run.path)
        if asked is not None and str(asked) != subject.source:
            raise RunError(f"{run.path} tunes {subject.source}, not {asked}; give another directory with --out")
        return subject
    asked = asked or Asked()
    if asked.run is not None:
        subject = _of_design(Run(asked.run), asked)
    elif asked.model is not None:
        subject = Subject(str(asked), model=_logits(read_model(asked.model), asked.model))
    else:
        subject = _of_baseline(run, data)
    subject.fits(data).save(run.path)
    return subject


def _of_design(run: Run, asked: Asked) -> Subject:
    """Take what the design was compressed from: the network and the weights of its trial."""
    from weft.search.results import read
    from weft.space.architecture import parse

    assert asked.design is not None
    design = run.design(asked.design)
    number = design.read("training.json")["trial"]
    trial = read(run.path).chosen(number)
    weights = trial.weights[0] if trial.weights else None
    if weights is None or not (run.path / weights).exists() or trial.genotype is None:
        raise RunError(f"the weights of trial {number}, which {design.id} comes from, are no longer in {run.path}")
    with np.load(run.path / weights) as archive:
        return Subject(str(asked), parse(trial.genotype), {name: archive[name] for name in archive.files})


def _of_baseline(run: Run, data: Mapping[str, Any]) -> Subject:
    """Train the first baseline as a search would, in a process of its own."""
    from weft.search.evaluate import payload
    from weft.search.job import Job
    from weft.search.sampler import seed_of
    from weft.search.workers import LocalWorkers, Lost
    from weft.space.architecture import parse
    from weft.space.sampling import Space

    experiment = run.experiment
    if not experiment.search.baselines:
        raise ConfigError(
            "search.baselines is empty, so there is no network to tune; name one there, or give --run RUN --design ID, "
            "or --model FILE.keras"
        )
    space = Space(experiment.space, tuple(data["input_shape"]), data["n_outputs"])
    genotype = space.baselines(experiment.search.baselines[:1])[0]
    key, place = space.key(genotype), run.path / PLACE
    place.mkdir(parents=True, exist_ok=True)
    seed = seed_of(experiment.search.seed, key, 0)
    job = Job(0, key, genotype, seed, 0, 1, experiment.search.epochs, str(place), payload(experiment, ()))
    with LocalWorkers(1, "weft.search.evaluate:evaluate", run.path / "workers") as workers:
        workers.start(job)
        ((_, result),) = workers.wait()
    reason = result.reason if isinstance(result, Lost) else result.error
    if reason is not None or isinstance(result, Lost) or result.weights is None:
        raise RunError(f"the first baseline, which is to be tuned, could not be trained: {reason}")
    with np.load(result.weights) as archive:
        return Subject(str(Asked()), parse(genotype), {name: archive[name] for name in archive.files})


def _logits(model: keras.Model, path: Path) -> keras.Model:
    """Return a model without a softmax or sigmoid at its end, which belongs to the loss.

    Raises:
        UnsupportedError: the model has several inputs or outputs.
    """
    import keras

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; models with one of each are tuned"
        )
    last = model.layers[-1]
    ends = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation in ends
    ):
        return keras.Model(model.inputs, last.input, name=model.name)
    if getattr(last, "activation", None) in ends:
        last.activation = keras.activations.linear
    return model


def _compress_model(model: Any, material: Material, config: Any, seed: int, directory: Path) -> list[Compressed]:
    """Compress a Keras model as `weft.compression.recipe.compress` does an architecture."""
    import keras

    from weft.compression.network import Network
    from weft.compression.recipe import compress_network

    if config.recipe == "none":
        raise ConfigError("compress.recipe is 'none', which leaves a Keras model in float; choose another recipe")
    if config.recipe == "several":
        named = config.recipes.items()
        return [
            replace(one, name=f"{name}-{one.name}")
            for name, recipe in named
            for one in _compress_model(model, material, recipe, seed, directory / name)
        ]
    network = Network.of_model(model)
    if not config.warm_start:

        def anew(seed: int) -> keras.Model:
            keras.utils.set_random_seed(seed)
            return keras.models.clone_model(model)

        network = replace(network, make=anew)
    return compress_network(network, material, config, seed, directory)
