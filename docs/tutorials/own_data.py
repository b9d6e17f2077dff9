# %% [markdown]
# # From your own data to verified Verilog
#
# A calorimeter sends six numbers about each cluster of energy, and in every 25 ns a trigger has to say whether the
# cluster came from an electron or from a hadron. We have a CSV file of labelled clusters and room for 600 look-up
# tables. At the end there is Verilog that computes the same numbers as the trained network, bit for bit.
#
# ## The data
#
# Any CSV file will do that has one row per example, numbers in the columns and one column with the label. Ours is
# made here, so that this page runs anywhere: electrons deposit their energy early and in a narrow cone, hadrons
# deeper and more widely.

# %%
import json
import subprocess
from pathlib import Path

import numpy as np

rng = np.random.default_rng(7)
n = 3000
electron = rng.random(n) < 0.5
energy = rng.gamma(4.0, 10.0, n)
early = np.where(electron, rng.beta(8, 3, n), rng.beta(3, 4, n))  # share of the energy in the first layer
width = np.where(electron, rng.gamma(6, 0.2, n), rng.gamma(6, 0.4, n))
depth = np.log(energy) * np.where(electron, 1.0, 1.3) + rng.normal(0, 0.5, n)
cells = rng.poisson(5 + 3 * width)
behind = energy * (1 - early) * np.where(electron, 0.05, 0.5) * rng.random(n)

with open("clusters.csv", "w") as file:
    file.write("energy,early,width,depth,cells,behind,kind\n")
    for row in zip(energy, early, width, depth, cells, behind, electron, strict=True):
        file.write(",".join(f"{value:.4f}" for value in row[:-1]) + (",electron\n" if row[-1] else ",hadron\n"))

print(Path("clusters.csv").read_text()[:160])

# %% [markdown]
# ## The experiment
#
# One YAML file says everything: where the data are, which networks are allowed, how to choose among them, how to
# compress the choice, and what it has to fit into. The numbers of trials and epochs are small, for this page; a real
# search has ten times as many.

# %%
Path("experiment.yaml").write_text("""\
version: 1
name: clusters
data: {files: {all: clusters.csv}, label: kind}
space:
  blocks: [{type: mlp, depth: 1, units: [4, 8]}]
  optimizer: {learning_rate: 5e-3}
search:
  trials: 2
  population: 2
  epochs: 5
  batch_size: 128
  objectives: [accuracy, lut]
  workers: 1
select: {rule: best_metric, count: 1}
compress:
  recipe: hgq
  epochs: 30
  batch_size: 128
  learning_rate: 5e-3
  bits0: 4
  beta: {from: 1e-6, to: 1e-4}
  keep: 1
target: {part: xcvu13p-flga2577-2-e, clock_period_ns: 5.0, budget: {lut: 600}}
firmware: {verify: {samples: 3000}, synth: yosys}
""")


def sh(command):
    """Run a command as in a terminal."""
    subprocess.run(command, shell=True, check=True)


sh("weft data experiment.yaml")

# %% [markdown]
# `weft data` reads the file as a run would. The features are scaled with numbers from the training rows, and the test
# rows are put away until everything has been decided.
#
# ## One command
#
# `weft run` searches, compresses, writes the Verilog, simulates it against the network, synthesises it and writes a
# report. If it is interrupted, the same command goes on.

# %%
sh("weft run experiment.yaml")

# %% [markdown]
# ## What came out
#
# Every number in `summary.json` says at which stage it was found. The look-up tables were counted by synthesis, not
# estimated; *exact* means that Keras, the adder graph and the simulated Verilog gave the same outputs for every input
# that was tried.

# %%
run = Path("runs/clusters")
summary = json.loads((run / "summary.json").read_text())
(design,) = summary["designs"]
accuracy, lut = design["metrics"]["accuracy"], design["cost"]["lut"]
print(f"accuracy {accuracy['value']:.3f} on the {accuracy['split']} rows")
print(f"{lut['value']:.0f} LUT: {lut['stage']}, by {lut['source']}")
print(f"verification: {design['verification']['status']} on {design['verification']['samples']} inputs")

assert design["verification"]["status"] == "exact"
assert design["verification"]["mismatches"] == 0
assert design["verification"]["levels"][-1] == "rtl"
assert lut["stage"] == "synthesis" and lut["value"] <= 600
assert accuracy["value"] > 0.9

# %% [markdown]
# The Verilog is plain text: additions and shifts, no multipliers, nothing to configure.

# %%
folder = run / "designs" / design["id"]
sources = sorted(path.relative_to(folder) for path in folder.rglob("*.v"))
print(*sources, sep="\n")
assert sources

# %% [markdown]
# ## Take it away
#
# `weft export` puts the sources, a self-checking testbench and golden vectors into a folder that stands alone: hand
# it to whoever builds the firmware.

# %%
sh("weft export runs/clusters --out bundle")
print(*sorted(path.name for path in Path("bundle").iterdir()), sep="\n")
assert (Path("bundle") / "testbench" / "tb.v").exists()

# %% [markdown]
# Open `runs/clusters/report.html` in a browser for the front of the search and the numbers of the design. Next:
# [search with constraints](constrained_search.py).
