"""The whole experiment file, and what its sections must agree on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from weft.blocks import BLOCKS, options
from weft.config.compress import CompressConfig, HgqCompression, recipes_of
from weft.config.constraint import parse_constraints
from weft.config.cost import CostConfig
from weft.config.data import DataConfig
from weft.config.firmware import FirmwareConfig
from weft.config.parts import find_part
from weft.config.sampler import choices_below, endless, unfit
from weft.config.search import SearchConfig
from weft.config.select import SelectConfig
from weft.config.space import SpaceConfig
from weft.config.target import TargetConfig, below_one_period
from weft.config.tracking import TrackingConfig
from weft.config.training import LOSSES_OF_TASK, METRICS_OF_TASK, TrainingConfig
from weft.config.tune import Combinations, TuneConfig, Values, impossible
from weft.errors import ConfigError
from weft.objectives import METRICS, SHARES
from weft.section import Found, KeyPath, Section, refuse

VERSION = 1
"""The version of the experiment file that this weft writes."""


def _slug(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        better = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
        raise ValueError(
            f"a name starts with a letter or digit and holds only letters, digits, '.', '_' and '-'; got {name!r}"
            + (f"; try '{better}'" if better else "")
        )
    return name


class Experiment(Section):
    """One experiment: data, search space, budget, and how networks are searched, compressed and turned to firmware."""

    version: Literal[1] = Field(description="Version of this file format.")
    name: Annotated[str, AfterValidator(_slug)] = Field(description="Short name: letters, digits, '.', '_' and '-'.")
    data: DataConfig = Field(description="The data set, its splits and its scaling.")
    space: SpaceConfig = Field(default=SpaceConfig(), description="Everything that the search may choose.")
    search: SearchConfig = Field(
        default=SearchConfig(), description="How candidates are proposed, trained and compared."
    )
    select: SelectConfig = Field(default=SelectConfig(), description="Which designs of the front go on to compression.")
    compress: CompressConfig = Field(default=HgqCompression(), description="How the picked designs are compressed.")
    target: TargetConfig = Field(default=TargetConfig(), description="The FPGA, its clock and the budget.")
    cost: CostConfig = Field(default=CostConfig(), description="Which cost models estimate a design.")
    firmware: FirmwareConfig = Field(default=FirmwareConfig(), description="How the firmware is checked and measured.")
    tune: TuneConfig | None = Field(default=None, description="Which fields of the compression 'weft tune' tunes.")
    tracking: TrackingConfig = Field(default=TrackingConfig(), description="Tracking outside the run directory.")

    @model_validator(mode="after")
    def _sections_agree(self) -> Experiment:
        refuse(
            [
                *self._task_problems(),
                *self._latency_problems(),
                *self._part_problems(),
                *self._baseline_problems(),
                *self._sampler_problems(),
                *self._calibration_problems(),
                *self._hls_problems(),
                *self._product_problems(),
                *self._width_problems(),
                *self._halving_problems(),
                *self._pruning_problems(),
            ]
        )
        if self.tune is not None:
            refuse([(("tune", *path), message) for path, message in impossible(self, self.tune)])
        return self

    def tuned(self, values: Values) -> Experiment:
        """Return this experiment with tuned values in place, and without the section `tune`.

        Raises:
            ConfigError: the combination is no valid configuration; says what is wrong with it.
        """
        experiment, found = Combinations(self).experiment(values)
        if found:
            lines = [f"{'.'.join(map(str, path))}: {message}" for path, message in found]
            raise ConfigError("; ".join(lines))
        return experiment

    def _task_problems(self) -> Found:
        task = self.data.known_task
        if task is None:
            return []
        metrics, losses = METRICS_OF_TASK[task], LOSSES_OF_TASK[task]
        uses: Found = [
            *((("search", "objectives", i), name) for i, name in enumerate(self.search.objectives)),
            *((("search", "constraints", name), name) for name in self.search.constraints),
            *((("select", "constraints", name), name) for name in self.select.constraints),
        ]
        uses += ((("select", "order", i), name) for i, name in enumerate(self.select.order))
        for key in ("tolerances", "weights"):
            uses += ((("select", key, name), name) for name in getattr(self.select, key))
        if self.tune is not None:
            uses += ((("tune", "objectives", i), name) for i, name in enumerate(self.tune.objectives))
            uses += ((("tune", "constraints", name), name) for name in self.tune.constraints)
        found: Found = []
        for section, training in [(("search",), self.search), *recipes_of(self.compress)]:
            if isinstance(training, TrainingConfig):
                uses.append(((*section, "metric"), training.metric))
                if training.loss not in ("auto", *losses):
                    message = f"'{training.loss}' is no loss of a {task} task; use {' or '.join(losses)}"
                    found.append(((*section, "loss"), message))
        for path, name in uses:
            if name in METRICS and name not in metrics:
                found.append((path, f"'{name}' is no metric of a {task} task; use {' or '.join(metrics)}"))
        return found

    def _latency_problems(self) -> Found:
        period = self.target.clock_period_ns
        return [
            ((section, "constraints", "latency_ns"), below_one_period(constraint.bound, period))
            for section, texts in self._constraints().items()
            for name, constraint in parse_constraints(texts).items()
            if name == "latency_ns" and constraint.op in ("<=", "<") and constraint.violation(period) > 0
        ]

    def _part_problems(self) -> Found:
        """Return the shares of another part than the target's: what is compared with them is of the target."""
        found: Found = []
        mine = self.target.capacity
        for section, texts in self._constraints().items():
            for name, constraint in parse_constraints(texts).items():
                other = mine if constraint.part is None else find_part(constraint.part)
                if other.device == mine.device:
                    continue
                message = f"is a share of {other.device}, and target.part is {self.target.part}; name that part"
                resource = SHARES.get(name)
                if resource is not None:
                    count = constraint.bound * getattr(other, resource)
                    message += f", or write the count: {resource}: '{constraint.op} {count:.0f}'"
                found.append(((section, "constraints", name), message))
        return found

    def _constraints(self) -> dict[str, dict[str, str]]:
        tune = {} if self.tune is None else {"tune": self.tune.constraints}
        return {"search": self.search.constraints, "select": self.select.constraints, **tune}

    def _calibration_problems(self) -> Found:
        if self.search.calibrate is None:
            return []
        found: Found = []
        if self.firmware.synth == "none":
            found.append((("search", "calibrate"), "needs synthesis, and firmware.synth is none; set it to yosys"))
        if not {"lut", "ff"} & {*self.search.objectives, *self.search.constraints}:
            found.append(
                (
                    ("search", "calibrate"),
                    "puts lut and ff right, and the search asks for neither; add one to search.objectives or "
                    "search.constraints, or leave calibrate out",
                )
            )
        return found

    def _blocks(self) -> list[tuple[KeyPath, str]]:
        """Return the types of the blocks of the space and of the baselines, with their places."""
        slots = [options(slot) for slot in self.space.blocks]
        space: list[tuple[KeyPath, str]] = [
            (("space", "blocks", i), block.type) for i, blocks in enumerate(slots) for block in blocks
        ]
        return space + [
            (("search", "baselines", i, "blocks", j), genes.type)
            for i, baseline in enumerate(self.search.baselines)
            for j, genes in enumerate(baseline.blocks or ())
        ]

    def _hls_problems(self) -> Found:
        if self.firmware.hls is None:
            return []
        return [
            (path, f"'{kind}' cannot become HLS: {reason}; leave firmware.hls out, or take another block")
            for path, kind, reason in self._without_hls()
            if reason is not None
        ]

    def _without_hls(self) -> list[tuple[KeyPath, str, str | None]]:
        """Return each block of the space and of the baselines with its place, and what HLS has against it."""
        slots = enumerate(self.space.blocks)
        space: list[tuple[KeyPath, str, str | None]] = [
            (("space", "blocks", i), block.type, block.hls_objection()) for i, slot in slots for block in options(slot)
        ]
        baselines = self._blocks()[len(space) :]
        return space + [(path, kind, BLOCKS[kind].no_hls) for path, kind in baselines]

    def _product_problems(self) -> Found:
        asked = {*self.search.objectives, *self.search.constraints, *self.select.constraints, *self.select.compared}
        asked |= set() if self.tune is None else {*self.tune.objectives, *self.tune.constraints}
        counted = sorted(asked & {"ebops", "bops", "energy_nj"})
        return [
            (path, f"'{kind}' {reason}, and {counted[0]} is asked for; ask for lut instead")
            for path, kind in self._blocks()
            if counted and (reason := BLOCKS[kind].no_products) is not None
        ]

    def _width_problems(self) -> Found:
        mode = self.space.quantization.mode
        return [
            (path, f"'{kind}' learns its widths, and quantization.mode is {mode}; set it to hgq, or take another block")
            for path, kind in self._blocks()
            if BLOCKS[kind].needs_hgq and mode != "hgq"
        ]

    def _halving_problems(self) -> Found:
        halving = self.search.halving
        found = [] if halving is None else halving.problems(self.search.epochs, self.data.folds)
        return [(("search", "halving", *path), message) for path, message in found]

    def _pruning_problems(self) -> Found:
        """Return which trainings are too short to prune in: one epoch each before, at and after it."""
        if self.space.pruning is None:
            return []
        halving, search = self.search.halving, self.search
        rungs = (search,) if halving is None else halving.fidelities(search.epochs, self.data.folds)
        shortest = min(rung.epochs for rung in rungs)
        found: Found = []
        if shortest < 3:
            where = "epochs" if halving is None else "halving"
            message = f"space.pruning takes trainings of 3 epochs at least, and here are some of {shortest}"
            found.append((("search", where), f"{message}; raise search.epochs, or leave space.pruning out"))
        final = search.final
        if final is not None and final.epochs is not None and final.epochs < 3:
            message = f"space.pruning takes trainings of 3 epochs at least; got {final.epochs}"
            found.append((("search", "final", "epochs"), message))
        return found

    def _sampler_problems(self) -> Found:
        sampler, choices = self.search.sampler, dict(choices_below(self.space, ("space",)))
        found = unfit(sampler, self.search.objectives, choices.values(), "the choices of the space")
        return [*((("search", *path), message) for path, message in found), *endless(sampler, choices.items())]

    def _baseline_problems(self) -> Found:
        mode = self.space.quantization.mode
        return [
            (
                ("search", "baselines", index, key),
                f"belongs to quantization mode {owner}; space.quantization.mode is {mode}; remove it",
            )
            for index, baseline in enumerate(self.search.baselines)
            for key, owner in (("beta", "hgq"), ("total_bits", "fixed"))
            if getattr(baseline, key) is not None and mode != owner
        ]
