"""Drafts: each is an experiment that loads, holds the wishes, and says what it took for granted."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.draft.test_sentence import VALUES
from weft.config import loads
from weft.draft import Request, draft_config, read_request
from weft.errors import ConfigError


def test_the_wishes_are_in_the_experiment():
    text = draft_config(read_request("qubit readout on ZCU216, under 30 ns, at most 5k LUT, no BRAM, fidelity >= 90 %"))
    experiment = loads(text)
    assert experiment.data.name == "qubit-readout"
    assert experiment.target.part == "xczu49dr-ffvf1760-2-e"
    assert experiment.target.budget.limits() == {"lut": 5000, "latency_ns": 30.0}
    assert experiment.search.constraints == {"lut": "<= 5000", "latency_ns": "<= 30", "bram_18k": "<= 0"}
    assert experiment.search.objectives == ["fidelity", "lut", "latency_cycles"]
    assert experiment.select.constraints == {"fidelity": ">= 0.9"}
    assert (experiment.compress.recipe, experiment.compress.lut) == ("budget", 5000)


def test_what_was_not_understood_and_what_was_assumed_is_said():
    text = draft_config(read_request("fast jet tagging"))
    assert "# NOT UNDERSTOOD, and not in here: fast\n" in text
    assert "# No part was asked for: this is an assumption." in text
    assert "# No clock was asked for: 200 MHz is an assumption." in text
    assert "# No limit was asked for" in text


def test_a_share_is_written_as_a_count_of_the_part():
    experiment = loads(draft_config(Request(data="jets-hlf", part="xc7a35t", lut_fraction=0.1, lut=5000)))
    assert experiment.target.budget.lut == 2080


def test_own_files_begin_with_a_plain_search():
    request = Request(files="my data/ev√ents.csv", label="mass", task="regression", features=("a", "b"), quick=True)
    experiment = loads(draft_config(request, {"data": ["seen: 10 rows"], "": ["a head"]}))
    assert str(experiment.data.files.all) == "my data/ev√ents.csv"
    assert (experiment.data.label, experiment.data.task, experiment.data.features) == ("mass", "regression", ["a", "b"])
    assert experiment.search.objectives[0] == "mse"
    assert experiment.name == "ev-ents"
    assert experiment.search.trials < 10


def test_comments_cannot_become_configuration():
    evil = "x\nname: other\u2028name: third\x85name: fourth\rname: fifth"
    text = draft_config(Request(data="jets-hlf", not_understood=(evil,), notes=(evil,)), {"data": [evil], "": [evil]})
    assert loads(text).name == "jets-hlf"
    assert len(loads(text).model_dump()) == len(loads(draft_config(Request(data="jets-hlf"))).model_dump())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(), r"a draft needs data: jets-hlf, .*got none"),
        (Request(data="jets-hlf", files="a.csv"), r"or a file of your own; got both"),
        (Request(data="jets-hlf", part="zcu217"), r"unknown part 'zcu217'; did you mean 'zcu216'"),
        (Request(data="jets-hlf", latency_ns=2.0), r"no design can meet 2 ns, less than one clock period of 5 ns"),
        (Request(data="jets-hlf", fidelity=0.9), r"'fidelity' is no metric of a classification task"),
        (Request(data="jets-hlf", task="binary"), r"jets-hlf is a classification task; got binary"),
        (Request(data="jets-hlf", part="xc7z010", lut=10**6), r"has only 17600; got 1000000"),
        (Request(data="jets-hlp"), r"unknown data set 'jets-hlp'; did you mean 'jets-hlf'"),
        (Request(data="jets-hlf", recipe="hqg"), r"must be one of .*got 'hqg'; did you mean 'hgq'"),
    ],
)
def test_a_contradiction_is_refused(request_, message):
    with pytest.raises(ConfigError, match=message):
        draft_config(request_)


wishes = st.fixed_dictionaries(
    {"data": VALUES["data"]}, optional={k: v for k, v in VALUES.items() if k not in ("data", "label")}
)


@given(wishes)
@settings(max_examples=40)
def test_every_request_that_can_be_met_becomes_an_experiment(wish):
    assume("fidelity" not in wish or wish["data"] == "qubit-readout")
    assume(wish.get("latency_ns", 99) >= wish.get("clock_period_ns", 5.0))
    wish.pop("latency_cycles", None)
    for name, least in (("lut", 5000), ("ff", 5000), ("dsp", 0), ("bram_18k", 30)):
        if name in wish:
            wish[name] = min(wish[name], least)
    experiment = loads(draft_config(Request(**wish)))
    for name in ("latency_ns", "lut", "ff", "dsp"):
        if name in wish and "lut_fraction" not in wish:
            assert getattr(experiment.target.budget, name) == wish[name]
