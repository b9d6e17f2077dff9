"""Tools that come before a run: what there is, what the data are, and an experiment that is valid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from weft import __version__
from weft.config import PARTS, Experiment, presets
from weft.config.data import NAMED
from weft.config.parts import BOARDS, part_name
from weft.errors import AccessError, ConfigError
from weft.mcp.answers import (
    Capabilities,
    ConfigAnswer,
    DatasetAnswer,
    Preset,
    Presets,
    Tool,
    short,
)
from weft.mcp.contents import CONFIGS, DATA, MODELS
from weft.mcp.desk import Desk
from weft.mcp.jobs import ENDED
from weft.objectives import OBJECTIVES

Config = Annotated[
    str,
    Field(description="A preset, a name that draft_config or validate_config gave, a .yaml file, or the YAML itself."),
]

T = TypeVar("T")

_LISTED = 40


class Experiments:
    """The tools, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get_capabilities(self) -> Capabilities:
        """Say what this server can do: installed tools, limits, files of the workspace, FPGA parts, objectives, blocks.

        Call this first."""
        from weft.blocks import BLOCKS
        from weft.cli.doctor import parts

        rows = [Tool.model_validate({key: row[key] for key in Tool.model_fields}) for row in parts()]
        sandbox, limits = self._desk.sandbox, self._desk.jobs.limits
        files, more = self._files()
        answer = Capabilities(
            weft=__version__,
            tools=[row for row in rows if row.found is not None and row.name in _SHOWN],
            missing=[row for row in rows if row.found is None],
            limits={
                "concurrent_jobs": limits.concurrency, "max_minutes": 60 * limits.hours,
                "max_memory_gib": limits.memory_gib, "max_trials": limits.trials,
            },
            may=[f"{'may' if yes else 'may not'} {what}" for yes, what in (
                (sandbox.allow_code, "run functions of your own (--allow-code)"),
                (sandbox.allow_network, "load data from OpenML (--allow-network)"),
            )],
            workspace=[*files, *([f"and {more} more"] if more else [])],
            runs=sandbox.runs()[:20],
            parts=list(PARTS),
            boards=list(BOARDS),
            objectives=[f"{spec.name} ({spec.direction}, {spec.unit})" for spec in OBJECTIVES.values()],
            blocks=list(BLOCKS),
            next_step="draft_config with what is wanted, or list_presets",
        )  # fmt: skip
        return _as(Capabilities, short(answer, "parts and boards: resource boards://{name}"))

    def list_presets(
        self, name: Annotated[str | None, Field(description="Also return the YAML of this preset.")] = None
    ) -> Presets:
        """List the experiments and compression recipes that come with weft; with a name, also its YAML."""
        from weft.config.compress import recipes

        if name is not None and name not in presets():
            raise ConfigError(f"there is no preset '{name[:80]}'; the presets are {', '.join(presets())}")
        answer = Presets(
            experiments=[Preset(name=key, description=text) for key, text in presets().items()] if name is None else [],
            recipes=[Preset(name=key, description=text) for key, text in recipes().items()] if name is None else [],
            text=None if name is None else self._desk.text(name)[0],
            next_step="start_search with a preset as config, or change its YAML and validate_config",
        )
        return _as(Presets, short(answer, "list_presets with one name shows that alone"))

    def inspect_dataset(
        self,
        data: Annotated[
            str, Field(description=f"A file in the workspace ({', '.join(DATA)}), or one of {', '.join(NAMED)}.")
        ],
        label: Annotated[str | None, Field(description="Column or array of the label; null: the usual names.")] = None,
        task: Annotated[Literal["auto", "classification", "binary", "regression"], Field()] = "auto",
    ) -> DatasetAnswer:
        """Read and check a data set as an experiment would: rows, shape, classes, hash, problems."""
        import json

        section: dict[str, Any] = {"name": data} if data in NAMED else {"files": {"all": data}}
        section |= {} if task == "auto" or data in NAMED else {"task": task}
        section |= {} if label is None else {"label": label}
        experiment = self._desk.experiment(json.dumps({"version": 1, "name": "inspect", "data": section}))
        job = self._desk.short("dataset", [["data", str(self._desk.resolved(experiment)), "--json"]])
        if job.status not in ENDED:
            raise ConfigError(
                f"reading {data[:80]} takes longer than a call may; wait_for_job with job_id '{job.id}', then call "
                "inspect_dataset again in the same way"
            )
        if job.status != "finished":
            raise self._desk.failure(job)
        found = self._desk.jobs.output(job.id)
        answer = DatasetAnswer(
            name=found["name"], source=found["source"], task=found["task"], input_shape=found["input_shape"],
            classes=[str(one) for one in found["classes"]], sha256=found["sha256"], notes=found["notes"],
            rows={name: found[f"n_{name}"] for name in ("train", "validation", "test")},
            next_step="draft_config with this data set",
        )  # fmt: skip
        return _as(DatasetAnswer, short(answer, "weft data prints all"))

    def draft_config(
        self,
        sentence: Annotated[
            str | None,
            Field(description="What is wanted, as in 'qubit readout on ZCU216, under 30 ns, at most 5k LUT'."),
        ] = None,
        data: Annotated[str | None, Field(description=f"A data file in the workspace, or {', '.join(NAMED)}.")] = None,
        label: Annotated[str | None, Field(description="Column of the label in the file.")] = None,
        task: Annotated[Literal["classification", "binary", "regression"] | None, Field()] = None,
        part: Annotated[str | None, Field(description="FPGA part or board, such as zcu216.")] = None,
        clock_period_ns: Annotated[float | None, Field(gt=0)] = None,
        max_latency_ns: Annotated[float | None, Field(gt=0)] = None,
        max_lut: Annotated[int | None, Field(ge=1)] = None,
        max_lut_fraction: Annotated[float | None, Field(gt=0, le=1)] = None,
        min_accuracy: Annotated[float | None, Field(gt=0, le=1, description="A fraction: 0.75 is 75 %.")] = None,
        trials: Annotated[int | None, Field(ge=1, description="Networks to try.")] = None,
        quick: Annotated[bool, Field(description="A first run of a few minutes.")] = False,
    ) -> ConfigAnswer:
        """Write an experiment from what is wanted: a sentence, fields, or both (fields go first).

        What of the sentence was not understood is listed, and nothing is guessed for it: ask the user."""
        from weft.draft import Request, draft_config, read_request

        if sentence is not None and len(sentence) > 2000:
            raise ConfigError("the sentence is longer than 2000 characters; say it in one")
        read = read_request(sentence) if sentence else Request()
        given: dict[str, Any] = {
            "label": label, "task": task, "part": None if part is None else part_name(part),
            "clock_period_ns": clock_period_ns, "latency_ns": max_latency_ns, "lut": max_lut,
            "lut_fraction": max_lut_fraction, "accuracy": min_accuracy, "trials": trials, "quick": quick or None,
        }  # fmt: skip
        if data is not None:
            given |= {"data": data, "files": None} if data in NAMED else {"files": data, "data": None}
        fields = {
            key: value for key, value in given.items() if value is not None or (data and key in ("data", "files"))
        }
        request = Request.model_validate({**read.model_dump(), **fields})
        if request.data is None and request.files is None:
            raise ConfigError(
                f"no data were named; give data: a file of the workspace, or one of {', '.join(NAMED)}"
                + (f"; not understood: {'; '.join(request.not_understood)}" if request.not_understood else "")
            )
        text = draft_config(request)
        experiment = self._desk.experiment(text)
        shown = request.model_dump(mode="json", exclude_defaults=True, exclude={"not_understood"})
        missed = list(request.not_understood)
        return self._kept(
            text,
            experiment,
            understood=[f"{key} = {value}" for key, value in shown.items()],
            not_understood=missed,
            next_step=(
                f"ask the user about what was not understood ({'; '.join(missed)[:200]}), then start_search"
                if missed
                else "start_search with this config"
            ),
        )

    def validate_config(self, config: Config) -> ConfigAnswer:
        """Check an experiment before it runs: every problem with its line; a valid one is stored under a name."""
        text, _ = self._desk.text(config)
        try:
            experiment = self._desk.experiment(config)
        except (ConfigError, AccessError) as error:
            problems = [self._desk.sandbox.hide(line) for line in str(error).splitlines()]
            answer = ConfigAnswer(
                config="", valid=False, problems=problems, next_step="put these right, and validate_config again; "
                "resource schema://config is the schema",
            )  # fmt: skip
            return _as(ConfigAnswer, short(answer, "put the first problems right first"))
        return self._kept(text, experiment, next_step="start_search with this config")

    def _kept(
        self,
        text: str,
        experiment: Experiment,
        *,
        next_step: str,
        understood: Sequence[str] = (),
        not_understood: Sequence[str] = (),
    ) -> ConfigAnswer:
        name = self._desk.keep(text, experiment.name)
        answer = ConfigAnswer(
            config=name, valid=True, problems=[], yaml=text, next_step=next_step, understood=list(understood),
            not_understood=list(not_understood),
        )  # fmt: skip
        return _as(ConfigAnswer, short(answer, f"the whole text is stored as {name}"))

    def _files(self) -> tuple[list[str], int]:
        """Return data, model and experiment files of the workspace, and how many more there are."""
        endings, found, root = (*DATA, *MODELS, *CONFIGS), list[str](), self._desk.sandbox.workspace
        for folder, folders, names in os.walk(root, followlinks=False):
            folders[:] = sorted(
                name for name in folders
                if name[0] != "." and os.path.join(folder, name) != str(self._desk.sandbox.write_root)
            )  # fmt: skip
            if folder.count(os.sep) - str(root).count(os.sep) >= 3:
                folders.clear()
            found += [
                os.path.relpath(os.path.join(folder, name), root)
                for name in sorted(names)
                if name.lower().endswith(endings) and name[0] != "." and not os.path.islink(os.path.join(folder, name))
            ]
            if len(found) > 1000:
                break
        return found[:_LISTED], max(len(found) - _LISTED, 0)


_SHOWN = ("keras", "jax", "hgq2", "alkaid", "verilator", "pyosys", "hls4ml", "vivado", "vitis-run", "g++")


def _as(kind: type[T], value: Any) -> T:
    assert isinstance(value, kind)
    return value
