"""Every compression recipe on the same network: accuracy, EBOPs, LUT by synthesis and seconds, as one table.

Each recipe goes through `weft run jets-mlp` to a design that is verified bit for bit and synthesised; the float network
that they start from is the same. The table is written into `docs/compression.md`.

    python benchmarks/recipes.py [--out runs/recipes] [--epochs-scale 1.0] [--recipes dst,pdp] [--write]

A run that is there already is read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _measure import put

from weft.config import load
from weft.config.compress import recipes

DOCUMENT = Path(__file__).parents[1] / "docs" / "compression.md"
BEGIN, END = "<!-- table of recipes: written by benchmarks/recipes.py -->", "<!-- end of the table -->"

EXTRA = {"budget": ["compress.lut=2000"], "hgq": ["compress.target={ebops: 1500}", "compress.batch_size=256"]}
"""What recipes that have no file of their own, or none without a budget, are run with."""

EPOCHS = ("pretrain_epochs", "epochs", "finetune_epochs", "warmup_epochs")


def settings(recipe: str, scale: float) -> list[str]:
    """Return the settings of a recipe's run, its epochs scaled."""
    chosen = [f"compress.recipe={recipe}", *EXTRA.get(recipe, [])]
    section = load("jets-mlp", chosen).compress
    for name in EPOCHS:
        epochs = getattr(section, name, 0)
        if epochs and scale != 1.0:
            chosen.append(f"compress.{name}={max(round(epochs * scale), 2)}")
    return chosen


def run(recipe: str, place: Path, scale: float) -> dict[str, Any]:
    """Run a recipe, or read its run; return the summary."""
    summary = place / "summary.json"
    if not summary.exists() or json.loads(summary.read_text())["status"] != "finished":
        sets = [part for text in settings(recipe, scale) for part in ("--set", text)]
        command = [sys.executable, "-m", "weft", "run", "jets-mlp", "--out", str(place), *sets]
        if place.exists():
            command = [sys.executable, "-m", "weft", "run", str(place)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"recipe {recipe} ended with exit code {done.returncode}; see {place}/log.jsonl")
    return json.loads(summary.read_text())


def seconds_of(place: Path) -> float:
    """Return the seconds of the compression alone."""
    events = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    ends = [e for e in events if e["event"] == "stage" and e["name"] == "compress" and e["state"] == "ends"]
    return sum(e["seconds"] for e in ends)


def rows_of(recipe: str, place: Path, summary: dict[str, Any]) -> list[str]:
    """Return a line for each design of a run."""
    lines = []
    for design in summary["designs"]:
        cost, found = design["cost"], design["verification"]
        accuracy = design["metrics"]["accuracy"]["value"]
        checked = f"{found['samples']:,} exact" if found["mismatches"] == 0 else f"{found['mismatches']} DIFFER"
        lut = cost["lut"]
        if lut["stage"] != "synthesis":
            raise SystemExit(f"design {design['id']} of recipe {recipe} was not synthesised")
        lines.append(
            f"| {recipe} | {100 * accuracy:.2f} | {cost['ebops']['value']:,.0f} | {lut['value']:,.0f} "
            f"| {cost['latency_cycles']['value']:.0f} | {checked} | {seconds_of(place):.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--epochs-scale", type=float, default=1.0, help="multiplies the epochs of all recipes")
    parser.add_argument("--recipes", default=",".join([*recipes(), "hgq", "budget"]))
    parser.add_argument("--write", action="store_true", help="put the table into docs/compression.md")
    options = parser.parse_args()
    lines = [
        "| recipe | test accuracy % | EBOPs | LUT (Yosys, synthesis) | cycles at 5 ns | Keras = adder graph = RTL "
        "| seconds to compress |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for recipe in options.recipes.split(","):
        place = options.out / recipe
        rows = rows_of(recipe, place, run(recipe, place, options.epochs_scale))
        print("\n".join(rows), flush=True)
        lines += rows
    table = "\n".join(lines)
    print(table)
    if options.write:
        put(DOCUMENT, BEGIN, END, table)


if __name__ == "__main__":
    main()
