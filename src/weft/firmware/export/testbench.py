"""A testbench in plain Verilog that reads golden vectors, drives the module and checks every output in its cycle."""

from __future__ import annotations

from weft.adder_graph import TOP
from weft.firmware.rtl import Project

_TEXT = """\
// Checks module {top} against inputs.hex and outputs.hex, which lie in the directory that the simulation runs in.
// One input in each cycle; its output is expected LATENCY edges after the edge that took it in.
`timescale 1ns / 1ps

module tb;
    localparam N = {n};
    localparam LATENCY = {latency};
    localparam IN = {width_in};
    localparam OUT = {width_out};

    reg clk = 1'b0;
    reg [IN-1:0] x;
    wire [OUT-1:0] y;
    reg [IN-1:0] inputs [0:N-1];
    reg [OUT-1:0] outputs [0:N-1];
    integer t;
    integer errors;

    {top} dut ({clock}.model_inp(x), .model_out(y));

    initial begin
        $readmemh("inputs.hex", inputs);
        $readmemh("outputs.hex", outputs);
        errors = 0;
        for (t = 0; t < N + LATENCY; t = t + 1) begin
            if (t < N) x = inputs[t];
            else x = {{IN{{1'b0}}}};
            #1 clk = 1'b1;
            #1 if (t >= LATENCY) begin
                if (y !== outputs[t-LATENCY]) begin
                    errors = errors + 1;
                    if (errors <= 10)
                        $display("vector %0d: got %h, expected %h", t - LATENCY, y, outputs[t-LATENCY]);
                end
            end
            clk = 1'b0;
            #1;
        end
        if (errors == 0) $display("PASS: %0d vectors", N);
        else $fatal(1, "FAIL: %0d of %0d vectors", errors, N);
        $finish;
    end
endmodule
"""


def testbench(project: Project, n_vectors: int) -> str:
    """Return the testbench of a project for n vectors."""
    return _TEXT.format(
        top=TOP,
        n=n_vectors,
        latency=project.pipeline.latency_cycles,
        width_in=int(project.input_kif.sum()),
        width_out=int(project.output_kif.sum()),
        clock=".clk(clk), " if project.clocked else "",
    )
