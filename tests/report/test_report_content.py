"""What stands in the report, read from its text."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from weft import atomic
from weft.report import write_report
from weft.report.text import GAP, metric
from weft.search.results import read

from . import fake

SECTIONS = ["Designs", "Front", "Trails", "Each design", "Resources: estimate and synthesis", "Search", "Data", "Notes",
            "Provenance"]  # fmt: skip


class Page(HTMLParser):
    """The text of every element by id, of every heading, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.ids, self.headings, self.text = [], [], [], []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if "h2" in self._open:
            self.headings.append(data)
        if not {"script", "style"} & set(self._open):
            self.text.append(data)


def plain(html: str) -> str:
    """Return the visible text with ordinary spaces."""
    return " ".join(" ".join(Page(html).text).replace(GAP, " ").replace("\u00a0", " ").split())


def test_importing_the_report_loads_no_framework_and_no_plotting():
    code = (
        "import sys; from weft.report import write_report; "
        "sys.exit(', '.join({'matplotlib', 'keras', 'jax', 'optuna', 'jinja2'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_report_lies_in_the_run_directory_and_is_small(full):
    assert full.path == full.run.path / "report.html"
    assert full.path.stat().st_size < 3_000_000


def test_the_sections_stand_in_the_order_in_which_they_are_read(full):
    assert Page(full.html).headings == SECTIONS


def test_no_id_is_there_twice(full, regression):
    for html in (full.html, regression.html):
        ids = Page(html).ids
        assert len(ids) == len(set(ids))


def test_the_first_sentence_names_the_designs_the_verification_and_the_sizes(full):
    text, designs = plain(full.html), full.run.designs()
    small = min(designs, key=lambda d: d.read("synthesis.json")["lut"]["value"])
    lut = small.read("synthesis.json")["lut"]["value"]
    accuracy = small.read("metrics.json")["test"]["accuracy"]["value"]
    shown = f"{lut:,.0f}".replace(",", " ")
    assert (
        "3 designs, all bit-exact over 10 000 samples at Keras = adder graph = RTL; "
        f"smallest {shown} LUT (synthesised) at {100 * accuracy:.1f} % test accuracy; best "
    ) in text


def test_every_design_stands_in_the_table_with_synthesis_and_the_estimate_beside_it(full):
    rows = re.findall(r"<tr>.*?</tr>", re.search(r'<table id="designs".*?</table>', full.html, re.S)[0], re.S)[1:]
    assert len(rows) == 3
    for design in full.run.designs():
        (row,) = [plain(row) for row in rows if design.id in row]
        made, estimated = design.read("synthesis.json"), design.read("cost.json")
        for name in ("lut", "ff"):
            value, estimate = (f"{source[name]['value']:,.0f}".replace(",", " ") for source in (made, estimated))
            assert f"{value} solver {estimate}" in row
        accuracy = design.read("metrics.json")["test"]["accuracy"]
        assert f"{100 * accuracy['value']:.1f} ± {100 * accuracy['error']:.1f}" in row
        cycles = estimated["latency_cycles"]["value"]
        assert f"{cycles} {5 * cycles} ns, simulated" in row
        assert "✓ exact 10 000 samples, 0 mismatches; Keras = adder graph = RTL" in row


def test_every_number_of_hardware_names_its_stage_and_source(full):
    table = re.search(r'<table id="designs".*?</table>', full.html, re.S)[0]
    assert table.count("stage: synthesis; source: yosys 0.70") == 3 * 4
    assert table.count("stage: solver; source: alkaid 0.8.2") >= 3 * 3
    assert "the clock period asked for: no routed timing" in table


def test_notes_provenance_and_data_are_there(full):
    text = plain(full.html)
    parts = ("the final softmax (or sigmoid) is cut", "jets simulated with Pythia 8", "70 000", "rows limited")
    for part in (*parts, "search 0, data 1", "5 min 12 s", "name: jets-demo", "clock_period_ns: 5.0"):
        assert part in text
    assert atomic.read_json(full.run.path / "data.json")["sha256"] in text


def test_the_search_says_how_it_went(full):
    from weft.search.results import read

    summary, text = read(full.run.path).summary(), plain(full.html)
    assert f"Evaluated {summary['evaluated']}" in text
    assert f"Hypervolume {summary['hypervolume']:.4f}" in text
    assert "does not compare searches" in text
    assert "knee of accuracy, lut, place 1 of" in text


def test_figures_are_stored_as_svg_and_png_under_stable_names(full, regression):
    names = {path.stem for path in (full.run.path / "figures").iterdir()}
    each = {f"{kind}_{d.id}" for d in full.run.designs() for kind in ("trail", "roc", "confusion", "bits", "ranges")}
    fronts = {"front_lut_accuracy", "front_latency_cycles_accuracy", "front_lut_latency_cycles"}
    assert names == each | fronts | {"cost", "cost_trail", "designs", "estimates"}
    (design,) = regression.run.designs()
    assert (regression.run.path / "figures" / f"residuals_{design.id}.svg").exists()
    for name in names:
        assert (full.run.path / "figures" / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (full.run.path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_bytes(binary):
    before = {path: path.read_bytes() for path in [binary.path, *(binary.run.path / "figures").iterdir()]}
    write_report(binary.run)
    assert {path: path.read_bytes() for path in before} == before


def test_a_binary_task_has_one_roc_curve_a_two_by_two_matrix_and_fidelity(binary):
    text = plain(binary.html)
    assert "test fidelity" in text
    assert len(re.findall(r"excited, AUC 0\.\d{4}", text)) == 1
    assert len(re.findall(r"rows of (?:ground|excited) are called", binary.html)) == 4


def test_a_regression_shows_predictions_instead_of_classes(regression):
    text = plain(regression.html)
    assert "Predicted − true of target 1" in text
    assert "test MSE" in text
    assert "Confusion" not in text
    assert "Same class" not in text


def test_names_that_look_like_markup_stay_text(mixed):
    page = Page(mixed.html)
    clean = fake.HOSTILE[0]
    assert plain(mixed.html).count(clean) > 5  # matrix, data, configuration, log
    assert "alert(1)" not in "".join(re.findall(r"<script>(.*?)</script>", mixed.html, re.S))
    assert page.tags.count("script") == 4  # two plots, the replay and the program
    assert "<b>" not in mixed.html.replace("<b>Trial", "").replace("<b>t0", "")


def test_a_design_that_is_not_exact_is_named_with_its_first_wrong_layer(mixed):
    text = plain(mixed.html)
    (wrong,) = [d.id for d in mixed.run.designs() if d.read("verification.json")]
    assert f"2 designs, 1 of 2 not bit-exact ({wrong}); smallest" in text
    assert "10 000 samples, 12 outputs differ, first in layer block0_dense1; Keras ≠ adder graph = RTL" in text


@pytest.mark.parametrize("upto", ["begun", "data", "search", "compress"])
def test_stages_that_have_not_run_say_so(tmp_path, upto):
    if upto == "begun":
        run = fake.begin(tmp_path)
    else:
        run = fake.make_run(tmp_path, trials=4, points=(("epoch-40", 1),), upto=upto)
    text = plain(write_report(run).read_text())
    expected = {"begun": 9, "data": 7, "search": 5, "compress": 4}
    assert text.count("not run yet.") == expected[upto], text
    assert ("No design yet" in text) == (upto != "compress")


def test_designs_over_the_budget_are_counted_and_marked(full):
    from dataclasses import replace

    from weft.report.read import read_content
    from weft.report.verdict import over_budget, verdict

    content = read_content(full.run)
    sizes = sorted(design.quantity("lut")["value"] for design in content.designs)
    target = content.experiment.target
    budget = target.budget.model_copy(update={"lut": int(sizes[0])})
    limited = content.experiment.model_copy(update={"target": target.model_copy(update={"budget": budget})})
    content = replace(content, experiment=limited)
    assert "1 of 3 within the budget" in verdict(content)
    assert [bool(over_budget(content, design)) for design in content.designs].count(True) == 2


def test_candidates_synthesised_in_the_search_stand_beside_their_estimates(tmp_path):
    run = fake.make_run(tmp_path / "run", settings=["search.calibrate={every: 10, designs: 4}"])
    write_report(run)
    html = (run.path / "report.html").read_text()
    text = plain(html)
    rounds = read(run.path).rounds
    found = [q for one in rounds for t in one["trials"].values() for q in t["quantities"].values()]
    assert 'id="calibration"' in html and len(found) >= 8
    for quantity in found:
        assert f"{quantity['measured']['value']:,}".replace(",", " ") in text.replace("\u2009", " ")
    judged = [q["low"] <= q["measured"]["value"] <= q["high"] for q in found if q["low"] is not None]
    if judged:
        assert f"In the search, {sum(judged)} of {len(judged)} ranges held what synthesis found" in text
    assert re.search(r"The ranges of \d+ of \d+ estimates of the designs hold what synthesis found\.", text)


def test_without_rounds_there_is_no_table_of_them(full):
    assert 'id="calibration"' not in full.path.read_text()


def test_re_evaluated_numbers_say_so_and_over_how_many_seeds(tmp_path):
    run = fake.make_run(tmp_path, points=(("epoch-30", 1),), settings=("search.final={seeds: 3, count: 4}",))
    results = read(run.path)
    assert len(results.final) == 4
    html = write_report(run).read_text()
    text = plain(html)
    assert "The designs of the front were re-evaluated after the search, over 3 seeds" in text
    assert "Trained anew after the search, over 3 seeds that the search has not seen" in text
    table = text[text.index("Designs re-evaluated over several seeds") :]
    for trial in results.final:
        mean, std = trial.metrics["accuracy"]["mean"], trial.metrics["accuracy"]["std"]
        assert f"{metric('accuracy', mean, std).replace(GAP, ' ')} search: " in table
        assert metric("accuracy", results.trials[trial.number].value("accuracy")) in table
    assert '["Re-evaluated", "3 seeds", "mean \\u00b1 standard deviation"]' in html
