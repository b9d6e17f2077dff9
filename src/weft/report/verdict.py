"""The report's first sentence: how many designs, whether they compute what their models compute, and the best."""

from __future__ import annotations

from collections.abc import Sequence

from weft.report.read import Content, DesignContent
from weft.report.text import GAP, grouped, label, level, metric, number, plural, with_unit


def verdict(content: Content) -> str:
    """Return the outcome of a run in one sentence."""
    designs = content.designs
    if not designs:
        return _without_designs(content)
    parts = [f"{plural(len(designs), 'design')}, {verification(designs)}", *_best(content)]
    limits = content.experiment.target.budget.limits()
    if limits and any(design.quantity(name) for design in designs for name in limits):
        within = sum(not over_budget(content, design) for design in designs)
        parts.append(f"{within} of {len(designs)} within the budget")
    return "; ".join(parts) + "."


def over_budget(content: Content, design: DesignContent) -> list[str]:
    """Return the limits of the budget that a design exceeds, in words."""
    limits = content.experiment.target.budget.limits()
    found = [(name, design.quantity(name), limit) for name, limit in limits.items()]
    return [
        f"{label(name)} {with_unit(name, number(quantity['value']))} > {with_unit(name, number(limit))}"
        for name, quantity, limit in found
        if quantity is not None and quantity["value"] > limit
    ]


def verification(designs: Sequence[DesignContent]) -> str:
    """Return what is known about the bit-exactness of designs, in words."""
    found = [design.verification for design in designs]
    checked = [one for one in found if one is not None]
    if not checked:
        return "not verified yet"
    wrong = [design.id for design in designs if design.verification and design.verification["status"] != "exact"]
    if wrong:
        names = ", ".join(wrong[:3]) + (", …" if len(wrong) > 3 else "")
        return f"{len(wrong)} of {len(designs)} not bit-exact ({names})"
    few, many = (rank(one["samples"] for one in checked) for rank in (min, max))
    samples = grouped(few) if few == many else f"{grouped(few)} to {grouped(many)}"
    everywhere = [name for name in checked[0]["levels"] if all(name in one["levels"] for one in checked)]
    levels = " = ".join(level(one) for one in everywhere)
    share = "bit-exact" if len(designs) == 1 else "all bit-exact"
    if len(checked) < len(designs):
        share = f"{len(checked)} of them verified, bit-exact"
    return f"{share} over {samples} samples at {levels}"


def _best(content: Content) -> list[str]:
    sized = [(q["value"], design) for design in content.designs if (q := design.quantity("lut"))]
    rated = [design for design in content.designs if design.test(content.metric)]
    parts = []
    if sized:
        smallest = min(sized, key=lambda pair: pair[0])[1]
        parts.append(f"smallest {_size(smallest)}{_at(content, smallest)}")
        if rated and rated[0] is not smallest:
            best, size = rated[0], f" with {_size(rated[0])}" if rated[0].quantity("lut") else ""
            parts.append(f"best {_metric(content, best)}{size}")
    elif rated:
        parts.append(f"best {_metric(content, rated[0])}")
    return parts


def _size(design: DesignContent) -> str:
    found = design.quantity("lut")
    assert found is not None
    stage = {"synthesis": "synthesised", "solver": "estimated"}.get(found["stage"], found["stage"])
    return f"{grouped(found['value'])}{GAP}LUT ({stage})"


def _at(content: Content, design: DesignContent) -> str:
    return f" at {_metric(content, design)}" if design.test(content.metric) else ""


def _metric(content: Content, design: DesignContent) -> str:
    found = design.test(content.metric)
    assert found is not None
    name = label(content.metric)
    name = name if name.isupper() else name.lower()
    return f"{with_unit(content.metric, metric(content.metric, found['value']))} test {name}"


def _without_designs(content: Content) -> str:
    if content.search is None:
        return "No design yet: the search has not run."
    summary = content.search.results.summary()
    trials = f"{plural(summary['evaluated'], 'network')} evaluated in {plural(summary['trials'], 'trial')}"
    picked = f", {plural(len(content.selection), 'trial')} picked" if content.selection else ""
    return f"No design yet: {trials}, {summary['front']} on the front{picked}; compression has not run."
