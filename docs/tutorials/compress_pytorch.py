# %% [markdown]
# # Compress a PyTorch model
#
# You have a trained `nn.Module`, and it has to go onto an FPGA. Its weights become a Keras model that computes the
# same; that is quantised and pruned, trained a little more, and becomes Verilog. PyTorch is needed for the first step
# only (`pip install 'weft[torch]'`).
#
# ## A model as you may have one
#
# A tagger for jets in five classes, with batch normalisation, trained in a loop of its own.

# %%
import json
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import nn

import weft  # before Keras: it chooses JAX

from weft.config import loads
from weft.data import load as load_data

data = load_data(
    loads("""
version: 1
name: jets
data: {name: jets-hlf, seed: 1, rows: {train: 10000, validation: 3000, test: 3000}}
""").data
)
torch.manual_seed(0)
tagger = nn.Sequential(
    nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(),
    nn.Linear(24, 12), nn.ReLU(),
    nn.Linear(12, 5),
)  # fmt: skip
optimizer = torch.optim.Adam(tagger.parameters(), lr=5e-3)
x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y).long().flatten()
for _ in range(8):
    for rows in torch.randperm(len(x)).split(128):
        optimizer.zero_grad()
        nn.functional.cross_entropy(tagger(x[rows]), y[rows]).backward()
        optimizer.step()
tagger.eval()


def accuracy(outputs, split):
    """Return the share of rows whose class is right."""
    return float(np.mean(np.argmax(outputs, axis=1) == split.y.ravel()))


with torch.no_grad():
    expected = tagger(torch.from_numpy(data.validation.x)).numpy()
print(f"PyTorch, float: accuracy {accuracy(expected, data.validation):.3f} on validation rows")

# %% [markdown]
# ## The same in Keras
#
# `weft.from_torch` follows the module's operations, takes its weights along, and compares the result with the module on
# random rows before it hands it out. What has no counterpart is an error that names every place. We look again, on our
# own rows.

# %%
model = weft.from_torch(tagger, x[:2])
found = np.asarray(model(data.validation.x))
print(f"largest difference: {np.abs(found - expected).max():.1e}")
print(*(layer.name for layer in model.layers), sep=", ")
assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

# %% [markdown]
# ## Compress
#
# Seven bits for every weight and activation, and half of the weights gone: the method `pdp` multiplies weights with a
# soft mask at a threshold that rises, and the mask hardens before fine-tuning. The batch normalisation becomes part of
# the layer before it.

# %%
recipe = {
    "recipe": "fixed",
    "precisions": [{"total_bits": 7}],
    "epochs": 8,
    "finetune_epochs": 6,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "prune": {"method": "pdp", "sparsity": 0.5},
}
small = weft.compress(model, recipe, data.train.x)
history = weft.fit(small, data)
final = weft.finalize(small, data.train.x)
final.save("tagger.keras")

outputs = np.asarray(final(data.validation.x))
before, after = accuracy(expected, data.validation), accuracy(outputs, data.validation)
print(f"accuracy {before:.3f} as a float network, {after:.3f} compressed")
assert after > before - 0.05

zeros = {}
for layer in final.layers:
    if hasattr(layer, "kernel"):
        zeros[layer.name] = float(np.mean(np.asarray(layer.kernel) == 0))
print("share of zeros:", {name: round(share, 2) for name, share in zeros.items()})
assert max(zeros.values()) > 0.4

# %% [markdown]
# ## What it costs
#
# Each number says how it was found: `solver` is the compiler's count for the adder graph of these very weights,
# `predicted` a formula.

# %%
command = "weft estimate tagger.keras --part xcvu13p --clock 5 --json"
cost = json.loads(subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout)[
    "tagger.keras"
]
for name in ("ebops", "lut", "ff", "latency_ns"):
    print(f"{name:>10}: {cost[name]['value']:8.0f} {cost[name]['unit']}, {cost[name]['stage']}, {cost[name]['source']}")
assert cost["lut"]["stage"] == "solver"

# %% [markdown]
# ## Is the firmware the network?
#
# `weft verify` writes Verilog, simulates it, and compares every output with Keras and with the adder graph, on our rows
# and on extreme ones. One difference would end it with exit code 4.

# %%
np.save("rows.npy", data.validation.x)
subprocess.run("weft verify tagger.keras --data rows.npy --clock 5", shell=True, check=True)
result = json.loads(Path("tagger.verification.json").read_text())
assert result["status"] == "exact" and result["mismatches"] == 0 and "rtl" in result["levels"]

# %% [markdown]
# A network that is to be *searched* begins with its data instead: [search with constraints](constrained_search.py).
# What every layer becomes in firmware stands in the [support matrix](../firmware-support.md).
