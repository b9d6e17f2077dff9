"""The support matrix in docs/firmware-support.md: that its cells are what comes out, and agree with weft's refusals."""

from __future__ import annotations

import pytest
from benchmarks import support

from weft.adder_graph import AdderGraph
from weft.firmware.hls import HlsSimulation, emit

CELLS: dict[tuple[str, str], str] = {}
HEAD: list[str] = []
for line in support.TABLE.read_text().partition(support.BEGIN)[2].partition(support.END)[0].splitlines():
    cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
    if cells[0] == "layer":
        HEAD = cells
    elif len(cells) == len(HEAD) > 2:
        CELLS |= {(cells[0], flow): cell for flow, cell in zip(HEAD[1:], cells[1:], strict=True)}
    elif len(cells) == 2 and cells[0] in support.BACKENDS:
        CELLS[support.FULL, cells[0]] = cells[1]


def agrees(layer: str, flow: str) -> None:
    model, x = support.network(layer, uniform=flow.endswith("stream"))
    said, found = CELLS[layer, flow], support.cell(model, x, flow)
    assert support.disagreements([{"layer": layer, "flow": flow, **found}]) == []
    expected = {"exact": "exact", "written": "written, not simulated"}.get(found["status"], "refused")
    assert said.partition(" [")[0] == expected, found["note"]


@pytest.mark.parametrize(
    ("layer", "flow"),
    [
        (support.FULL, "quartus resource parallel"),
        (support.FULL, "oneapi resource parallel"),
        ("EinsumDense", "vitis resource parallel"),
        ("EinsumDense", "vitis distributed_arithmetic stream"),
        ("DepthwiseConv2D", "vitis latency parallel"),
    ],
)
def test_a_cell_is_what_comes_out(layer, flow):
    agrees(layer, flow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "flow"),
    [
        ("Conv2D", "vitis latency stream"),
        ("Concatenate", "vitis latency parallel"),
        ("Dense", "vitis distributed_arithmetic parallel"),
    ],
)
def test_more_cells_are_what_comes_out(layer, flow):
    agrees(layer, flow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "flow"),
    [
        ("Concatenate", "vitis latency parallel"),
        ("LeakyReLU", "vitis latency parallel"),
        ("Dense, then a ReLU layer", "vitis distributed_arithmetic parallel"),
        ("MaxPooling2D", "vitis latency stream"),
    ],
)
def test_in_an_exact_project_no_layer_differs_and_a_wrong_one_is_named(layer, flow, tmp_path):
    model, x = support.network(layer, uniform=flow.endswith("stream"))
    graph = AdderGraph.from_model(model)
    made = HlsSimulation(emit(model, tmp_path / "project", support.options(flow), support.PART, support.CLOCK_NS))
    values = graph.layer_outputs(x)
    assert made.first_difference(x, values) is None
    name = made.project.taps[0].layer
    assert made.first_difference(x, {**values, name: values[name] + 0.25})[0] == name


def test_a_wrong_refusal_is_told():
    one = {"layer": "a", "flow": "vitis latency parallel", "status": "exact", "note": "0 of 9 outputs", "refusal": "no"}
    assert support.disagreements([one]) == ["a by vitis latency parallel is refused, and exact: 0 of 9 outputs"]
    other = {**one, "status": "wrong", "note": "3 of 9 outputs", "refusal": None}
    assert support.disagreements([other]) == ["a by vitis latency parallel is not refused, and wrong: 3 of 9 outputs"]


def test_cells_are_read_from_their_table_as_they_were_written():
    page = support.TABLE.read_text().partition(support.BEGIN)[2].partition(support.END)[0]
    assert support.table(support.cells_of(page)).strip() == page.strip()
    wrong = {"layer": "Add", "flow": "vitis latency parallel", "status": "wrong", "note": "3 of 9 outputs"}
    again = support.cells_of(support.table([*support.cells_of(page), {**wrong, "refusal": "layer 'a' (QAdd): no"}]))
    assert {**wrong, "refusal": ": no"} in again
