# %% [markdown]
# # Search with constraints
#
# A trigger board has a fixed latency and a fixed share of an FPGA; what is best outside of these is of no use. So
# limits are not objectives with a large weight but *constraints*: a network that breaks one is known to be
# infeasible, and never stands on the front.
#
# ## What is asked for
#
# Jets in five classes, described by 16 numbers; the data come with weft. We want accuracy for few look-up tables, and
# accept nothing above 3 000 LUT or 20 ns. With a clock of 5 ns this leaves four cycles.

# %%
import csv
import json
import subprocess
from pathlib import Path

Path("experiment.yaml").write_text("""\
version: 1
name: limits
data: {name: jets-hlf, seed: 1, rows: {train: 6000, validation: 2000, test: 2000}}
space:
  blocks:
    - {type: mlp, depth: [1, 2], units: [3, 4, 6, 8, 12, 16], activation: relu}
  optimizer: {learning_rate: 5e-3}
  quantization: {mode: float, cost_bits: 5}
search:
  sampler: nsga2
  seed: 3
  trials: 12
  population: 12
  epochs: 5
  batch_size: 128
  objectives: [accuracy, lut]
  constraints: {lut: "<= 3000", latency_ns: "<= 20"}
  workers: 1
select: {rule: knee, count: 2}
compress: none
target: {part: xcvu13p-flga2577-2-e, clock_period_ns: 5.0}
""")


def sh(command):
    """Run a command as in a terminal."""
    subprocess.run(command, shell=True, check=True)


# %% [markdown]
# Every candidate is trained in float for five epochs; then its weights are rounded to five bits, its adder graph is
# built, and LUT and latency are counted on that graph. So a cost belongs to the actual weights, and says so: its
# stage is `solver`.

# %%
sh("weft search experiment.yaml")

# %% [markdown]
# ## Feasible and infeasible
#
# `trials.csv` has every trial, with what it broke. Infeasible networks are not thrown away: the sampler learns from
# them by how much they missed. A network that was drawn twice was evaluated once, and is listed here once.

# %%
run = Path("runs/limits")
with open(run / "trials.csv") as file:
    trials = [row for row in csv.DictReader(file) if row["state"] == "complete" and not row["duplicate_of"]]
for row in sorted(trials, key=lambda row: float(row["lut"])):
    verdict = "feasible" if row["feasible"] == "True" else f"too much by {float(row['violation']):.2f}"
    lut, ns = float(row["lut"]), float(row["latency_ns"])
    print(f"trial {row['number']:>2}: accuracy {float(row['accuracy']):.3f} {lut:8.0f} LUT {ns:5.0f} ns  {verdict}")

feasible = [row for row in trials if row["feasible"] == "True"]
broken = [row for row in trials if row["feasible"] == "False"]
assert feasible and broken, "the limits cut through the space"
assert all(float(row["lut"]) <= 3000 and float(row["latency_ns"]) <= 20 for row in feasible)
assert all(float(row["lut"]) > 3000 or float(row["latency_ns"]) > 20 for row in broken)

# %% [markdown]
# ## The front
#
# `pareto.csv` holds the networks that no other feasible one beats in both accuracy and LUT; `weft pareto runs/limits`
# prints them again.

# %%
with open(run / "pareto.csv") as file:
    front = list(csv.DictReader(file))
assert all(row["feasible"] == "True" for row in front)
for one in front:
    for other in front:
        better = float(other["accuracy"]) > float(one["accuracy"]) and float(other["lut"]) < float(one["lut"])
        assert not better, "a design on the front is beaten"

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3.2))
for rows, color, label in ((feasible, "tab:blue", "feasible"), (broken, "tab:gray", "breaks a limit")):
    axes.scatter([float(r["lut"]) for r in rows], [float(r["accuracy"]) for r in rows], color=color, label=label)
line = sorted(front, key=lambda row: float(row["lut"]))
axes.step([float(r["lut"]) for r in line], [float(r["accuracy"]) for r in line], where="post", label="front")
axes.axvline(3000, color="tab:red", linestyle=":", label="3 000 LUT")
axes.set(xlabel="LUT, by the adder graph (stage: solver)", ylabel="accuracy on validation rows")
axes.legend()

# %% [markdown]
# ## Which one?
#
# The rule in the section `select` decides, and writes down why. `knee` takes the designs where a little more accuracy
# begins to cost much; [Search](../searching.md) has the other rules.

# %%
sh("weft select runs/limits")
for one in json.loads((run / "selection.json").read_text()):
    assert str(one["number"]) in {row["number"] for row in front}

# %% [markdown]
# From here `weft run runs/limits` compresses the chosen designs, and takes them to Verilog, with a `compress` section
# other than `none`. A *budget* (`target.budget: {lut: 3000}`) is another matter: it is checked at the end, on what
# synthesis counted, and a run that misses it ends with exit code 5.
