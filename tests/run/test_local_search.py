"""Local search from the command line: selected designs x recipes x precisions x folds, side by side, all exact."""

from __future__ import annotations

import json

import pytest

from tests.run.conftest import EXPERIMENT, weft, write_experiment
from weft.report.read import read_content
from weft.run import Run

SEVERAL = """compress:
  recipe: several
  recipes:
    combined:
      {recipe: imp, rounds: 2, epochs: 1, warmup_epochs: 1, folds: 2, batch_size: 64, fraction: 0.4, io_bits: 8,
       precisions: [{total_bits: 8}, {total_bits: 5}], keep: 2}
    separate:
      recipe: steps
      steps:
        - {recipe: imp, rounds: 1, epochs: 1, warmup_epochs: 0, batch_size: 64, precisions: [{total_bits: 12}]}
        - {recipe: hgq, epochs: 3, batch_size: 32, bits0: 4, keep: 1}
"""


@pytest.mark.slow  # twelve trainings in processes of their own
def test_recipes_precisions_and_folds_run_side_by_side_and_end_in_exact_designs(tmp_path):
    lines = [line for line in EXPERIMENT.splitlines() if not line.startswith("compress:")]
    text = "\n".join(lines).replace("synth: yosys", "") + "\n" + SEVERAL
    text = text.replace("firmware: {verify: {samples: 500}}", "firmware: {verify: {samples: 200}, synth: none}")
    experiment = write_experiment(tmp_path, text)
    done = weft("run", experiment, "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    designs = json.loads(done.stdout)["designs"]
    assert all(design["verification"]["status"] == "exact" for design in designs)
    trials = {design["id"].split("-")[0] for design in designs}
    kinds = [design["id"].split("-")[1] for design in designs]
    assert len(trials) == 2 and kinds.count("combined") == 4 and kinds.count("separate") == 2
    logs = {path.stem for path in (tmp_path / "run" / "logs" / "compress").glob("*.log")}
    for trial in trials:
        number = int(trial[1:])
        assert {f"trial-{number}-combined-part{part}" for part in range(4)} < logs
    rows = (tmp_path / "run" / "compress" / f"trial-{number}-combined" / "trail.csv").read_text().splitlines()
    assert "accuracy_std" in rows[0] and len(rows) == 1 + 2 * 3
    content = read_content(Run(tmp_path / "run"))
    assert {design.family for design in content.designs} == {
        f"{int(trial[1:])}, {label}" for trial in trials for label in ("combined", "separate")
    }
    assert all(any(row["point"] == design.point for row in design.trail) for design in content.designs)
    again = weft("compress", tmp_path / "run")
    assert again.returncode == 0 and not any("part" in line for line in again.stderr.splitlines())
