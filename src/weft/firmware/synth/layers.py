"""What each layer takes: every layer is synthesised by itself, since the whole has no hierarchy left.

The compiler optimises across layers and writes one flat module, so no cell of it belongs to a layer. The parts show
where the look-up tables go; their sum is above the whole, which shares what they cannot and drops bits that nothing
reads.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from weft.adder_graph import AdderGraph
from weft.firmware.rtl import emit
from weft.firmware.synth.yosys import synthesise

NOTE = (
    "each layer synthesised by itself, from the values of the layers before it; the sum is not that of the whole "
    "design, which is optimised across layers"
)


def synthesise_layers(
    graph: AdderGraph, part: str, clock_period_ns: float, timeout_s: float = 1200.0
) -> dict[str, Any]:
    """Synthesise the layers of a graph with Yosys, each pipelined for the clock as the whole is.

    Args:
        graph: The whole.
        part: As for `synthesise`.
        clock_period_ns: The clock.
        timeout_s: Wall-clock limit of all layers together, in seconds.

    Returns:
        `note`, and `layers`: for each with logic its quantities, as JSON, and `estimate`, the compiler's count of LUTs.

    Raises:
        ToolNotFoundError: Yosys is missing.
        ToolError: It failed or took too long.
    """
    end = time.monotonic() + timeout_s
    layers: dict[str, Any] = {}
    for name, one in graph.layer_graphs().items():
        if one.is_constant or one.lut == 0:
            continue  # wires
        with tempfile.TemporaryDirectory(prefix="weft-layer-") as scratch:
            project = emit(one, Path(scratch) / "project", part, clock_period_ns)
            used = synthesise(project.directory, part, max(end - time.monotonic(), 0.1))
        layers[name] = {key: quantity.model_dump(mode="json") for key, quantity in used.items()}
        layers[name]["estimate"] = one.cost(clock_period_ns)["lut"].model_dump(mode="json")
    return {"note": NOTE, "layers": layers}
