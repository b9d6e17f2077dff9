"""Reports of the vendor's tools, of several versions, whole, incomplete and damaged."""

from __future__ import annotations

import pytest

from tests.firmware.hls import recorded
from weft.errors import ToolError
from weft.firmware.hls import reports

USED = {"lut": 2532, "ff": 2428, "dsp": 66, "bram_18k": 4}


def values(quantities):
    return {name: quantity.value for name, quantity in quantities.items()}


@pytest.mark.parametrize(
    ("found", "source"),
    [
        (lambda: reports.csynth_xml(recorded.csynth_xml(), "Vitis HLS"), "Vitis HLS 2023.2"),
        (lambda: reports.csynth_xml(recorded.csynth_xml("2019.2", "DSP48E"), "Vivado HLS"), "Vivado HLS 2019.2"),
        (lambda: reports.csynth_rpt(recorded.VITIS_RPT), "Vitis HLS 2024.1"),
        (lambda: reports.csynth_rpt(recorded.VIVADO_HLS_RPT), "Vivado HLS 2018.3"),
    ],
    ids=["xml 2023.2", "xml 2019.2", "rpt 2024.1", "rpt 2018.3"],
)
def test_c_synthesis_gives_the_same_quantities_in_every_format(found, source):
    found = found()
    expected = {**USED, "uram": 0, "latency_cycles": 8, "ii_cycles": 2, "fmax_mhz": 250, "latency_ns": 40}
    if "2018" in source:
        expected["uram"] = None
        assert found["uram"].reason == "the report does not say"
    assert values(found) == expected
    assert {q.source for q in found.values()} == {f"{source}, C synthesis"}
    assert {q.stage for q in found.values()} == {"hls_report"}


@pytest.mark.parametrize("text", ["undef", "?", "NA"])
def test_what_the_tool_left_open_is_null_with_its_words(text):
    found = reports.csynth_xml(recorded.csynth_xml(latency=text, uram=""), "Vitis HLS")
    assert found["latency_cycles"].value is None and found["latency_cycles"].reason == f"the report says '{text}'"
    assert found["latency_ns"].value is None and found["latency_ns"].reason == f"the report says '{text}'"
    assert found["uram"].value is None and found["uram"].reason == "the report does not say"
    assert found["lut"].value == 2532


def test_co_simulation_gives_measured_cycles():
    found = reports.cosim_rpt(recorded.COSIM_RPT, "Vitis HLS 2023.2")
    assert values(found) == {"latency_cycles": 9, "ii_cycles": 2}
    assert found["ii_cycles"].source == "Vitis HLS 2023.2, C/RTL co-simulation of Verilog"
    failed = reports.cosim_rpt(recorded.COSIM_RPT.replace("Pass", "Fail"), "Vitis HLS 2023.2")
    assert failed["latency_cycles"].value is None
    assert failed["latency_cycles"].reason == "the co-simulation ended with status Fail"
    with pytest.raises(ToolError, match=r"co-simulation report \(it has no row of a simulated language"):
        reports.cosim_rpt(recorded.COSIM_RPT.replace("Pass", "NA"), "Vitis HLS 2023.2")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda text: reports.csynth_xml(text, "Vitis HLS"), recorded.csynth_xml()),
        (reports.csynth_rpt, recorded.VITIS_RPT),
        (lambda text: reports.cosim_rpt(text, "Vitis HLS"), recorded.COSIM_RPT),
    ],
    ids=["csynth.xml", "csynth.rpt", "cosim.rpt"],
)
def test_a_report_that_ends_in_the_middle_never_looks_like_one(read, text):
    for share in (0.0, 0.2, 0.4):
        with pytest.raises(ToolError, match=r"cannot read the .* report \(.*\); run the tool again, and see its log"):
            read(text[: int(share * len(text))])
