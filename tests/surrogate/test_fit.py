"""Fitting and validation, on corpora whose law is known, and on the one that weft brings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.run.conftest import weft
from weft.cost.learned import SHIPPED as MODEL
from weft.cost.learned import load
from weft.cost.readout import FEATURES
from weft.errors import DataError
from weft.surrogate.corpus import SHIPPED, Record, read
from weft.surrogate.fit import FEWEST, QUANTITIES, train, usable, validate

TRUTH = {"lut": {"wide": 1.05, "negative": 0.9, "input": 0.5}, "ff": {"registers": 0.95}}


def corpus(n: int, noise: float, truth: dict = TRUTH, seed: int = 0) -> list[Record]:
    """Return designs whose sizes follow an additive law but for a relative noise."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        size = np.exp(rng.uniform(np.log(50), np.log(5000)))
        counts = {name: float(size * rng.uniform(0.1, 0.5)) for name in FEATURES[:7]} | {"negative": size / 9}
        features = dict.fromkeys(FEATURES, 0.0) | counts | {"solver": float(size * rng.uniform(0.8, 1.1))}
        measured = {
            name: sum(w * features[f] for f, w in law.items()) * float(np.exp(noise * rng.normal()))
            for name, law in truth.items()
        }
        found.append(
            Record(
                family=f"drawn-{i // 10:03}",
                name=str(i),
                depth=1 + i % 3,
                width=int(4 + 40 * rng.uniform()),
                bits=float(rng.uniform(1, 3)),
                ebops=float(size * rng.uniform(0.5, 2)),
                features=features,
                measured=measured,
                tools={"compiler": "alkaid 0", "synthesis": "yosys 0"},
            )
        )
    return found


def test_an_additive_law_is_found_and_enabled():
    model = train(corpus(150, 0.02))
    assert all(model.quantities[name].enabled for name in QUANTITIES)
    weights = model.quantities["lut"].weights
    for name, weight in TRUTH["lut"].items():
        assert weights[name] == pytest.approx(weight, abs=0.25)
    assert "table" not in weights  # no design has one
    rows = {(row.quantity, row.split, row.predictor): row for row in model.table}
    assert len(rows) == 2 * 4 * 3
    assert rows["lut", "depth", "learned"].mape < 0.04 < rows["lut", "depth", "adder_graph"].mape
    assert 0.82 <= rows["lut", "family", "learned"].covered <= 0.97


def test_what_the_compiler_counts_exactly_is_left_to_it():
    records = [
        record.model_copy(update={"measured": {"lut": record.features["solver"], "ff": record.features["registers"]}})
        for record in corpus(80, 0.0)
    ]
    _, better = validate(records)
    assert better == {"lut": False, "ff": False}


def test_nothing_that_is_held_out_is_seen():
    """A family whose sizes follow another law is predicted by that of the others."""
    records = corpus(100, 0.0)
    strange = [
        record.model_copy(update={"measured": {name: 10 * size for name, size in record.measured.items()}})
        if record.family == "drawn-003"
        else record
        for record in records
    ]
    rows = {(row.quantity, row.split, row.predictor): row for row in validate(strange)[0]}
    assert rows["lut", "family", "learned"].worst == pytest.approx(0.9, abs=0.02)


def test_a_corpus_must_be_large_enough_and_of_one_version():
    records = corpus(FEWEST, 0.02)
    tables = [one.model_copy(update={"features": one.features | {"table": one.features["solver"]}}) for one in records]
    with pytest.raises(DataError, match=rf"has {FEWEST - 1} designs of additions .*, and {FEWEST} are needed; make"):
        usable([*records[1:], *tables])
    combinational = records[0].model_copy(update={"measured": records[0].measured | {"ff": 0.0}})
    assert usable([*records, combinational]) == records
    other = records[0].model_copy(update={"tools": {"compiler": "alkaid 1", "synthesis": "yosys 0"}})
    with pytest.raises(DataError, match=r"several versions of the tools, .*alkaid 0.*alkaid 1.*; build it anew"):
        usable([*records, other])


def test_the_model_that_weft_brings_is_the_one_of_its_corpus():
    made, shipped = train(read([SHIPPED])), load(MODEL)
    assert (made.designs, made.tools) == (shipped.designs, shipped.tools)
    for name, fitted in shipped.quantities.items():
        assert made.quantities[name].enabled == fitted.enabled
        assert made.quantities[name].weights == pytest.approx(fitted.weights, abs=1e-6)
    for one, row in zip(made.table, shipped.table, strict=True):
        assert one.model_dump(exclude={"quantity", "split", "predictor"}) == pytest.approx(
            row.model_dump(exclude={"quantity", "split", "predictor"}), rel=0.02
        )


def test_the_intervals_that_weft_brings_hold_on_designs_unlike_those_they_are_of():
    rows = [row for row in load(MODEL).table if (row.quantity, row.predictor) != ("ff", "adder_graph")]
    covered = {(row.quantity, row.split, row.predictor): row.covered for row in rows if row.predictor != "ebops"}
    assert len(covered) == 12 and all(0.85 <= share <= 0.95 for share in covered.values()), covered


def test_the_compiler_tells_the_size_of_more_than_a_hundred_trained_designs():
    from scipy.stats import spearmanr

    trained = [one for one in usable(read([SHIPPED])) if not one.family.startswith("drawn")]
    trained = [one for one in trained if 50 <= one.measured["lut"] <= 10_000]
    counted = np.array([one.features["solver"] for one in trained])
    found = np.array([one.measured["lut"] for one in trained])
    assert len(trained) >= 100 and found.min() < 100 and found.max() > 8000
    assert np.abs(counted / found - 1).mean() <= 0.1
    assert spearmanr(counted, found).statistic >= 0.99


def test_the_commands_print_the_table_and_write_a_model_that_can_be_used(tmp_path):
    place = tmp_path / "corpus"
    place.mkdir()
    (place / "drawn-000.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in corpus(60, 0.02)))
    out = tmp_path / "mine.json"
    done = weft("surrogate", "train", place, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "fitted to 60 designs, enabled for lut, ff" in done.stdout
    assert load(out).designs == 60
    found = json.loads(weft("surrogate", "validate", place, "--json").stdout)
    assert found["enabled"] == {"lut": True, "ff": True} and len(found["table"]) == 24
    done = weft("surrogate", "validate", tmp_path / "none.jsonl")
    assert done.returncode == 2 and "make it by `weft surrogate build`" in done.stderr
