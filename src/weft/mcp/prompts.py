"""Prompts: the two conversations that users begin most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_RULES = (
    "Quote every number with its unit, its stage and its source, as the tools give them. Call an estimate an estimate. "
    "Where something was not understood or is missing, ask; do not guess."
)


def add(server: MCPServer[Any]) -> None:
    """Put the prompts on a server."""

    @server.prompt(title="Design a trigger model")
    def design_trigger_model(
        goal: str, data: str = "jets-hlf", part: str = "xcvu13p", max_latency_ns: str = "", max_lut: str = ""
    ) -> str:
        """Lead from a goal and a data set to a network whose firmware is verified and synthesised."""
        bounds = [f"at most {max_latency_ns} ns"] if max_latency_ns else []
        bounds += [f"at most {max_lut} LUT"] if max_lut else []
        return (
            f"Design a network for an FPGA trigger. Goal: {goal}. Data: {data}. Part: {part}. "
            f"Bounds: {', '.join(bounds) or 'none given: ask for latency and LUT before anything costly'}.\n\n"
            "1. get_capabilities and inspect_dataset: what is there, how many rows and classes.\n"
            "2. draft_config with the goal and the bounds; tell the user what was not understood.\n"
            "3. start_search with dry_run, tell the cost, and start it when the user agrees; wait_for_job.\n"
            "4. get_pareto: show the trade-off, and why you would take which trial; select_design.\n"
            "5. start_compression, wait_for_job; start_firmware, wait_for_job.\n"
            "6. compare_designs: report test metric, LUT and latency, whether the budget is met, and that the firmware "
            f"is exact, or that it is not.\n\n{_RULES}"
        )

    @server.prompt(title="Diagnose a mismatch")
    def diagnose_mismatch(run: str, design: str = "") -> str:
        """Find out why firmware does not compute what its model computes."""
        which = f"design {design} of run {run}" if design else f"run {run}"
        return (
            f"The firmware of {which} differs from its model, or is said to. Find out where and why.\n\n"
            f"1. explain_failure with run '{run}', and resource run://{run}/verify.json: which two levels differ, the "
            "first layer that does, how many of how many outputs, the largest difference, and whether the input was a "
            "real or an extreme one.\n"
            "2. Keras against adder graph: rounding or overflow in that layer; look at its overflow share there. An "
            "overflow wraps: one integer bit more, or saturation, in the layer that is named.\n"
            "3. Adder graph against RTL: a defect of generation or simulation, never of the training; report it with "
            "the smallest design that shows it.\n"
            "4. Do not use the firmware meanwhile, and do not call the difference small: one output that differs is a "
            f"failure.\n\n{_RULES}"
        )

    _ = design_trigger_model, diagnose_mismatch
