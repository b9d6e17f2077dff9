"""The tables of the report as cells: each number with its unit, its stage, and a title that names its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weft.objectives import OBJECTIVES
from weft.report.read import Content, DesignContent, QuantityJson, SearchContent, describe
from weft.report.text import GAP, NOT_YET, duration, grouped, label, level, metric, number, of_trial, plural, unit
from weft.report.text import provenance as origin
from weft.report.verdict import over_budget
from weft.search.calibrate import rows as calibration_rows

if TYPE_CHECKING:
    from weft.report.layers import LayerBits
    from weft.run.compare import Verdict
    from weft.search.results import TrialRecord


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What is read first.
        sub: Smaller text below it.
        title: Where the number is from; shown on hover.
        sort: What the column is sorted by; None goes last.
        tone: `good`, `bad`, `weak` (an estimate) or `none` (not there).
        href: Where it leads to, within the page.
        bar: Length of the bar behind it, in [0, 1].
    """

    text: str
    sub: str = ""
    title: str = ""
    sort: float | str | None = None
    tone: str = ""
    href: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """One column; `unit` stands below the label, `order` says that the rows are sorted by it, and how."""

    label: str
    unit: str = ""
    title: str = ""
    numeric: bool = True
    order: str = ""


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells."""

    columns: list[Column]
    rows: list[list[Cell]]


NBSP = "\u00a0"

MISSING = Cell("–", NOT_YET, tone="none")

SHORT = {"efficiency": "Sig. eff."}
"""Heads of columns that would be wider than their numbers."""

DESIGN_QUANTITIES = ("lut", "ff", "dsp", "carry")
"""The resources of the main table."""


def designs_table(content: Content) -> Table:
    """Return the main table: one design a row, the most accurate first."""
    names = _metrics(content)
    period = content.experiment.target.clock_period_ns
    columns = [
        Column("Design", numeric=False),
        Column("Architecture", "compression recipe", numeric=False),
        *(_metric_column(name, is_first=name == content.metric) for name in names),
        *(Column(label(name), "count") for name in DESIGN_QUANTITIES),
        Column("Latency", f"cycles; ns at {number(period)}{GAP}ns", "register to register, at the clock asked for"),
        Column("II", "cycles", "initiation interval: clock cycles between two inputs"),
        Column("EBOPs", "bit operations", OBJECTIVES["ebops"].doc),
        Column("Verification", "samples, mismatches, levels", numeric=False),
    ]
    return Table(columns, [_design_row(content, design, names, period) for design in content.designs])


def _metric_column(name: str, is_first: bool) -> Column:
    order = {"max": "descending", "min": "ascending"}[OBJECTIVES[name].direction] if is_first else ""
    where = f"{unit(name)}, test".removeprefix(", ")
    return Column(SHORT.get(name, label(name)), where, OBJECTIVES[name].doc, order=order)


def _metrics(content: Content) -> list[str]:
    present = {name for design in content.designs for name in (*design.metrics.get("test", {}), *design.trained)}
    rest = [name for name in OBJECTIVES if name in present and OBJECTIVES[name].kind == "metric"]
    return list(dict.fromkeys([content.metric, *rest]))


def _design_row(content: Content, design: DesignContent, names: Sequence[str], period: float) -> list[Cell]:
    over = over_budget(content, design)
    origin_of = f"trial {design.trial}" if design.trial is not None else ""
    first = Cell(design.id, origin_of, sort=design.id, href=f"#design-{design.id}")
    if over:
        first = Cell(design.id, "over budget: " + ", ".join(over), sort=design.id, tone="bad", href=first.href)
    return [
        first,
        Cell(design.architecture, f"recipe {design.recipe}" if design.recipe else "", sort=design.architecture),
        *(_metric_cell(design, name) for name in names),
        *(_quantity_cell(design, name) for name in DESIGN_QUANTITIES),
        _latency_cell(design, period),
        _ii_cell(design),
        _quantity_cell(design, "ebops"),
        verification_cell(design),
    ]


def _metric_cell(design: DesignContent, name: str) -> Cell:
    found = design.test(name)
    validation = design.metrics.get("validation", {}).get(name)
    if found is None:
        if name not in design.trained:
            return MISSING
        value = metric(name, design.trained[name])
        return Cell("–", f"validation {value}", f"test: {NOT_YET}; validation, in training: {value}", tone="none")
    title = f"{label(name)} {metric(name, found['value'], found.get('error'))} on {grouped(found['n'])} test rows"
    title += "; ±: statistical error of a share of that many rows" if found.get("error") else ""
    title += "; source: predictions of the finalised model"
    sub = f"val. {metric(name, validation['value'])}" if validation else ""
    return Cell(metric(name, found["value"], found.get("error")), sub, title, found["value"])


def _quantity_cell(design: DesignContent, name: str) -> Cell:
    made, estimated = design.synthesis.get(name), design.estimates.get(name)
    if made is None and estimated is None:
        return MISSING
    title = " | ".join(origin(name, one) for one in (made, estimated) if one is not None)
    best = design.quantity(name)
    if best is None:
        return Cell("–", "no value", title, tone="none")
    sub = best["stage"]
    if best is made and estimated is not None and estimated["value"] is not None:
        sub = f"{estimated['stage']} {number(estimated['value'])}"
    return Cell(number(best["value"]), sub, title, best["value"], "" if best is made else "weak")


def _latency_cell(design: DesignContent, period: float) -> Cell:
    cycles, ns = design.quantity("latency_cycles"), design.quantity("latency_ns")
    if cycles is None:
        return MISSING
    time = ns["value"] if ns is not None else cycles["value"] * period
    title = (
        f"{origin('latency_cycles', cycles)}; register to register | {number(time)} ns = {number(cycles['value'])} "
        f"cycles × {number(period)} ns, the clock period asked for: no routed timing"
    )
    measured = ((design.verification or {}).get("latency_cycles") or {}).get("measured")
    if measured is not None:
        title += f" | measured in RTL simulation: {measured} cycles"
    stage = "simulated" if measured == cycles["value"] else cycles["stage"]
    return Cell(number(cycles["value"]), f"{number(time)}{GAP}ns, {stage}", title, cycles["value"])


def _ii_cell(design: DesignContent) -> Cell:
    estimated, measured = design.quantity("ii_cycles"), (design.verification or {}).get("ii_cycles")
    if measured is not None:
        return Cell(number(measured), "simulated", "II: cycles between inputs in the RTL simulation", measured)
    if estimated is None:
        return MISSING
    return Cell(number(estimated["value"]), estimated["stage"], origin("ii_cycles", estimated), estimated["value"])


def verification_cell(design: DesignContent) -> Cell:
    """Return the verdict on one design: samples, mismatches, levels."""
    found = design.verification
    if found is None:
        return MISSING
    samples, levels = grouped(found["samples"]), _compared(found)
    if found["status"] == "exact":
        agreed = f"{samples}{NBSP}samples, 0{NBSP}mismatches; {levels}"
        return Cell("✓ exact", agreed, verification_details(design), 0, "good")
    layers = [pair["first_diverging_layer"] for pair in found["pairs"] if pair.get("first_diverging_layer")]
    first = f", first in layer {layers[0]}" if layers else ""
    wrong = f"{samples} samples, {plural(found['mismatches'], 'output')} differ{first}; {levels}"
    return Cell("✗ mismatch", wrong, verification_details(design), found["mismatches"] or 1, "bad")


def _compared(found: Mapping[str, Any]) -> str:
    """Return the levels with a sign between neighbours: Keras ≠ adder graph = RTL."""
    text, last = "", None
    for pair in found["pairs"]:
        one, other = (level(name) for name in pair["levels"])
        begin = "" if one == last else one if last is None else f", {one}"
        text, last = f"{text}{begin} {'≠' if pair['mismatches'] else '='} {other}", other
    return text


def verification_details(design: DesignContent) -> str:
    """Say what a design was verified with: the inputs, the simulated latency, and Keras' arithmetic."""
    found = design.verification or {}
    parts = []
    if found.get("inputs"):
        drawn = ", ".join(f"{grouped(count)} {kind}" for kind, count in found["inputs"].items() if count)
        parts.append(f"inputs: {drawn}; outputs compared bit for bit")
    cycles = found.get("latency_cycles")
    if cycles:
        measured = "not measurable" if cycles["measured"] is None else f"{cycles['measured']} cycles"
        parts.append(f"latency in simulation: {measured}, claimed: {cycles['claimed']} cycles")
    if found.get("arithmetic"):
        parts.append(f"Keras computed in {found['arithmetic']}")
    return "; ".join(parts)


def pairs_table(content: Content, design: DesignContent) -> Table | None:
    """Return how neighbouring levels of one design compare; the same class only where there are classes."""
    found = design.verification
    if found is None:
        return None
    columns = [
        Column("Levels", numeric=False),
        Column("Outputs compared", "count"),
        Column("Mismatches", "count"),
        Column("Max. difference", "output unit"),
        Column("Same class", "%", "share of inputs for which both levels choose the same class"),
    ]
    shown = 4 if content.task == "regression" else 5
    rows = [_pair_row(pair)[:shown] for pair in found["pairs"]]
    for name, reason in found.get("skipped", {}).items():
        rows.append([Cell(level(name), reason), *[Cell("not run", tone="none")] * (shown - 1)])
    return Table(columns[:shown], rows)


def _pair_row(pair: QuantityJson) -> list[Cell]:
    levels = " – ".join(map(level, pair["levels"]))
    layer = pair.get("first_diverging_layer")
    return [
        Cell(levels, f"first in layer {layer}" if layer else ""),
        Cell(number(pair["values"])),
        Cell(number(pair["mismatches"]), tone="bad" if pair["mismatches"] else ""),
        Cell(number(pair["max_difference"])),
        Cell(f"{100 * pair['argmax_agreement']:.2f}"),
    ]


def layer_table(design: DesignContent) -> Table | None:
    """Return what each layer of a design costs, and its bits; None before the design is built."""
    if not design.costs:
        return None
    bits = {one.name: one for one in design.layers}
    made = list(dict.fromkeys(name for one in design.costs for name in one.made if name in DESIGN_QUANTITIES))
    whole = {"lut": sum(one.lut["value"] for one in design.costs), "ebops": sum(one.ebops or 0 for one in design.costs)}
    columns = [
        Column("Layer", numeric=False),
        Column("LUT", "estimate"),
        Column("LUT", "% of all"),
        *(Column(label(name), "synthesis") for name in made),
        Column("EBOPs", "bit operations", OBJECTIVES["ebops"].doc),
        Column("Weights", "count"),
        Column("Zeros", "% of weights"),
        Column("Weight", "mean bits", "of the weights that are not zero, from the highest to the lowest bit set"),
        Column("Input", "mean bits", "declared width without sign, of the inputs that are used"),
    ]
    rows = []
    for one in design.costs:
        lut, known = one.lut["value"], bits.get(one.name)
        row = [
            Cell(one.name, f"{plural(one.outputs, 'output')}"),
            Cell(grouped(lut), title=origin("lut", one.lut), bar=lut / whole["lut"] if whole["lut"] else None),
            Cell(f"{100 * lut / whole['lut']:.1f}" if whole["lut"] else "–"),
            *(_cell_of(one.made, name) for name in made),
            _layer_ebops(one.ebops, whole["ebops"]),
        ]
        rows.append(row + (_bit_cells(known) if known else [Cell("–", tone="none")] * 4))
    return Table(columns, rows)


def _layer_ebops(value: float | None, whole: float) -> Cell:
    return Cell("–", tone="none") if value is None else Cell(number(value), bar=value / whole if whole else None)


def _bit_cells(bits: LayerBits) -> list[Cell]:
    weights, inputs = bits.weights, bits.inputs
    set_, used = weights[weights > 0], inputs[inputs > 0]
    return [
        Cell(grouped(weights.size)),
        Cell(f"{100 * (1 - set_.size / max(weights.size, 1)):.1f}"),
        Cell(f"{set_.mean():.1f}" if set_.size else "–"),
        Cell(f"{used.mean():.1f}" if used.size else "–"),
    ]


def range_table(design: DesignContent) -> Table | None:
    """Return how far the values in each quantiser reach, and how often they leave its range; None where unknown."""
    found = (design.verification or {}).get("overflows") or ()
    if not found:
        return None
    columns = [
        Column("Quantiser", numeric=False),
        Column("Format", "", "k: sign, i: integer bits, f: fractional bits; spans over elements", numeric=False),
        Column("Beyond its range", numeric=False),
        Column("Out of range", "% of real inputs"),
        Column("Largest", "real inputs, 1: end"),
        Column("Largest", "sought, 1: end", "what hill climbing over inputs like the real ones found"),
    ]
    rows = []
    for one in found:
        wraps = one["mode"].startswith("WRAP")
        bad = "bad" if one["share"] and wraps else ""
        sought = one["sought"]
        could = "weak" if sought is None or sought < 1 else "bad" if wraps else ""
        rows.append([
            Cell(one["layer"], one["quantizer"]),
            Cell(one["format"]),
            Cell("wraps" if wraps else "saturates", one["mode"]),
            Cell(f"{100 * one['share']:.3g}", tone=bad),
            Cell(f"{one['largest']:.3g}", tone=bad),
            Cell("–" if sought is None else f"{sought:.3g}", tone=could),
        ])  # fmt: skip
    return Table(columns, rows)


def resource_table(content: Content) -> Table:
    """Return estimates beside synthesis: one design a row, with their ratio and the share of the part."""
    designs = content.designs
    part = content.experiment.target.part
    both = [name for name in DESIGN_QUANTITIES if any(name in design.estimates for design in designs)]
    made = list(dict.fromkeys(name for design in designs for name in design.synthesis if name not in both))
    columns = [Column("Design", numeric=False)]
    for name in both:
        columns += [Column(label(name), "estimate"), Column(label(name), "synthesis")]
        columns += [Column("Ratio", "estimate / synthesis"), Column("Share", "% of the part", part)]
    columns += [Column(label(name), "synthesis", _unit(name, designs, "synthesis")) for name in made]
    routed = list(dict.fromkeys(name for design in designs for name in design.routing))
    chips = {found["source"] for design in designs for found in design.routing.values()}
    columns += [
        Column(label(name), "post-route", f"{_unit(name, designs, 'routing')}, {', '.join(sorted(chips))}")
        for name in routed
    ]
    written = any(design.hls for design in designs)
    columns += [Column("HLS", "C simulation against the adder graph", numeric=False)] if written else []
    rows = []
    for design in designs:
        row = [Cell(design.id, href=f"#design-{design.id}")]
        for name in both:
            row += [_estimate_cell(design, name), _made_cell(design, name)]
            row += [_ratio_cell(design, name), _share_cell(content, design, name)]
        row += [_made_cell(design, name) for name in made]
        row += [_cell_of(design.routing, name) for name in routed]
        rows.append(row + ([_hls_cell(design)] if written else []))
    return Table(columns, rows)


def _hls_cell(design: DesignContent) -> Cell:
    if design.hls is None:
        return MISSING
    status = design.hls["status"]
    return Cell(status, design.hls["sentence"], tone="bad" if status == "mismatch" else "")


def _unit(name: str, designs: Sequence[DesignContent], stage: str) -> str:
    return next(getattr(design, stage)[name]["unit"] for design in designs if name in getattr(design, stage))


def _estimate_cell(design: DesignContent, name: str) -> Cell:
    found = design.estimates.get(name)
    if found is None:
        return MISSING
    return Cell(number(found["value"]), _interval(found), origin(name, found))


def _interval(found: Mapping[str, Any]) -> str:
    """Return the ends of a range in words; nothing where it has none."""
    low, high = found.get("low"), found.get("high")
    return "" if low is None or high is None else f"{number(round(low))} – {number(round(high))}"


def _made_cell(design: DesignContent, name: str) -> Cell:
    return _cell_of(design.synthesis, name)


def _cell_of(quantities: Mapping[str, QuantityJson], name: str) -> Cell:
    found = quantities.get(name)
    return MISSING if found is None else Cell(number(found["value"]), title=origin(name, found))


def _ratio_cell(design: DesignContent, name: str) -> Cell:
    estimate, made = (stage.get(name, {}).get("value") for stage in (design.estimates, design.synthesis))
    return Cell("–") if estimate is None or not made else Cell(f"{estimate / made:.2f}")


def _share_cell(content: Content, design: DesignContent, name: str) -> Cell:
    best, target = design.quantity(name), content.experiment.target
    capacity = getattr(target.capacity, name, None)
    if best is None or not capacity:
        return Cell("–")
    of = f"{number(best['value'])} of {grouped(capacity)}"
    title = f"{best['stage']}: {target.capacity.strain({name: best['value']}).get(name, of)} in {target.part}"
    tone = "bad" if best["value"] > capacity else ""
    return Cell(f"{100 * best['value'] / capacity:.2g}", title=title, tone=tone)


def comparison_table(content: Content) -> Table | None:
    """Return every number of every design with its stage and source, one quantity a row; None before the first."""
    found = content.comparison
    if not found.rows:
        return None
    columns = [Column("Quantity", numeric=False), Column("Stage", numeric=False), Column("Source", numeric=False)]
    columns += [Column(design) for design in found.designs]
    rows = []
    for row in found.rows:
        head = [Cell(label(row.quantity), row.unit, "; ".join(row.notes)), Cell(row.stage), Cell(row.source)]
        values = {name: one.model_dump(mode="json") for name, one in row.values.items()}
        rows.append([*head, *(_compared_cell(row.quantity, values.get(design)) for design in found.designs)])
    for one in found.levels:
        head = [Cell("Mismatches", "of samples"), Cell(level(one.level)), Cell(one.source)]
        rows.append([*head, *(_level_cell(one.values[design]) for design in found.designs)])
    return Table(columns, rows)


def _compared_cell(name: str, found: QuantityJson | None) -> Cell:
    if found is None:
        return MISSING
    tone = "none" if found["value"] is None else ""
    return Cell(number(found["value"]), _interval(found), origin(name, found), tone=tone)


def _level_cell(found: Verdict) -> Cell:
    if found.status == "not run":
        return Cell("–", "not run", found.reason or "", tone="none")
    cycles = "" if found.cycles is None else f", {plural(found.cycles, 'cycle')}"
    text = f"{grouped(found.mismatches)} / {grouped(found.samples)}"
    return Cell(text, f"{found.status}{cycles}", tone="good" if found.status == "exact" else "bad")


def calibration_table(search: SearchContent) -> Table | None:
    """Return what was estimated and found for the candidates synthesised in the search; None where none was."""
    found = [row for row in calibration_rows(search.results.rounds) if "quantity" in row]
    if not found:
        return None
    columns = [Column("Trial"), Column("Round"), Column("Chosen", numeric=False), Column("Quantity", numeric=False)]
    columns += [Column("Estimate", "before any calibration"), Column("Range", "before the round"), Column("Synthesis")]
    rows = []
    for row in found:
        tone = {True: "good", False: "bad", None: ""}[row["inside"]]
        rows.append(
            [
                Cell(str(row["trial"]), sort=row["trial"]),
                Cell(str(row["round"]), sort=row["round"]),
                Cell(row["chosen"], sort=row["chosen"]),
                Cell(label(row["quantity"]), sort=row["quantity"]),
                Cell(number(row["estimate"]), sort=row["estimate"]),
                Cell(_interval(row) or "–", tone=tone),
                Cell(number(row["synthesis"]), title=row["source"], sort=row["synthesis"]),
            ]
        )
    return Table(columns, rows)


def coverage(content: Content) -> list[str]:
    """Return how many ranges held what synthesis found, of designs and of candidates of the search, in words."""
    sentences = []
    pairs = [(d.estimates.get(n), d.synthesis.get(n)) for d in content.designs for n in ("lut", "ff")]
    known = [(a, b["value"]) for a, b in pairs if a and b and None not in (a.get("low"), a.get("high"), b["value"])]
    if known:
        inside = sum(a["low"] <= value <= a["high"] for a, value in known)
        sentences.append(f"The ranges of {inside} of {len(known)} estimates of the designs hold what synthesis found.")
    rounds = () if content.search is None else content.search.results.rounds
    judged = [row["inside"] for row in calibration_rows(rounds) if row.get("inside") is not None]
    if judged:
        sentences.append(
            f"In the search, {sum(judged)} of {len(judged)} ranges held what synthesis found, each as it was before "
            "its round; they are meant to hold nine of ten."
        )
    return sentences


def trial_table(search: SearchContent) -> Table:
    """Return all trials, in the order of proposal."""
    trials = search.results.trials
    names = list(dict.fromkeys([*search.results.objectives, *search.results.constraints]))
    front = {trial.number for trial in search.front}
    columns = [
        Column("Trial"),
        Column("State", numeric=False),
        Column("Network", numeric=False),
        *(Column(label(name), unit(name) or OBJECTIVES[name].unit, OBJECTIVES[name].doc) for name in names),
        Column("Violation", "share of bound"),
        Column("Time", "s"),
    ]
    rows = []
    for trial in trials:
        state = "on the front" if trial.number in front else trial.state
        if trial.key in search.baselines:
            state += ", baseline"
        if trial.duplicate_of is not None:
            state = f"same as {trial.duplicate_of}"
        rows.append(
            [
                Cell(str(trial.number), sort=trial.number),
                Cell(state, trial.reason or "", sort=state),
                Cell(describe(trial.genotype), sort=describe(trial.genotype)),
                *(_trial_cell(trial, name) for name in names),
                Cell(number(trial.violation) if trial.state == "complete" else "–", sort=trial.violation),
                Cell("–" if trial.seconds is None else f"{trial.seconds:.1f}", sort=trial.seconds),
            ]
        )
    return Table(columns, rows)


def final_table(search: SearchContent) -> Table | None:
    """Return the designs that were re-evaluated after the search, what the search had found below; None if none."""
    results = search.results
    if not results.final:
        return None
    names = list(dict.fromkeys([*results.objectives, *results.constraints]))
    front = {trial.number for trial in search.front}
    columns = [Column("Trial"), Column("State", numeric=False), Column("Network", numeric=False)]
    columns += [Column(label(name), unit(name) or OBJECTIVES[name].unit, OBJECTIVES[name].doc) for name in names]
    rows = []
    for trial in results.final:
        state = "on the front" if trial.number in front else "failed" if trial.state == "failed" else "not on the front"
        cells = [
            Cell(str(trial.number), sort=trial.number),
            Cell(state, trial.reason or "", sort=state, tone="bad" if trial.state == "failed" else ""),
            Cell(describe(trial.genotype), sort=describe(trial.genotype)),
        ]
        for name in names:
            new, old = _trial_cell(trial, name), _trial_cell(results.trials[trial.number], name)
            cells.append(replace(new, sub=f"search: {old.text}"))
        rows.append(cells)
    return Table(columns, rows)


def _trial_cell(trial: TrialRecord, name: str) -> Cell:
    value = trial.value(name)
    if value is None:
        return Cell("–")
    quantity = trial.costs[name]["quantity"] if name in trial.costs else None
    over = "folds" if trial.seeds is None else f"{plural(trial.seeds, 'seed')} and folds"
    title = origin(name, quantity) if quantity else f"mean over {over}, validation rows"
    text = of_trial(name, value, trial.std(name)).removesuffix(f"{GAP}{unit(name)}")
    return Cell(text, title=title, sort=value)


def failures(search: SearchContent) -> list[tuple[int, str, str]]:
    """Return why trials failed: how often, the kind, the reason; the most frequent first."""
    failed = [trial for trial in search.results.trials if trial.state == "failed" and trial.duplicate_of is None]
    counted = Counter((trial.error_kind or "", trial.reason or "") for trial in failed)
    return [(count, *what) for what, count in counted.most_common()]


def stage_times(events: Iterable[QuantityJson]) -> Table:
    """Return the time of each stage, all attempts together, from the log."""
    ended = [event for event in events if event["event"] == "stage" and event.get("state") == "ends"]
    seconds: dict[str, float] = {}
    for event in ended:
        seconds[event["name"]] = seconds.get(event["name"], 0.0) + event["seconds"]
    times = Counter(event["name"] for event in ended)
    columns = [Column("Stage", numeric=False), Column("Time"), Column("Attempts", "count")]
    rows = [[Cell(n), Cell(duration(s), title=f"{s:g} s, log.jsonl"), Cell(str(times[n]))] for n, s in seconds.items()]
    return Table(columns, rows)


def sources(content: Content) -> list[str]:
    """Return every pair of stage and source that the costs in the main table have, in words."""
    names = (*DESIGN_QUANTITIES, "latency_cycles", "ii_cycles", "ebops")
    each = (one[name] for d in content.designs for one in (d.synthesis, d.estimates) for name in names if name in one)
    return list(dict.fromkeys(f"{one['stage']}: {one['source']}" for one in each))
