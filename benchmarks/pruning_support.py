"""Which pruning method works under which layer, on which Keras backend: results of the conformance suite as a table.

    make test support                        # from the results of the whole suite
    python benchmarks/pruning_support.py     # or run this one on JAX and PyTorch, some minutes, and write the page

The suite is `tests/compression/test_conformance.py`; a cell says how many of its tests for a method and a layer passed.
Nothing is filled in by hand. A test that fails ends the script with exit code 1, and its cell says so.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "pruning-support.md"
SUITE = "tests/compression/test_conformance.py"
BEGIN, END = "<!-- table: written by benchmarks/pruning_support.py -->", "<!-- end of table -->"
REFUSED = "test_what_cannot_be_pruned_is_refused_before_training"

Cells = dict[tuple[str, str], list[tuple[str, bool]]]
"""Method and layer to the tests that ran, each with whether it passed."""


def run(backend: str, folder: Path) -> Path:
    """Run the suite on a backend, and return the file of its results."""
    path = folder / f"{backend}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "backends", f"--junitxml={path}", SUITE]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend}, check=False)
    return path


def read(path: Path) -> Cells:
    """Return the tests of one method and one layer that a file of results holds."""
    found: Cells = defaultdict(list)
    for case in ElementTree.parse(path).iter("testcase"):
        name = re.fullmatch(r"(\w+)\[(.+)-(\w+)\]", case.attrib["name"])
        ours = case.attrib["classname"].endswith("test_conformance")
        if ours and name and case.find("skipped") is None:
            passed = case.find("failure") is None and case.find("error") is None
            found[name[2], name[3]].append((name[1], passed))
    return found


def cell(tests: list[tuple[str, bool]]) -> str:
    """Return what the tests of a method and a layer amount to."""
    failed = [name for name, passed in tests if not passed]
    if failed:
        return f"**{len(failed)} of {len(tests)} fail**"
    if not tests:
        return "not run"
    return "refused" if [name for name, _ in tests] == [REFUSED] else f"{len(tests)} passed"


def table(results: dict[str, Cells]) -> str:
    """Return a table for each backend; backends with equal cells share one."""
    texts: dict[str, list[str]] = defaultdict(list)
    for backend, cells in results.items():
        layers = list(dict.fromkeys(layer for _, layer in cells))
        rows = [f"| method | {' | '.join(layers)} |", "| --- |" + " --- |" * len(layers)]
        for method in sorted({method for method, _ in cells}):
            rows.append(f"| {method} | " + " | ".join(cell(cells.get((method, layer), [])) for layer in layers) + " |")
        texts["\n".join(rows)].append(backend)
    return "\n\n".join(f"On {' and on '.join(backends)}:\n\n{text}" for text, backends in texts.items())


def main() -> int:
    """Run or read the results, write the page, and say whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="files", nargs="+", metavar="BACKEND=FILE", help="results of earlier runs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = dict(one.split("=", 1) for one in given.files or ())
        files = files or {backend: str(run(backend, Path(folder))) for backend in ("jax", "torch")}
        results = {backend: read(Path(path)) for backend, path in files.items()}
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(results)}\n\n{END}{rest.partition(END)[2]}")
    return int(any(not passed for cells in results.values() for tests in cells.values() for _, passed in tests))


if __name__ == "__main__":
    sys.exit(main())
