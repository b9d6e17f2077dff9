"""The case studies from the command line: minutes, fronts, designs, and the published figures beside them.

Each preset, by default those of short form, goes through `weft run` to designs that are verified bit for bit and
synthesised. The tables are written into `docs/search.md`.

    python benchmarks/studies.py [--out runs/studies] [--studies snac-jets-quick,...] [--write]

A run that is there already is read, not repeated; tables of studies that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _measure import put

from weft.config import load
from weft.search.results import read
from weft.space.architecture import parse
from weft.space.model import build, export_weights

DOCUMENT = Path(__file__).parents[1] / "docs" / "search.md"
BEGIN, END = "<!-- table of studies: written by benchmarks/studies.py -->", "<!-- end of the table -->"

STUDIES = ("snac-jets-quick", "snac-qubit-quick", "pquant-jsc-quick", "lut-frontier-quick")

FRONTS = {
    "snac-jets": [
        "| *24-120-60-32-64-64-64-32-44-5* | *63.77* | *25 916* | | |",
        "| *24-128-32-16-32-5, SNAC accuracy* | *63.84* | *8 352* | | |",
        "| *24-64-32-16-32-5, SNAC resource* | *62.30* | *4 768* | | |",
    ],
    "snac-qubit": [
        "| *800-4-1, window 400 from 100* | *96.06* | *3 204* | | |",
        "| *500-2-1* | *95.21* | *1 002* | | |",
    ],
}
"""Published networks of the searches that run in full: SNAC-Pack tables 1 and 3, with products counted from the widths.
Its "BOPs" are those products in table 1, and two other formulas in table 3."""

_SHOWN = 10
"""So many networks of a front are shown, evenly taken from the best metric to the cheapest."""

PUBLISHED = {
    "snac-jets-quick": [
        "| *24-120-60-32-64-64-64-32-44-5, half pruned* | *63.77* | *155 080* | *25 714* | *262* | *21 (105)* | |",
        "| *24-128-32-16-32-5, SNAC accuracy* | *63.84* | *57 728* | *12 605* | *0* | *24 (140)* | |",
        "| *24-64-32-16-32-5, SNAC resource* | *62.30* | *34 472* | *5 061* | *0* | *10 (50)* | |",
    ],
    "snac-qubit-quick": [
        "| *800-4-1, window 400 from 100* | *96.06* | *15 045* | *3 656* | | *6 (19.35)* | |",
        "| *500-2-1* | *95.21* | *6 996* | *2 330* | | *4 (12.9)* | |",
    ],
    "pquant-jsc-quick": [
        "| *unpruned* | *76.9* | *60 089* | *21 201* | *1175* | *11 (54.6)* | |",
        "| *DST per tensor* | *76.3* | *6 298* | *4 034* | *147* | *10 (42.3)* | |",
        "| *DST per weight* | *76.3* | *3 895* | *2 899* | *154* | *10 (47.2)* | |",
        "| *PDP per tensor* | *75.89* | *5 540* | *4 464* | *90* | *12 (47.1)* | |",
        "| *PDP per channel* | *76.2* | *4 605* | *3 991* | *205* | *11 (46.5)* | |",
        "| *FITCompress per channel* | *76.0* | *7 904* | *3 226* | *45* | *8 (36.2)* | |",
        "| *HGQ* | *76.3* | *5 209* | *799* | *15* | *3 (14)* | |",
    ],
    "lut-frontier-quick": [
        "| *KANELÉ, OpenML* | *76.0* | *1 232* | | | *(7.1)* | |",
        "| *NeuraLUT-Assemble, OpenML* | *76.0* | *1 780* | | | *(2.1)* | |",
    ],
}
"""Published figures: SNAC-Pack tables 1 to 4 (arXiv:2605.16138; accuracies before compression), PQuantML
(arXiv:2603.26595), and the papers of KANELÉ and NeuraLUT-Assemble; all placed and routed by Vivado, on other data."""


def run(study: str, place: Path) -> dict[str, Any]:
    """Run a study, or read its run; return the summary."""
    summary = place / "summary.json"
    if not summary.exists() or json.loads(summary.read_text())["status"] != "finished":
        command = [sys.executable, "-m", "weft", "run", *([str(place)] if place.exists() else [study, "--out", place])]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"{study} ended with exit code {done.returncode}; see {place}/log.jsonl")
    return json.loads(summary.read_text())


def network(design: dict[str, Any]) -> str:
    """Return what a design is, and its name."""
    return f"{parse(design['architecture']).describe()}, {design['id']}"


def front_of(study: str, place: Path) -> list[str]:
    """Return a heading with the number of trials, and lines for networks of the search's front and published ones."""
    found = read(place)
    name = metric_of(study)
    front = sorted(found.front(), key=lambda trial: -trial.metrics[name]["mean"])
    shown = [front[n] for n in sorted({round(n) for n in np.linspace(0, len(front) - 1, _SHOWN)})]
    baselines = found.trials[: len(load(study).search.baselines)]  # asked for first
    lines = [
        f"**`{study}`**, the front of the search, {len(shown)} of {len(front)} networks, of {len(found.evaluated)} "
        f"evaluated ones of {len(found.trials)} trials:",
        "",
        f"| network | {name} % | products | BOPs | EBOPs |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for trial in (*baselines, *shown):
        products = sum(variable.size for variable in kernels(trial.genotype))
        value = trial.metrics[name]
        cells = [
            f"{parse(trial.genotype).describe()}, {'baseline' if trial in baselines else f'trial {trial.number}'}",
            f"{100 * value['mean']:.2f} ± {100 * value['std']:.2f}",
            *(f"{one:,.0f}" for one in (products, trial.value("bops"), trial.value("ebops"))),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, *FRONTS[study], ""]


def kernels(genotype: dict[str, Any]) -> list[np.ndarray]:
    """Return the kernels of a network of dense layers as it begins: each of their weights is one product."""
    return [value for name, value in export_weights(build(parse(genotype))).items() if name.endswith("/kernel")]


def metric_of(study: str) -> str:
    """Return the metric of a study, all of which classify."""
    named = load(study).search.metric
    return "accuracy" if named == "auto" else named


def table_of(study: str, summary: dict[str, Any]) -> list[str]:
    """Return a heading with the minutes, and a line for each design and each published one."""
    metric = metric_of(study)
    lines = [f"**`{study}`**, {summary['seconds'] / 60:.1f} minutes:", ""]
    lines += [
        f"| design | {metric} % | LUT | FF | DSP | cycles (ns) | Keras = adder graph = RTL |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for design in summary["designs"]:
        cost, found = design["cost"], design["verification"]
        if cost["lut"]["stage"] != "synthesis":
            raise SystemExit(f"design {design['id']} of {study} was not synthesised: {cost['lut']}")
        value = design["metrics"][metric]["value"]
        checked = f"{found['samples']:,} exact" if found["mismatches"] == 0 else f"{found['mismatches']} DIFFER"
        lines.append(
            f"| {network(design)} | {100 * value:.2f} | {cost['lut']['value']:,.0f} | {cost['ff']['value']:,.0f} "
            f"| {cost['dsp']['value']:.0f} "
            f"| {cost['latency_cycles']['value']:.0f} ({cost['latency_ns']['value']:g}) | {checked} |"
        )
    return [*lines, *PUBLISHED[f"{study.removesuffix('-quick')}-quick"], ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/search.md")
    options = parser.parse_args()
    tables = written()
    for study in options.studies.split(","):
        place = options.out / study
        found = table_of(study, run(study, place))
        found += front_of(study, place) if study in FRONTS else []
        print("\n".join(found), flush=True)
        tables[study] = "\n".join(found).strip()
    if options.write:
        put(DOCUMENT, BEGIN, END, "\n\n".join(tables.values()))


def written() -> dict[str, str]:
    """Return the tables that stand in the documentation, by study."""
    text = DOCUMENT.read_text("utf-8").split(BEGIN)[1].split(END)[0]
    tables: dict[str, str] = {}
    for part in re.split(r"(?m)^(?=\*\*`)", text)[1:]:
        study = part.split("`")[1]
        tables[study] = "\n\n".join(filter(None, (tables.get(study), part.strip())))
    return tables


if __name__ == "__main__":
    main()
