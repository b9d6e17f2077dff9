"""What the report says about layers, ranges, the way of a cost, and how well estimates hold."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from weft.adder_graph import AdderGraph
from weft.report import hardware, tables
from weft.report.points import replay
from weft.report.read import read_content
from weft.search import front as fronts
from weft.search.results import read

from .test_report_content import plain


@pytest.fixture(scope="module")
def content(full):
    return read_content(full.run)


def cells(table, label, unit=None):
    (index,) = [i for i, c in enumerate(table.columns) if c.label == label and unit in (None, c.unit)]
    return [row[index] for row in table.rows]


def shares(content):
    table = tables.resource_table(content)
    index = [c.label for c in table.columns].index("LUT") + 3  # estimate, synthesis, ratio, share
    return table.rows[0][index]


def test_a_share_beyond_the_part_is_marked_and_said(content):
    one = content.designs[0]
    lut = {"value": 2e6, "unit": "count", "stage": "synthesis", "source": "yosys"}
    large = replace(content, designs=(replace(one, synthesis={**one.synthesis, "lut": lut}),))
    share = shares(large)
    assert share.tone == "bad" and "does not fit: 2,000,000 LUT of 1,728,000 in xcvu13p" in share.title
    assert shares(content).tone == ""


def test_each_layer_shows_its_own_luts_and_ebops(full, content):
    design = content.designs[0]
    table = tables.layer_table(design)
    graph = AdderGraph.load(full.run.design(design.id).graph)
    expected = {name: one.cost(5.0)["lut"].value for name, one in graph.layer_graphs().items()}
    assert [cell.text for cell in cells(table, "Layer")] == list(expected)
    assert [cell.text.replace("\u202f", "") for cell in cells(table, "LUT", "estimate")] == [
        f"{value:.0f}" for value in expected.values()
    ]
    shares = [float(cell.text) for cell in cells(table, "LUT", "% of all")]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert [cell.bar for cell in cells(table, "LUT", "estimate")] == pytest.approx([s / 100 for s in shares], abs=1e-3)
    bits = {layer.name: layer for layer in design.layers}
    for cell, name in zip(cells(table, "Zeros"), expected, strict=True):
        assert float(cell.text) == pytest.approx(100 * np.mean(bits[name].weights == 0), abs=0.06)
    found = {one.name: one.ebops for one in design.costs}
    from weft.cost import CostInput, find
    from weft.run.design import load_model

    model = load_model(full.run.design(design.id).model)
    [whole] = find("ebops").estimate([CostInput(model=model)], content.experiment.target)
    assert sum(found.values()) == whole.quantities["ebops"].value
    assert f'id="layers-{design.id}"' in full.html


def test_synthesised_layers_stand_beside_their_estimates(content):
    from dataclasses import replace

    made = {"lut": {"value": 77.0, "unit": "count", "stage": "synthesis", "source": "yosys 0.70"}}
    design = content.designs[0]
    costs = [replace(design.costs[0], made=made), *design.costs[1:]]
    table = tables.layer_table(replace(design, costs=costs))
    first, *rest = cells(table, "LUT", "synthesis")
    assert (first.text, {cell.text for cell in rest}) == ("77", {"–"})


def test_ranges_say_what_overflows_and_what_could(full, content):
    table = tables.range_table(content.designs[0])
    assert [cell.text for cell in cells(table, "Beyond its range")] == ["wraps", "wraps", "saturates"]
    assert [cell.text for cell in cells(table, "Out of range")] == ["0", "0", "31"]
    sought = cells(table, "Largest", "sought, 1: end")
    assert [(cell.text, cell.tone) for cell in sought] == [("0.79", "weak"), ("7.9", "bad"), ("–", "weak")]
    text = plain(full.html)
    assert "block0_dense1 block0_dense1_iq KIF(0..1, 2..4, -4..6) wraps WRAP 0 0.99 7.9" in text
    assert "31 % out" in text and "none out" in text


def test_the_way_of_a_cost_goes_from_the_search_to_routing_on_the_chip_that_was_routed(full, content):
    found = {design.id: steps for design, steps in hardware.trails(content, "lut")}
    routed = {name for name, steps in found.items() if any(s.quantity["stage"] == "post_route" for s in steps)}
    assert len(found) == 3 and 0 < len(routed) < 3
    for name, steps in found.items():
        names = ["in the search", "adder graph", "learned", "synthesis"]
        assert [step.name for step in steps][:4] == names
        design, trial = full.run.design(name), int(name[1:4])
        expected = [
            read(full.run.path).chosen(trial).value("lut"),
            design.read("cost.json")["lut"]["value"],
            design.read("estimates.json")["quantities"]["lut"]["learned"]["value"],
            design.read("synthesis.json")["lut"]["value"],
        ]
        assert [step.quantity["value"] for step in steps][:4] == expected
        assert [step.measured for step in steps][:4] == [False, False, False, True]
    assert "Diamonds: routed on another chip" in plain(full.html)


def test_estimates_are_judged_by_synthesis_one_by_one(full, content):
    points = hardware.judged(content)
    assert len(points) == 3 * 3  # LUT by two models, FF by one
    for one in points:
        design = full.run.design(one.where)
        assert one.synthesis == design.read("synthesis.json")[one.quantity]["value"]
        estimate = design.read("estimates.json")["quantities"][one.quantity][one.model]
        assert one.estimate == estimate["value"]
        assert one.inside == (estimate["low"] <= one.synthesis <= estimate["high"])
    learned = [one for one in points if one.model == "learned"]
    assert [one.inside for one in learned] == [False] * 3
    off = np.mean([abs(one.estimate / one.synthesis - 1) for one in learned])
    assert f"learned: 0 of 3 ranges hold, off by {100 * off:.0f} % on average" in full.html


def test_the_replay_knows_the_front_and_the_hypervolume_after_every_trial(full, content):
    found, results = replay(content), read(full.run.path)
    trials = results.evaluated
    assert [step["trial"] for step in found["steps"]] == [trial.number for trial in trials]
    final = results.hypervolume()
    for k in range(len(trials)):
        seen = [trial for trial in trials[: k + 1] if trial.feasible]
        losses = [trial.losses(results.objectives) for trial in seen]
        ahead = fronts.nondominated(losses) if losses else []
        expected = {trial.number for trial, keep in zip(seen, ahead, strict=True) if keep}
        shown = {
            step["trial"]
            for step in found["steps"]
            if step["enters"] is not None and step["enters"] <= k and (step["leaves"] is None or k < step["leaves"])
        }
        assert shown == expected
    assert found["volume"][-1] == pytest.approx(final.value)
    assert found["volume"] == sorted(found["volume"])
    assert any(not trial.feasible for trial in trials), "the run should have trials that miss a constraint"


def test_a_run_without_layers_ranges_and_models_has_none_of_these_parts(tmp_path):
    from weft.report import write_report

    from . import fake

    run = fake.make_run(tmp_path, trials=4, points=(("epoch-40", 1),), upto="compress")
    html = write_report(run).read_text()
    for part in ("layers-", "ranges-", "From estimate to measurement", "Estimates against synthesis"):
        assert part not in re.sub(r"<(style|script).*?</\1>", "", html, flags=re.S)
