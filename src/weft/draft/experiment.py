"""A `Request` as a commented experiment file: a preset, or a search for the user's own file, with the wishes in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.config.data import NAMED
from weft.config.document import parse, write
from weft.config.load import loads, source_text
from weft.config.parts import find_part, part_name
from weft.config.training import METRICS_OF_TASK
from weft.draft.request import FLOORS, RESOURCES, SHARES, Request
from weft.errors import ConfigError
from weft.objectives import METRICS

Raw = dict[str, Any]
Comments = dict[str, list[str]]

_PRESETS = {"jets-hlf": "jets-hlf", "jets-constituents": "jets-constituents", "qubit-readout": "qubit-readout"}
"""The preset that a named data set begins with."""

_OWN = """
space:
  blocks:
    - {type: mlp, depth: [1, 2, 3], units: [8, 16, 32, 64], activation: [relu], normalization: [none, batch]}
  optimizer: {learning_rate: [1e-3, 3e-3, 1e-2]}
  quantization: {mode: hgq, beta: [1e-7, 1e-4, log]}
search:
  {sampler: nsga2, trials: 50, population: 10, epochs: 10, batch_size: 256, objectives: [accuracy, lut, latency_cycles]}
select: {rule: knee, count: 2}
compress: {recipe: hgq, epochs: 100, batch_size: 256, learning_rate: 3e-3, beta: {from: 1e-7, to: 1e-4}, keep: 2}
target: {part: xcvu13p-flga2577-2-e, clock_period_ns: 5.0}
firmware: {verify: {samples: 10000}, synth: yosys}
"""
"""The search for data that weft does not know."""

_QUICK: dict[str, Raw] = {
    "search": {"trials": 4, "population": 2, "epochs": 4, "workers": 1},
    "select": {"count": 1},
    "compress": {"epochs": 16, "finetune_epochs": 4, "keep": 1},
    "firmware": {"verify": {"samples": 1000}, "synth": "yosys"},
}

_SAYS = {
    "data": "What is learnt from.",
    "space": "What the search may choose; every list is a choice.",
    "search": "How long is searched, for what, and what a candidate must meet (estimates).",
    "select": "Which of the networks found go on.",
    "compress": "How these are trained on and shrunk: 'weft presets' lists the recipes.",
    "target": "The FPGA, its clock, and the budget that finished designs are held against (synthesis).",
    "firmware": "Inputs of the bit-exact check, and the synthesis tool.",
}


def draft_config(request: Request, comments: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return an experiment file for a request: YAML with comments that `weft.config.loads` accepts.

    Args:
        request: What is wanted. What it leaves open is that of a preset, and a comment says so.
        comments: Further comments, by section, and by "" for the head of the file.

    Raises:
        ConfigError: The request names no data or both kinds, its part is unknown (the message names the nearest), or
            its wishes contradict each other; one line for each.
    """
    if (request.data is None) == (request.files is None):
        found = "none" if request.data is None else "both"
        raise ConfigError(
            f"a draft needs data: {', '.join(NAMED)} or openml:<number> by name, or a file of your own; got {found}"
        )
    raw = _base(request)
    said: Comments = {section: [text] for section, text in _SAYS.items()}
    _data(request, raw)
    _target(request, raw, said)
    _metric(request, raw, said)
    _effort(request, raw, said)
    _bounds(request, raw, said)
    head = ["An experiment drafted by weft. Check it: weft validate FILE; run it: weft run FILE"]
    head += [f"NOT UNDERSTOOD, and not in here: {words}" for words in request.not_understood]
    head += [f"Note: {note}" for note in request.notes]
    text = _text(raw, said, {"": head, **{key: [*lines] for key, lines in (comments or {}).items()}}, head)
    loads(text, "the draft")
    return text


def _text(raw: Raw, said: Comments, more: Mapping[str, Sequence[str]], head: Sequence[str]) -> str:
    lines = [f"# {_one_line(line)}" for line in dict.fromkeys([*head, *more.get("", ())])]
    for section, value in raw.items():
        about = [*said.get(section, ()), *(more.get(section, ()) if section else ())]
        lines += ["", *(f"# {_one_line(line)}" for line in about)] if about else []
        block = write({section: value}).rstrip("\n")
        lines.append(block if isinstance(value, dict) else block[1:-1])  # a line of its own, no flow mapping
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """Return text that cannot leave its comment: no control characters, none that YAML takes for the end of a line."""
    return re.sub(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\uf900-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]+", " ", text)


def _base(request: Request) -> Raw:
    preset = _PRESETS.get(request.data or "")
    base: Raw = parse(source_text(preset) if preset else _OWN).data
    name = request.data or Path(request.files or "").stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "experiment"
    data = base.get("data", {"name": request.data} if request.data else {"files": {"all": request.files}})
    base = {key: value for key, value in base.items() if key not in ("version", "name", "data")}
    return {"version": 1, "name": name, "data": {**data, "seed": 1}, **base}


def _data(request: Request, raw: Raw) -> None:
    for key in ("tree", "label", "task", "constituents"):
        if getattr(request, key) is not None:
            raw["data"][key] = getattr(request, key)
    for key, usual in (("missing", "refuse"), ("classes", "numbered")):
        if getattr(request, key) != usual:
            raw["data"][key] = getattr(request, key)
    if request.features:
        raw["data"]["features"] = list(request.features)


def _target(request: Request, raw: Raw, said: Comments) -> None:
    target: Raw = raw["target"]
    if request.part is not None:
        target["part"] = part_name(request.part)
        if target["part"] != request.part:
            said["target"].append(f"{target['part']} is the part on the board {request.part}.")
    else:
        said["target"].append("No part was asked for: this is an assumption.")
    if request.clock_period_ns is not None:
        target["clock_period_ns"] = request.clock_period_ns
    else:
        said["target"].append(f"No clock was asked for: {1e3 / target['clock_period_ns']:.4g} MHz is an assumption.")


def _metric(request: Request, raw: Raw, said: Comments) -> None:
    """Set the metric: that of the floor, or that of the task."""
    floors = {name: value for name in FLOORS if (value := getattr(request, name)) is not None}
    search: Raw = raw["search"]
    metric = next(iter(floors), None)
    if metric is None and request.task is not None and request.data not in NAMED:
        metric = METRICS_OF_TASK[request.task][0]
    if metric is not None:
        search["objectives"] = [metric, *(name for name in search["objectives"] if name not in METRICS)]
        for section in ("search", "compress"):
            raw[section].pop("metric", None)
            if metric not in ("accuracy", "mse"):
                raw[section]["metric"] = metric
    if floors:
        raw["select"]["constraints"] = {name: f">= {value:g}" for name, value in floors.items()}
        said["select"].append(
            "The floor is that of the search's short trainings; lower it a little if 'weft run' selects nothing."
        )


def _effort(request: Request, raw: Raw, said: Comments) -> None:
    if request.quick:
        for section, values in _QUICK.items():
            raw[section].update(values)
        said["search"].append("A first look of a few minutes; for good designs: trials: 100, epochs: 10 or more.")
        said["compress"].append("A first look; for good designs: epochs: 100 or more, keep: 2.")
    search: Raw = raw["search"]
    for key, name in (("trials", "trials"), ("epochs", "epochs"), ("minutes", "timeout_minutes")):
        if getattr(request, key) is not None:
            search[name] = getattr(request, key)
    search["population"] = max(2, min(search["population"], search["trials"]))
    if request.recipe is not None:
        raw["compress"] = {"recipe": request.recipe, **({"epochs": 20} if request.quick else {})}


def _bounds(request: Request, raw: Raw, said: Comments) -> None:
    """Write the bounds: in the search for estimates, and in the budget for what synthesis says."""
    part = find_part(raw["target"]["part"])
    bounds: Raw = {name: value for name in RESOURCES if (value := getattr(request, name)) is not None}
    for share, resource in SHARES.items():
        fraction = getattr(request, share)
        if fraction is not None:
            most = int(fraction * getattr(part, resource) + 1e-9)
            bounds[resource] = min(most, bounds.get(resource, most))
            said["target"].append(f"{fraction:.4g} of the {resource} of {part.device} are {most}.")
    for name in ("latency_ns", "latency_cycles", "ii_cycles"):
        if getattr(request, name) is not None:
            bounds[name] = getattr(request, name)
    if not bounds:
        said["target"].append("No limit was asked for; a budget is written as: budget: {lut: 5000, latency_ns: 50}")
        return
    raw["search"]["constraints"] = {name: f"<= {value:.12g}" for name, value in bounds.items()}
    budget = {name: value for name, value in bounds.items() if name != "bram_18k"}
    if budget:
        raw["target"]["budget"] = budget
    if "lut" in bounds and request.recipe is None:
        old: Raw = raw["compress"]
        kept = {key: old[key] for key in ("epochs", "batch_size", "metric", "keep") if key in old}
        raw["compress"] = {"recipe": "budget", "lut": bounds["lut"], **kept}
        raw["compress"]["epochs"] = max(10, kept["epochs"])
        said["compress"].append("The recipe 'budget' seeks the best network that fits into these look-up tables.")
