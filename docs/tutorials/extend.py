# %% [markdown]
# # Extend weft: a pruning method and a block
#
# A package adds to weft by entry points; weft itself stays as it is. Here we write one with two ideas that weft does
# not have:
#
# - a pruning method `fan_in`, after which no neuron reads more than a few inputs, as networks of look-up tables want
#   it;
# - a block `maxout` ([arXiv:1302.4389](https://arxiv.org/abs/1302.4389)), whose units are the larger of two linear
#   functions: a nonlinearity that hardware has for free, since choosing the larger of two numbers is a comparison.
#
# ## The package
#
# A pruning method is a section of the configuration with pure functions on a matrix `w` (n_out, n): a row for each
# output. `apply` says what the network computes with while it trains, and which weights are alive.

# %%
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

Path("extras").mkdir()
Path("extras/weft_extras.py").write_text('''\
"""A pruning method and a block for weft."""

from typing import ClassVar, Literal

from pydantic import Field

from weft import ops
from weft.blocks import Block, Count, Genes
from weft.choice import Choice, one_of
from weft.prune import Method


class FanIn(Method):
    """Every output keeps its largest weights."""

    method: Literal["fan_in"] = Field(default="fan_in", description="The method.")
    inputs: int = Field(default=4, ge=1, description="Inputs that an output reads at most.")

    def check(self, geometry):
        if self.inputs >= geometry.n:
            return f"its outputs read {geometry.n} inputs, so inputs={self.inputs} removes nothing; list it in skip"
        return None

    def apply(self, w, state, clock):
        rank = ops.argsort(ops.argsort(-ops.abs(w), axis=1), axis=1)  # 0 is the largest of its row
        mask = ops.stop_gradient(ops.cast(rank < self.inputs, w.dtype))
        return w * mask, mask


class MaxoutGenes(Genes):
    """The number of units that was chosen."""

    type: Literal["maxout"] = "maxout"
    units: Count

    def output_shape(self, shape):
        return (self.units,)

    def build(self, x, prefix):
        import keras

        both = [keras.layers.Dense(self.units, name=f"{prefix}_{part}")(x) for part in "ab"]
        return keras.layers.Maximum(name=f"{prefix}_max")(both)


class MaxoutBlock(Block):
    """How many units the search may choose."""

    type: Literal["maxout"] = Field(default="maxout", description="The kind of block.")
    units: Choice[Count] = Field(default=one_of(4, 8), description="Number of units.")

    genes: ClassVar = MaxoutGenes
    takes: ClassVar = (1,)
''')
Path("extras/pyproject.toml").write_text("""\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "weft-extras"
version = "0.1.0"
dependencies = ["weft"]

[project.entry-points."weft.prune"]
fan_in = "weft_extras:FanIn"

[project.entry-points."weft.blocks"]
maxout = "weft_extras:MaxoutBlock"

[tool.setuptools]
py-modules = ["weft_extras"]
""")


def sh(command):
    """Run a command as in a terminal."""
    subprocess.run(command, shell=True, check=True)


# %% [markdown]
# Install it as any package, `pip install ./extras`. This page installs into a folder of its own, to leave your
# environment alone.

# %%
sh(f"{sys.executable} -m pip install --quiet --no-deps --no-build-isolation --target site ./extras")
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path("site").resolve()), os.environ.get("PYTHONPATH", "")])
sys.path.insert(0, str(Path("site").resolve()))

from weft.blocks import BLOCKS
from weft.prune import methods

assert "fan_in" in methods() and "maxout" in BLOCKS
print(len(methods()), "pruning methods,", len(BLOCKS), "blocks")

# %% [markdown]
# ## In an experiment
#
# Both are words of the experiment file from now on: in its JSON Schema, checked like all others, and with the nearest
# word where one is misspelt.

# %%
Path("experiment.yaml").write_text("""\
version: 1
name: extended
data: {name: jets-hlf, seed: 1, rows: {train: 4000, validation: 1000, test: 1000}}
space:
  blocks: [{type: maxout, units: [6, 8]}]
  optimizer: {learning_rate: 5e-3}
  quantization: {mode: float}
search: {trials: 2, population: 2, epochs: 2, batch_size: 128, objectives: [accuracy, lut], workers: 1}
compress: {recipe: qat, prune: {method: fan_in, inputs: 4}}
target: {part: xcvu13p-flga2577-2-e, clock_period_ns: 5.0}
""")
wrong = subprocess.run(
    ["weft", "validate", "experiment.yaml", "--set", "compress.prune.method=fanin"], capture_output=True, text=True
)
print(wrong.stderr.strip())
assert wrong.returncode == 2 and "did you mean 'fan_in'?" in wrong.stderr

sh("weft search experiment.yaml")

# %% [markdown]
# `weft run experiment.yaml` would now compress the best of them. To look closer, we do that by hand, on one network
# with the new block.

# %%
import weft  # before Keras: it chooses JAX
import keras

from weft.config import load
from weft.data import load as load_data
from weft_extras import MaxoutGenes

data = load_data(load("experiment.yaml").data)
inputs = keras.Input((16,))
outputs = keras.layers.Dense(5, name="output")(MaxoutGenes(units=8).build(inputs, "hidden"))
recipe = {
    "recipe": "fixed",
    "precisions": [{"total_bits": 6}],
    "pretrain_epochs": 2,
    "epochs": 6,
    "finetune_epochs": 4,
    "batch_size": 128,
    "learning_rate": 5e-3,
    "prune": {"method": "fan_in", "inputs": 4},
}
model = weft.compress(keras.Model(inputs, outputs), recipe, data.train.x)
history = weft.fit(model, data)
final = weft.finalize(model, data.train.x)
final.save("model.keras")
print(f"accuracy on validation rows: {history.last['accuracy']:.3f}")
assert history.last["accuracy"] > 0.5

# %% [markdown]
# ## Does it hold?
#
# The method promised four inputs for every neuron, so we count them in the finished model, whose kernels are the
# numbers of the hardware.

# %%
for layer in final.layers:
    if hasattr(layer, "kernel"):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        read = (kernel != 0).sum(axis=0)
        print(f"{layer.name}: of {kernel.shape[0]} inputs its outputs read {read.tolist()}")
        assert read.max() <= 4 < kernel.shape[0]

# %% [markdown]
# And the block comes all the way to Verilog: what is simulated there is what Keras computes.

# %%
np.save("rows.npy", data.validation.x)
sh("weft verify model.keras --data rows.npy")
result = json.loads(Path("model.verification.json").read_text())
assert result["status"] == "exact" and "rtl" in result["levels"] and result["samples"] >= 1000

# %% [markdown]
# [Base classes of plug-ins](../reference/plugins.md) says what else a package can offer, and names the suites in
# `weft.testing` that check a plug-in for all that weft takes for granted.
