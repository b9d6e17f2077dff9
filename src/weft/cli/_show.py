"""Results as tables on a terminal; each number says its unit and stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from weft.run.compare import Comparison
    from weft.run.compare_runs import RunsComparison


def notes(summary: dict[str, Any]) -> None:
    """Print what a summary notes of this run, and not of every one, on stderr."""
    from rich.console import Console

    from weft.run.summary import SOFTMAX_NOTE

    for note in summary["notes"]:
        if note != SOFTMAX_NOTE:
            Console(stderr=True).print(f"note: {note}", soft_wrap=True, markup=False)


def designs(summary: dict[str, Any]) -> None:
    """Print the designs of a summary; the heads of the columns say unit and stage."""
    from rich.console import Console
    from rich.table import Table

    notes(summary)

    console, found = Console(), summary["designs"]
    if not found:
        console.print("no designs yet")
        return
    metrics = list(dict.fromkeys(name for design in found for name in design["metrics"]))[:1]
    table = Table(title=f"{summary['name']}: {len(found)} designs", title_justify="left")
    table.add_column("design")
    for name in metrics:
        table.add_column(f"{name}\ntest", justify="right")
    for name, head, unit in _COSTS:
        stages = {design["cost"][name]["stage"] for design in found if name in design["cost"]}
        table.add_column(f"{head}\n{unit}{', '.join(sorted(stages)) or 'not run'}", justify="right")
    routed = [design for design in found if design.get("routing")]
    if routed:
        chips = sorted({design["routing"]["fmax_mhz"]["source"] for design in routed})
        table.add_column(f"Fmax\nMHz, post_route, {', '.join(chips)}", justify="right")
    written = any(design.get("hls") for design in found)
    if written:
        table.add_column("HLS\nC simulation", justify="right")
    table.add_column("verified\nmismatches / samples", justify="right")
    for design in found:
        table.add_row(
            design["id"],
            *(_metric(design["metrics"].get(name)) for name in metrics),
            *(_quantity(design["cost"].get(name)) for name, *_ in _COSTS),
            *([_quantity((design["routing"] or {}).get("fmax_mhz"))] if routed else []),
            *([(design["hls"] or {}).get("status", "not run")] if written else []),
            _verdict(design["verification"]),
        )
    console.print(table)


_COSTS = (
    ("lut", "LUT", ""),
    ("ff", "FF", ""),
    ("latency_cycles", "latency", "cycles, "),
    ("latency_ns", "latency", "ns, "),
    ("ebops", "EBOPs", ""),
)


def _metric(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{entry['value']:.4f}" + (f" ± {entry['error']:.4f}" if entry.get("error") else "")


def _quantity(entry: dict[str, Any] | None) -> str:
    return "-" if entry is None or entry["value"] is None else f"{entry['value']:,g}"


def _verdict(verification: dict[str, Any] | None) -> str:
    if verification is None:
        return "not run"
    return f"{verification['status']}, {verification['mismatches']} / {verification['samples']:,}"


def verification(found: Any) -> None:
    """Print how the levels of a `weft.firmware.Verification` compare, and what its quantisers read."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table()
    heads = ("levels", "outputs\ncompared", "mismatches", "largest\ndifference", "same class\n%", "first in layer")
    for head in heads:
        table.add_column(head, justify="left" if head in (heads[0], heads[-1]) else "right", no_wrap=head == heads[0])
    for pair in (*([found.agreement] if found.agreement else []), *found.pairs):
        table.add_row(
            (" ~ " if pair is found.agreement else " – ").join(pair.levels),
            f"{pair.values:,}",
            f"{pair.mismatches:,}",
            f"{pair.max_difference:g}",
            f"{100 * pair.argmax_agreement:.2f}",
            " ".join(filter(None, (pair.first_diverging_layer, pair.layer_format))),
        )
    for level in found.skipped:
        table.add_row(level, *["not run"] * 4, "")
    console.print(table)
    if found.overflows:
        table = Table()
        for head in ("layer", "format", "overflow", "real inputs\nout of range, %", "reach\nreal", "reach\nsought"):
            table.add_column(head, justify="left" if head in ("layer", "format", "overflow") else "right")
        for one in found.overflows:
            sought = "-" if one.sought is None else f"{one.sought:.2f}"
            table.add_row(one.layer, one.format, one.mode, f"{100 * one.share:.2f}", f"{one.largest:.2f}", sought)
        console.print(table)
    for warning in found.warnings:
        console.print(f"! {warning}", style="yellow", markup=False, highlight=False)


def comparison(found: Comparison) -> None:
    """Print a `weft.run.compare.Comparison`, and what is to be known about its numbers."""
    from rich.table import Table

    heads, rows, notes = _comparison_cells(found)
    table = Table(title=_comparison_title(found), title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 3 else "right")
    _print_tables([(table, rows)], notes)


def _print_tables(tables: Sequence[tuple[Table, Sequence[Sequence[str]]]], notes: Sequence[str]) -> None:
    """Print tables, each with its rows, and notes below."""
    from rich.console import Console

    console = Console()
    for table, rows in tables:
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)


def _markdown_table(heads: list[str], rows: list[list[str]], n_left: int) -> str:
    """Return a table, whose first `n_left` columns are words, as Markdown."""
    lines = [heads, ["---" if i < n_left else "---:" for i, _ in enumerate(heads)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison_as_markdown(found: Comparison) -> str:
    """Return the same as Markdown."""
    heads, rows, notes = _comparison_cells(found)
    title, table = _comparison_title(found), _markdown_table(heads, rows, n_left=3)
    return "\n".join([f"{title}.", "", table, "", *(f"- {note}" for note in notes)])


def _comparison_title(found: Comparison) -> str:
    return f"{found.name}: {len(found.designs)} designs for {found.part} at {found.clock_period_ns:g} ns"


def _comparison_cells(found: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the heads, the rows and the notes of a comparison, as text; units are in the names of the quantities."""
    rows = [
        [name, "test rows", "finalised model", *(_metric(values.get(design)) for design in found.designs)]
        for name, values in found.metrics.items()
    ]
    notes: list[str] = []
    for row in found.rows:
        values = (row.values.get(design) for design in found.designs)
        cells = ["not run" if one is None else _quantity(one.model_dump()) for one in values]
        rows.append([row.quantity, row.stage, row.source, *cells])
        notes += [f"{row.quantity}, {row.stage}, {row.source}: {note}" for note in row.notes]
    for level in found.levels:
        verdicts = [level.values[design] for design in found.designs]
        cells = ["not run" if one.status == "not run" else f"{one.mismatches:,} / {one.samples:,}" for one in verdicts]
        rows.append(["mismatches / samples", level.level, level.source, *cells])
        if any(one.cycles is not None for one in verdicts):
            cells = ["-" if one.cycles is None else str(one.cycles) for one in verdicts]
            rows.append(["latency_cycles", level.level, level.source, *cells])
        notes += [f"{level.level}: not run: {one}" for one in dict.fromkeys(v.reason for v in verdicts if v.reason)]
    return ["quantity", "stage", "source", *found.designs], rows, notes


def runs(found: RunsComparison) -> None:
    """Print a `weft.run.compare_runs.RunsComparison`."""
    from rich.table import Table

    cells, notes = _runs_cells(found)
    tables = []
    for title, heads, rows in cells:
        table = Table(title=title, title_justify="left")
        for i, head in enumerate(heads):
            table.add_column(head, justify="right" if i else "left", overflow="fold")
        tables.append((table, rows))
    _print_tables(tables, notes)


def runs_as_markdown(found: RunsComparison) -> str:
    """Return the same as Markdown."""
    tables, notes = _runs_cells(found)
    parts = [f"{title}.\n\n{_markdown_table(heads, rows, n_left=1)}" for title, heads, rows in tables]
    return "\n\n".join([*parts, *(f"- {note}" for note in notes)])


def _runs_cells(found: RunsComparison) -> tuple[list[tuple[str, list[str], list[list[str]]]], list[str]]:
    """Return tables (title, heads, rows) and notes, as text."""
    from weft.objectives import OBJECTIVES

    names = [one.run for one in found.runs]
    heads = [f"{name} [{OBJECTIVES[name].unit}]" for name in found.objectives]
    searched = [
        [
            one.run,
            one.status,
            *map(str, (one.trials, one.failed, one.evaluated, len(one.front), sum(point.joint for point in one.front))),
            _cell(one.hypervolume),
            _cell(one.seconds),
        ]
        for one in found.runs
    ]
    columns = [
        "run",
        "status",
        "trials",
        "failed",
        "evaluated",
        "front",
        "on the joint front",
        "hypervolume",
        "seconds",
    ]
    fronts = [
        [one.run, str(point.trial), point.network, *(_cell(point.values[name]) for name in found.objectives),
         "yes" if point.joint else "no"]
        for one in found.runs
        for point in one.front
    ]  # fmt: skip
    made = [one for one in found.runs if one.designs]
    metrics = list(dict.fromkeys(name for one in made for design in one.designs for name in design.metrics))[:1]
    costs = list(dict.fromkeys(name for one in made for name in one.designs[0].cost))
    designs = [
        [one.run, one.designs[0].id, *(_metric(one.designs[0].metrics.get(name)) for name in metrics),
         *(_quantity(one.designs[0].cost.get(name)) for name in costs), one.designs[0].verification]
        for one in made
    ]  # fmt: skip
    settings = [[key, *(str(values[name]) for name in names)] for key, values in found.settings.items()]
    tables = [("Searches", columns, searched), ("Fronts", ["run", "trial", "network", *heads, "joint"], fronts)]
    if designs:
        title = "The design of each run with the best test metric"
        tables.append((title, ["run", "design", *metrics, *costs, "verified"], designs))
    if settings:
        tables.append(("Settings that differ", ["setting", *names], settings))
    corner = ", ".join(
        f"{name} {_cell(value)} to {_cell(found.ideal[name])}" for name, value in found.reference.items()
    )
    box = [f"hypervolume: share of the box {corner}"] if corner else ["no run has a feasible trial"]
    return tables, [*box, *found.notes]


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
