"""A start for a PYNQ board: an AXI-stream wrapper, a block design in Tcl, and a Python driver that packs the ports.

No board and no Vivado were there when this was written: the wrapper is simulated and the driver's packing is tested,
the Tcl and the transfer were never run, and the files say so.
"""

from __future__ import annotations

from pathlib import Path

from weft import atomic
from weft.adder_graph import TOP, AdderGraph
from weft.errors import UnsupportedError
from weft.firmware.rtl import Project

_WRAPPER = """\
// AXI4-Stream around module {top}: one beat of {bytes_in} bytes in, one beat of {bytes_out} bytes out, II = 1.
// Inputs and outputs are the ports of {top} in the lowest bits.
`timescale 1ns / 1ps

module {top}_axis (
    input  wire aclk,
    input  wire aresetn,
    input  wire [{bits_in}-1:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    input  wire s_axis_tlast,
    output wire s_axis_tready,
    output wire [{bits_out}-1:0] m_axis_tdata,
    output wire m_axis_tvalid,
    output wire m_axis_tlast,
    input  wire m_axis_tready
);
    // The module cannot be stopped, so what comes out while nobody takes it waits in a FIFO; an input is taken only
    // while there is room for everything on its way.
    localparam DELAY = {delay};
    localparam DEPTH_LOG2 = {depth_log2};
    localparam DEPTH = 1 << DEPTH_LOG2;
    wire [{width_out}-1:0] y;
    reg [DELAY-1:0] valid;
    reg [DELAY-1:0] last;
    reg [{width_out}:0] fifo [0:DEPTH-1];
    reg [DEPTH_LOG2:0] written, taken, promised;
    wire take = s_axis_tvalid && s_axis_tready;
    wire give = m_axis_tvalid && m_axis_tready;

    assign s_axis_tready = aresetn && (promised - taken) < DEPTH;
    assign m_axis_tvalid = written != taken;
    wire [{width_out}:0] head = fifo[taken[DEPTH_LOG2-1:0]];
    assign m_axis_tdata = {{{{({bits_out}-{width_out}){{1'b0}}}}, head[{width_out}-1:0]}};
    assign m_axis_tlast = head[{width_out}];

{core}

    always @(posedge aclk) begin
        valid <= {{valid, take}};  // the oldest falls out
        last <= {{last, s_axis_tlast}};
        if (valid[DELAY-1]) begin
            fifo[written[DEPTH_LOG2-1:0]] <= {{last[DELAY-1], y}};
            written <= written + 1'b1;
        end
        if (take) promised <= promised + 1'b1;
        if (give) taken <= taken + 1'b1;
        if (!aresetn) begin
            valid <= {{DELAY{{1'b0}}}};
            written <= 0;
            taken <= 0;
            promised <= 0;
        end
    end
endmodule
"""

_PIPELINED = """\
    {top} core (.clk(aclk), .model_inp(s_axis_tdata[{width_in}-1:0]), .model_out(y));"""

_COMBINATIONAL = """\
    reg [{width_in}-1:0] held;
    always @(posedge aclk) held <= s_axis_tdata[{width_in}-1:0];
    {top} core (.model_inp(held), .model_out(y));"""

_DRIVER = '''\
"""Drives {name} {version} on a PYNQ board: packs numbers into the ports' bits and moves them by DMA.

`pack` and `unpack` are tested; the transfer itself was never run on a board.
"""

import numpy as np

INPUT = dict(k={ik}, i={ii}, f={if_}, beat_bytes={bytes_in})
OUTPUT = dict(k={ok}, i={oi}, f={of}, beat_bytes={bytes_out})


def pack(x):
    """Return the beats of inputs (n, {n_in}): bytes (n, {bytes_in}); what is below the grid drops, overflow wraps."""
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise ValueError("inputs must be finite")
    beats = np.zeros((len(x), 8 * INPUT["beat_bytes"]), dtype=np.uint8)
    start = 0
    for j, (k, i, f) in enumerate(zip(INPUT["k"], INPUT["i"], INPUT["f"])):
        width = k + i + f
        code = np.floor(np.ldexp(np.fmod(x[:, j], 2.0 ** (k + i)), f)).astype(np.int64)
        beats[:, start : start + width] = (code[:, None] >> np.arange(width)) & 1
        start += width
    return np.packbits(beats, axis=1, bitorder="little")


def unpack(beats):
    """Return the outputs (n, {n_out}) of bytes (n, {bytes_out})."""
    bits = np.unpackbits(np.asarray(beats, dtype=np.uint8), axis=1, bitorder="little").astype(np.int64)
    y = np.zeros((len(bits), len(OUTPUT["k"])))
    start = 0
    for j, (k, i, f) in enumerate(zip(OUTPUT["k"], OUTPUT["i"], OUTPUT["f"])):
        width = k + i + f
        if width:
            code = bits[:, start : start + width] @ (1 << np.arange(width))
            y[:, j] = np.ldexp((code - k * (bits[:, start + width - 1] << width)).astype(np.float64), -f)
        start += width
    return y


class Network:
    """The network on the board: `Network("design.bit").predict(x)`."""

    def __init__(self, bitfile):
        from pynq import Overlay, allocate

        self._allocate, self._dma = allocate, Overlay(bitfile).axi_dma_0

    def predict(self, x):
        """Return the outputs for inputs (n, {n_in})."""
        beats = pack(x)
        given = self._allocate(beats.shape, np.uint8)
        taken = self._allocate((len(beats), OUTPUT["beat_bytes"]), np.uint8)
        given[:] = beats
        self._dma.recvchannel.transfer(taken)
        self._dma.sendchannel.transfer(given)
        self._dma.sendchannel.wait()
        self._dma.recvchannel.wait()
        return unpack(np.array(taken))
'''

_TCL = """\
# Block design of {name} {version}: processing system, AXI DMA, the wrapper. NOT RUN when it was written: a start to be
# completed in your Vivado. Use: vivado -mode batch -source block_design.tcl   (in this directory)
# Set board_part to your board's; the presets of its processing system come from there.
set board_part [expr {{[info exists ::env(BOARD_PART)] ? $::env(BOARD_PART) : ""}}]
create_project {name} ./vivado -part {part} -force
if {{$board_part ne ""}} {{ set_property board_part $board_part [current_project] }}
add_files [concat [glob ../ip/src/*.{end}] [glob ../ip/src/static/*.{end}] {top}_axis.v]
update_compile_order -fileset sources_1
create_bd_design design_1
set ps [create_bd_cell -type ip -vlnv {ps} ps_0]
apply_bd_automation -rule {rule} -config {{apply_board_preset "1"}} $ps
set dma [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma axi_dma_0]
set_property -dict [list CONFIG.c_include_sg 0 CONFIG.c_m_axis_mm2s_tdata_width {bits_in} \\
    CONFIG.c_s_axis_s2mm_tdata_width {bits_out}] $dma
create_bd_cell -type module -reference {top}_axis network_0
connect_bd_intf_net [get_bd_intf_pins axi_dma_0/M_AXIS_MM2S] [get_bd_intf_pins network_0/s_axis]
connect_bd_intf_net [get_bd_intf_pins network_0/m_axis] [get_bd_intf_pins axi_dma_0/S_AXIS_S2MM]
puts "Connect clocks, resets and the DMA's memory ports (Run Connection Automation), then write the bitstream."
save_bd_design
"""

_WIDEST_BEAT = 1024


def write(project: Project, graph: AdderGraph, place: Path, name: str, version: str) -> None:
    """Write `pynq/` of a bundle.

    Raises:
        UnsupportedError: A port is wider than the DMA's widest beat.
    """
    width_in, width_out = int(project.input_kif.sum()), int(project.output_kif.sum())
    if max(width_in, width_out) > _WIDEST_BEAT:
        raise UnsupportedError(
            f"the pynq target moves an input in one beat of at most {_WIDEST_BEAT} bits; the ports have {width_in} and "
            f"{width_out}: export target ip and write a serial front end, or use fewer input bits"
        )
    beat_in, beat_out = (max(32, 1 << (width - 1).bit_length()) for width in (width_in, width_out))
    delay = project.pipeline.latency_cycles + 1 if project.clocked else 1
    core = _PIPELINED if project.clocked else _COMBINATIONAL
    zynq = project.part.lower().startswith("xc7z")
    rows = {f"{side}{row}": kif[j].tolist() for side, kif in (("i", project.input_kif), ("o", project.output_kif))
            for j, row in enumerate("kif")}  # fmt: skip
    facts = {
        "top": TOP, "name": name, "version": version, "part": project.part,
        "width_in": width_in, "width_out": width_out, "bits_in": beat_in, "bits_out": beat_out,
        "bytes_in": beat_in // 8, "bytes_out": beat_out // 8,
        "n_in": project.input_kif.shape[1], "n_out": project.output_kif.shape[1],
        "delay": delay, "depth_log2": (2 * delay).bit_length(), "core": core.format(top=TOP, width_in=width_in),
        "end": {"verilog": "v", "vhdl": "vhd"}[project.language],
        "ps": "xilinx.com:ip:processing_system7" if zynq else "xilinx.com:ip:zynq_ultra_ps_e",
        "rule": "xilinx.com:bd_rule:processing_system7" if zynq else "xilinx.com:bd_rule:zynq_ultra_ps_e",
        "ik": rows["ik"], "ii": rows["ii"], "if_": rows["if"], "ok": rows["ok"], "oi": rows["oi"], "of": rows["of"],
    }  # fmt: skip
    atomic.write_text(place / "pynq" / f"{TOP}_axis.v", _WRAPPER.format(**facts))
    atomic.write_text(place / "pynq" / "driver.py", _DRIVER.format(**facts))
    atomic.write_text(place / "pynq" / "block_design.tcl", _TCL.format(**facts))
