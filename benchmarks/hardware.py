"""How long the hardware's numbers take: estimators now; verification and synthesis have their place in the same table.

The design is a 16-64-32-32-5 network: sampled at 4 bits with 80 % zeros, some 3 000 EBOPs as an HGQ network of that
size has, or a finalised one of your own. Each estimator is timed in one process, after everything is imported and one
estimate was made; the caches on disk are those of a temporary directory. `cold` is the solver on a design that was
never seen, `cached` an estimate that another process left on disk (the model's configuration is written once before),
and `cached, in memory` the same again.

    python benchmarks/hardware.py [--rounds 9] [--design MODEL.keras] [--rule4ml PYTHON]

`--rule4ml` names an interpreter that has rule4ml 0.2.0; a network is asked as weft does it, a process a network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _measure import emit, machine, spread

from weft.cost import CostInput, FixedTarget, Rule4ml, _cache, find

TARGET = FixedTarget("xcu250-figd2104-2L-e", 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--design", type=Path, help="a finalised .keras file")
    parser.add_argument("--rule4ml", help="interpreter with rule4ml 0.2.0")
    options = parser.parse_args()
    emit(benchmark="hardware", **machine())
    with tempfile.TemporaryDirectory() as directory:
        os.environ["WEFT_CACHE"] = directory
        model = _design(options.design)
        _estimators(model, options.rounds)
        if options.rule4ml:
            os.environ["WEFT_RULE4ML_PYTHON"] = options.rule4ml
            _rule4ml(model, min(options.rounds, 3))


def _design(path: Path | None) -> Any:
    from weft.cost import sampled_model
    from weft.space.architecture import Architecture
    from weft.space.blocks.mlp import MlpGenes

    if path is not None:
        from weft.run.design import load_model

        return load_model(path)
    network = Architecture(input_shape=(16,), n_outputs=5, blocks=(MlpGenes(units=(64, 32, 32)),))
    return sampled_model(network, bits=4, sparsity=0.8, seed=1)


def _estimators(model: Any, rounds: int) -> None:
    costs = {name: find(name).estimate([CostInput(model)], TARGET)[0] for name in ("ebops", "bops", "adder_graph")}
    emit(design="16-64-32-32-5", ebops=costs["ebops"]["ebops"].value, lut=costs["adder_graph"]["lut"].value)

    def ask(name: str) -> Callable[[], Any]:
        return lambda: find(name).estimate([CostInput(model)], TARGET)

    def cold() -> None:
        for path in _cache.directory().rglob("*.json"):
            path.unlink()
        _cache._memory.clear()

    for label, name, before in (
        ("ebops", "ebops", None),
        ("bops", "bops", None),
        ("adder_graph, cold", "adder_graph", cold),
        ("adder_graph, cached", "adder_graph", _cache._memory.clear),
        ("adder_graph, cached, in memory", "adder_graph", None),
    ):
        n = rounds if before is cold else 20 * rounds
        emit(estimator=label, **_seconds(ask(name), n, before))


def _rule4ml(model: Any, rounds: int) -> None:
    one = Rule4ml()
    layers = [(64, "relu"), (32, "relu"), (32, "relu"), (5, "linear")]
    bits = iter(range(4, 4 + rounds))
    emit(
        estimator="rule4ml, a process a network",
        **_seconds(lambda: one.ask(16, layers, next(bits), "alveo-u250"), rounds),
    )


def _seconds(call: Callable[[], Any], n: int, before: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Return wall and processor seconds of a call, medians with quartiles."""
    wall, processor = [], []
    for _ in range(n):
        if before is not None:
            before()
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_cpu)
    return {"seconds": spread(wall), "cpu_seconds": spread(processor)}


if __name__ == "__main__":
    main()
