# %% [markdown]
# # Read out a qubit
#
# A transmon is measured by a microwave pulse: the resonator behind it answers with a phase that depends on the state.
# A converter records I and Q, and within tens of nanoseconds something has to say *0* or *1*, since error correction
# waits for it. The usual answer is a matched filter. We ask for a small network that comes close, as logic of a
# ZCU216 and in less than 40 ns, and which part of the trace it should look at.
#
# ## The data
#
# weft brings a simulator of dispersive readout: relaxation, preparation errors and amplifier noise included
# (`qubit-readout`). 8 000 shots are few, and enough for this page.

# %%
import csv
import json
import subprocess
from pathlib import Path

import numpy as np

Path("experiment.yaml").write_text("""\
version: 1
name: qubit
data: {name: qubit-readout, window: {start: 0, length: 500}, shots: 8000, seed: 1}
space:
  blocks:
    - {type: window, start: [0, 100, 250, 400], length: 100}
    - {type: mlp, depth: 1, units: 2, activation: relu}
  optimizer: {learning_rate: 5e-3}
  quantization: {mode: float, cost_bits: 5}
search:
  sampler: grid
  trials: 4
  population: 4
  epochs: 8
  batch_size: 64
  metric: fidelity
  objectives: [fidelity, lut]
  constraints: {latency_ns: "<= 40"}
  workers: 1
select: {rule: best_metric, count: 1}
compress:
  recipe: hgq
  epochs: 20
  batch_size: 64
  metric: fidelity
  learning_rate: 5e-3
  bits0: 4
  beta: {from: 1e-7, to: 1e-5}
  keep: 1
target: {part: zcu216, clock_period_ns: 3.225}
firmware: {rtl: {solver: {extra_depth: 0}}, verify: {samples: 1000}, synth: yosys}
""")


def sh(command):
    """Run a command as in a terminal."""
    subprocess.run(command, shell=True, check=True)


# %% [markdown]
# ## The network and its window
#
# A trace has 500 samples here, and the network may read 100 of them. The block `window` chooses where they begin; in
# firmware it is wires, and what it leaves out costs nothing. The search sees candidates with the LUT and the
# nanoseconds of their actual weights.

# %%
sh("weft run experiment.yaml")

# %% [markdown]
# ## Which window?
#
# At the beginning of the pulse the resonator is still filling, and says little; late in it many qubits have relaxed.

# %%
run = Path("runs/qubit")
with open(run / "trials.csv") as file:
    trials = [row for row in csv.DictReader(file) if row["state"] == "complete"]
best: dict[int, float] = {}
for row in trials:
    start = int(row["params_block0.start"])
    best[start] = max(best.get(start, 0.0), float(row["fidelity"]))
for start, value in sorted(best.items()):
    print(f"window from sample {start:>3}: fidelity {value:.3f} on the validation rows")

(design,) = json.loads((run / "summary.json").read_text())["designs"]
chosen = json.loads((run / "designs" / design["id"] / "architecture.json").read_text())
window = chosen["blocks"][0]
print("chosen:", window)
assert window["length"] == 100 and window["start"] == max(best, key=best.__getitem__)

# %% [markdown]
# ## Against the matched filter
#
# The filter weighs every sample of the same window with the difference of the mean traces over the noise, and
# compares the sum with a threshold. It is fitted to the training rows; both are read on the test rows.

# %%
from weft.config import load
from weft.data import load as load_data

data = load_data(load("experiment.yaml").data)
test = data.test()
seen = slice(2 * window["start"], 2 * (window["start"] + window["length"]))  # I and Q of each sample, side by side
x, y = data.train.x[:, seen], data.train.y.ravel()
weights = (x[y == 1].mean(0) - x[y == 0].mean(0)) / x.var(0)
threshold = ((x @ weights)[y == 1].mean() + (x @ weights)[y == 0].mean()) / 2
said, truth = test.x[:, seen] @ weights > threshold, test.y.ravel()
filtered = 1 - (np.mean(said[truth == 0]) + np.mean(~said[truth == 1])) / 2

found, cost = design["metrics"]["fidelity"], design["cost"]
print(f"network: fidelity {found['value']:.4f}; matched filter on the same window: {filtered:.4f}")
for name in ("lut", "latency_ns"):
    number = cost[name]
    print(f"{name}: {number['value']:.6g} {number['unit']}, stage {number['stage']}, by {number['source']}")
print("verification:", design["verification"]["status"], "on", design["verification"]["samples"], "inputs")

assert found["split"] == "test" and found["value"] > filtered - 0.04
assert cost["lut"]["stage"] == "synthesis" and cost["latency_ns"]["value"] <= 40
assert design["verification"]["status"] == "exact"

# %% [markdown]
# With 8 000 shots the filter, which has to learn no more than two means, is hard to beat. `weft run qubit-readout` is
# the same study with 100 000 shots and a real search. The latency is cycles times the clock asked for; whether the
# part reaches that clock, only place and route can say.
