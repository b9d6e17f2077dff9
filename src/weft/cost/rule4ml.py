"""rule4ml: networks trained on synthesis reports of hls4ml designs, asked in a process of their own.

Source: Rahimifar et al., "rule4ml: An Open-Source Tool for Resource Utilization and Latency Estimation for ML Models on
FPGA", 2024, arXiv:2408.05314. It is GPL-3 and needs TensorFlow and PyTorch, so it is no part of weft: it lives in an
environment of its own, which `weft surrogate install-rule4ml` makes, and answers JSON (`rule4ml_worker.py`). Weights,
zeros, integer bits and widths of single layers it does not see; one width stands for all, the mean of the weights'.
One network is asked at a time, since the graph networks of 0.2.0 mix the designs of a call. An answer takes 20 s,
and is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft import atomic
from weft.cost import _cache
from weft.cost._base import CostInput, Target, register, require
from weft.errors import ConfigError, ToolError, ToolNotFoundError, UnsupportedError
from weft.types import Estimate, Quantity

log = logging.getLogger(__name__)

VERSION = "0.2.0"
PINNED = (
    ("torch==2.13.0",),
    (
        f"rule4ml=={VERSION}",
        *("torch==2.13.0", "torch-geometric==2.8.1", "tensorflow==2.21.0", "keras==3.15.1", "keras-tuner==1.4.8"),
        *("numpy==2.4.6", "pandas==3.1.1", "scikit-learn==1.9.1", "optuna==5.0.0"),
    ),
)
"""What is installed, in this order, with the versions whose answers are known."""

BOARDS = {"xc7z020": "pynq-z2", "xczu9eg": "zcu102", "xcu200": "alveo-u200", "xcu250": "alveo-u250"}
"""The boards that rule4ml knows, by device; its older weights know only the first three."""

WEIGHTS = ("v2/gnn", "v2/mlp", "v1/mlp")
FUNCTIONS = ("linear", "relu", "sigmoid", "tanh", "softmax")
INSTALL = "weft surrogate install-rule4ml"

_COUNTS = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "BRAM": "bram_18k"}
_CYCLES = {"CYCLES": "latency_cycles", "INTERVAL": "ii_cycles"}
_BITS = range(2, 17)
_NOTE = (
    "rule4ml sees neither weights nor zeros nor the bits of single layers: it takes the network as dense, of {bits} "
    "bits throughout, made by hls4ml with strategy {strategy} and reuse factor {reuse_factor} for {board} at 10 ns"
)


@register
class Rule4ml:
    """The predictions of rule4ml for dense networks on the boards that it knows.

    Args:
        board: The board to predict for, where the target's part is on none of them; by default the environment variable
            WEFT_RULE4ML_BOARD, and if that is not set there is no substitute.
        weights: `v2/gnn`, `v2/mlp` or `v1/mlp`.
        strategy: Of hls4ml: latency or resource.
        reuse_factor: Products per multiplier.
        bits: Width of the network; None takes the mean width of the weights.
        timeout_s: How long one answer may take.
    """

    name = "rule4ml"
    provides = ("lut", "ff", "dsp", "bram_18k", "latency_cycles", "ii_cycles")
    sees_weights = False

    def __init__(
        self,
        board: str | None = None,
        weights: str = "v2/gnn",
        strategy: str = "latency",
        reuse_factor: int = 1,
        bits: int | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        if weights not in WEIGHTS:
            raise ConfigError(f"rule4ml has no weights '{weights}'; it has {', '.join(WEIGHTS)}")
        self._board, self._weights, self._bits, self._timeout_s = board, weights, bits, timeout_s
        self._hls = {"strategy": strategy, "reuse_factor": reuse_factor}

    def supports(self, design: CostInput) -> str | None:
        return design.objection or _chain(design.model)[1]

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design, target) for design in designs]

    def _estimate(self, design: CostInput, target: Target) -> Estimate:
        require(self, design)
        layers = _chain(design.model)[0]
        widths = [float(np.mean(p.second.width)) for p in design.products if p.second.values is not None]
        bits = self._bits or max(1, round(float(np.mean(widths))))
        n_in = int(design.model.inputs[0].shape[1])
        return self.ask(n_in, layers, bits, self.board_of(target.part))

    def board_of(self, part: str) -> str:
        """Return the board that stands for a part.

        Raises:
            UnsupportedError: rule4ml knows no board with it, and no other board was named.
        """
        named = self._board or os.environ.get("WEFT_RULE4ML_BOARD")
        found = (
            named
            or BOARDS.get(part.split("-")[0].lower())
            or next((b for d, b in BOARDS.items() if part.startswith(d)), None)
        )
        if found is None or found not in BOARDS.values():
            what = f"a board '{named}'" if named else f"the part {part}"
            raise UnsupportedError(
                f"cost model 'rule4ml' does not know {what}; it knows {', '.join(BOARDS.values())}: set "
                "WEFT_RULE4ML_BOARD to the one that comes nearest (alveo-u250 has the capacities of a VU13P)"
            )
        if self._weights == "v1/mlp" and found == "alveo-u250":
            raise UnsupportedError("the weights v1/mlp of rule4ml do not know alveo-u250; use v2/gnn, or another board")
        return found

    def ask(self, n_in: int, layers: Sequence[tuple[int, str]], bits: int, board: str) -> Estimate:
        """Return the prediction for a dense network.

        Args:
            n_in: Number of inputs.
            layers: Width and activation of each layer.
            bits: Width of all numbers, in bits.
            board: One of `BOARDS`.

        Raises:
            ToolNotFoundError: rule4ml is not installed.
            ToolError: It failed, hung, or answered nothing that can be read.
        """
        request = {
            "n_in": n_in,
            "layers": [list(one) for one in layers],
            "board": board,
            "precision": f"ap_fixed<{bits}, {min(bits, 3)}>",
            "weights": self._weights,
            "hls4ml": "1.1.0",
            "vivado": "2024.2",
            **self._hls,
        }
        python = interpreter()
        key = hashlib.sha256(json.dumps([VERSION, str(python), request], sort_keys=True).encode()).hexdigest()
        return _cache.kept(key, lambda: self._answer(python, request, bits))

    def _answer(self, python: Path, request: dict[str, Any], bits: int) -> Estimate:
        answer = _call(python, request, self._timeout_s)
        source = f"rule4ml {answer['version']}, weights {self._weights}, {request['board']}"
        quantities = {
            **{ours: _quantity(answer, theirs, "count", source) for theirs, ours in _COUNTS.items()},
            **{ours: _quantity(answer, theirs, "cycles", source) for theirs, ours in _CYCLES.items()},
        }
        note = _NOTE.format(bits=bits, board=request["board"], **self._hls)
        return Estimate(quantities=quantities, in_domain=bits in _BITS, notes=(note,))


def _quantity(answer: dict[str, Any], name: str, unit: str, source: str) -> Quantity:
    value = answer.get(name)
    reason = f"these weights predict no {name.lower()}" if value is None else "no interval is known"
    return Quantity(value=value, unit=unit, stage="predicted", source=source, reason=reason)


def _chain(model: Any) -> tuple[list[tuple[int, str]], str | None]:
    """Return width and activation of each layer of a dense chain, or why a model is none."""
    from weft.quantize.graph import walk
    from weft.quantize.operations import function_of, name_of

    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 2:
        return [], "rule4ml is asked for dense networks that read one row of numbers only"
    layers: list[tuple[int, str]] = []
    last = id(model.inputs[0])
    for call in walk(model):
        name, function = name_of(call.operation), function_of(call.operation)
        if [id(tensor) for tensor in call.inputs] != [last]:
            return (
                [],
                f"rule4ml is asked for chains of dense layers only, and '{call.place}' makes the network no chain",
            )
        last = id(call.outputs[0])
        if function not in FUNCTIONS:
            return [], f"'{call.place}' ends with {function}, which rule4ml does not know ({', '.join(FUNCTIONS)})"
        if name in ("Dense", "BatchNormDense", "EinsumDenseBatchnorm") and len(call.outputs[0].shape) == 2:
            layers.append((int(call.outputs[0].shape[1]), function))
        elif name in ("Activation", "ReLU", "Softmax", "UnaryFunctionLUT", "Dropout", "Quantizer") and layers:
            if function != "linear":
                layers[-1] = (layers[-1][0], function)
        else:
            return [], f"'{call.place}' is a {type(call.operation).__name__}; rule4ml is asked for dense layers only"
    return layers, None


def directory() -> Path:
    """Return where rule4ml's environment is."""
    return _cache.directory().parent / f"rule4ml-{VERSION}"


def interpreter() -> Path:
    """Return the interpreter that has rule4ml: WEFT_RULE4ML_PYTHON, or that of the environment weft made.

    Raises:
        ToolNotFoundError: There is none.
    """
    named = os.environ.get("WEFT_RULE4ML_PYTHON")
    found = Path(named) if named else directory() / "bin" / "python"
    if not found.exists() or not (named or (directory() / "installed.json").exists()):
        where = f"WEFT_RULE4ML_PYTHON names {found}, which is not there" if named else f"it is not in {directory()}"
        raise ToolNotFoundError(
            f"cost model 'rule4ml' needs an environment with rule4ml {VERSION}, and {where}; '{INSTALL}' makes one "
            "(about 3.5 GB)"
        )
    return found


def install(python: str = sys.executable, run: Callable[[list[str]], None] | None = None) -> Path:
    """Make the environment of rule4ml, and return its interpreter.

    Args:
        python: The Python that the environment is made with.
        run: Runs a command; by default as a process, whose output is logged.

    Raises:
        ToolError: A step failed; the next call begins anew.
    """
    run = run or _run
    place = directory()
    mark, inside = place / "installed.json", place / "bin" / "python"
    mark.unlink(missing_ok=True)
    run([python, "-m", "venv", "--clear", str(place)])
    for packages in PINNED:
        run([str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    run([str(inside), "-c", f"from importlib.metadata import version; assert version('rule4ml') == '{VERSION}'"])
    atomic.write_json(mark, {"packages": [one for packages in PINNED for one in packages]})
    return inside


def _run(command: list[str]) -> None:
    log.info("%s", " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(
            f"rule4ml could not be installed: '{' '.join(command)}' ended with {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()[-800:]}; repair that and run '{INSTALL}' again"
        )


def _call(python: Path, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Ask a process of its own, and return its answer."""
    worker = Path(__file__).with_name("rule4ml_worker.py")
    again = f"repair its environment with '{INSTALL}'"
    command = [str(python), "-P", str(worker)]  # its neighbour here has the name of the package that it imports
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(json.dumps(request), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise ToolError(f"rule4ml gave no answer within {timeout_s:g} s and was ended; {again}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise ToolError(f"rule4ml ended with {process.returncode}: {err.strip()[-800:] or 'it said nothing'}; {again}")
    try:
        answer = json.loads(out.strip().splitlines()[-1])
        numbers = {name: float(answer[name]) for name in (*_COUNTS, *_CYCLES) if name in answer}
        if not numbers or not all(np.isfinite(list(numbers.values()))):
            raise ValueError("it holds no finite numbers")
        return {"version": str(answer["version"]), **numbers}
    except (ValueError, LookupError, TypeError) as error:
        raise ToolError(f"rule4ml answered what cannot be read ({error}): {out[:200]!r}; {again}") from error
