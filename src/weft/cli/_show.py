"""Results as tables on a terminal; each number says its unit and stage."""

from __future__ import annotations

from typing import Any


def designs(summary: dict[str, Any]) -> None:
    """Print the designs of a summary."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not summary["designs"]:
        console.print("no designs yet")
        return
    metrics = list(dict.fromkeys(name for design in summary["designs"] for name in design["metrics"]))[:2]
    table = Table(title=f"{summary['name']}: {len(summary['designs'])} designs, test split", title_justify="left")
    table.add_column("design")
    for name in (*metrics, "LUT", "FF", "latency", "EBOPs", "verification"):
        table.add_column(name, justify="right")
    for design in summary["designs"]:
        cost = design["cost"]
        table.add_row(
            design["id"],
            *(_metric(design["metrics"].get(name)) for name in metrics),
            _quantity(cost.get("lut")),
            _quantity(cost.get("ff")),
            _latency(cost),
            _quantity(cost.get("ebops")),
            _verdict(design["verification"]),
        )
    console.print(table)


def _metric(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{entry['value']:.4f}" + (f" ± {entry['error']:.4f}" if entry.get("error") else "")


def _quantity(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["value"] is None:
        return "-"
    return f"{entry['value']:,.0f} ({entry['stage']})"


def _latency(cost: dict[str, Any]) -> str:
    if "latency_cycles" not in cost:
        return "-"
    cycles, ns = cost["latency_cycles"], cost["latency_ns"]
    return f"{cycles['value']:.0f} cycles, {ns['value']:g} ns ({ns['stage']})"


def _verdict(verification: dict[str, Any] | None) -> str:
    if verification is None:
        return "not run"
    return f"{verification['status']}, {verification['mismatches']} of {verification['samples']:,} differ"


def trials(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Print rows of numbers under their columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10 else f"{value:,.1f}".removesuffix(".0")
    return str(value)
