"""Sentences: what was rendered is read back, with its units; what is not understood is always said."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weft.config.parts import BOARDS, PARTS, find_part
from weft.draft import Request, read_request
from weft.errors import ConfigError


def understood(request: Request) -> dict:
    return request.model_dump(exclude_defaults=True, exclude={"not_understood", "notes"})


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "qubit readout on ZCU216, under 30 ns, at most 5k LUT",
            {"data": "qubit-readout", "part": "zcu216", "latency_ns": 30.0, "lut": 5000},
        ),
        (
            "jet tagging on VU13P within 1 us, 200 MHz, accuracy >= 72 %, no DSPs",
            {
                "data": "jets-hlf",
                "part": "xcvu13p",
                "latency_ns": 1000.0,
                "clock_period_ns": 5.0,
                "accuracy": 0.72,
                "dsp": 0,
            },
        ),
        (
            "Classify 'my data.csv', label kind, on an Alveo U250 at 250 MHz, 100 trials of 10 epochs, in 2 hours",
            {
                "files": "my data.csv",
                "label": "kind",
                "task": "classification",
                "part": "alveo-u250",
                "clock_period_ns": 4.0,
                "trials": 100,
                "epochs": 10,
                "minutes": 120.0,
            },
        ),
        (
            "jet tagging with 16 particles; II = 1, 12 clock cycles, LUT <= 10 %, fewer than 1,500 flip-flops, 2 BRAMs",
            {
                "data": "jets-constituents",
                "constituents": 16,
                "ii_cycles": 1,
                "latency_cycles": 12,
                "lut_fraction": 0.1,
                "ff": 1500,
                "bram_18k": 2,
            },
        ),
        (
            "predict 'jet mass', regression on openml 42468",
            {"label": "jet mass", "task": "regression", "data": "openml:42468"},
        ),
        (
            "readout of a qubit on RFSoC 4x2, fidelity at least 0.95",
            {"data": "qubit-readout", "part": "rfsoc4x2", "fidelity": 0.95},
        ),
        (
            "xcvu13p-flga2577-2-e, hgq compression, quick run",
            {"part": "xcvu13p-flga2577-2-e", "recipe": "hgq", "quick": True},
        ),
        (
            "the latency must be 0.5 µs or less with a clock period of 3.225 ns",
            {"latency_ns": 500.0, "clock_period_ns": 3.225},
        ),
    ],
)
def test_sentence_is_read_whole(sentence, expected):
    request = read_request(sentence)
    assert request.not_understood == ()
    assert understood(request) == expected


@pytest.mark.parametrize(
    ("sentence", "left", "expected"),
    [
        ("fast qubit readout", ("fast",), {"data": "qubit-readout"}),
        ("jet tagging on ZCU216 or ZCU111", ("ZCU216 or ZCU111",), {"data": "jets-hlf"}),
        ("ZCU216, jet tagging, ZCU102", ("ZCU216", "ZCU102"), {"data": "jets-hlf"}),
        ("zcu216 (xczu49dr-ffvf1760-2-e)", (), {"part": "zcu216"}),
        ("30 ns, 200 MHz", ("30 ns",), {"clock_period_ns": 5.0}),
        ("under 30 ns, 200 MHz or 250 MHz", ("200 MHz or 250 MHz",), {"latency_ns": 30.0}),
        ("10 to 20k LUT", ("10 to 20k LUT",), {}),
        ("between 10 ns and 20 ns latency", ("between 10 ns", "20 ns latency"), {}),
        ("from 10 ns to 20 ns latency", ("10 ns to 20 ns latency",), {}),
        ("5k LUT to be used", (), {"lut": 5000}),
        ("not on ZCU216", ("not", "ZCU216"), {}),
        ("without a DSP, except 5k LUT", ("without", "DSP", "except 5k LUT"), {}),
        ("at least 5k LUT", ("at least 5k LUT",), {}),
        ("accuracy under 72 %", ("accuracy under 72 %",), {}),
        ("72 accuracy", ("72 accuracy",), {}),
        ("accuracy 172 %", ("accuracy 172 %",), {}),
        ("about 30 ns", ("about 30 ns",), {}),
        ("within 1 s", ("within 1 s",), {}),
        ("5.000 LUT", ("5.000 LUT",), {}),
        ("latency 1,5 us", ("latency 1,5 us",), {}),
        ("-5 LUT and 2.5 DSPs", ("-5 LUT", "2.5 DSPs"), {}),
        ("5m LUT", ("5m LUT",), {}),
        ("no LUTs", ("no LUTs",), {}),
        ("on VU13Q", ("VU13Q",), {}),
        ("jets from 12 particles", ("jets", "12 particles"), {}),
        ("jet tagging on jets.csv", ("jet tagging",), {"files": "jets.csv"}),
        ("a.csv and b.csv", ("a.csv", "b.csv"), {}),
        ("under 30 ns under 40 ns", ("under 30 ns under 40 ns",), {}),
        ("at most 30 ns or more", ("at most 30 ns or more",), {}),
        ("clock under 5 ns", ("clock under 5 ns",), {}),
        ("at least 200 MHz", ("at least 200 MHz",), {}),
        ("0 MHz clock, under 0 ns", ("0 MHz clock", "under 0 ns"), {}),
        ("qubit readout ☃ > ZCU216", ("☃ >",), {"data": "qubit-readout", "part": "zcu216"}),
    ],
)
def test_what_is_unclear_is_said_and_not_guessed(sentence, left, expected):
    request = read_request(sentence)
    assert request.not_understood == left
    assert understood(request) == expected


@pytest.mark.parametrize(
    ("sentence", "note"),
    [
        ("fast qubit readout", "say how fast, as 'under 100 ns'"),
        ("on VU13Q", "'VU13Q' is no part or board that weft knows; the nearest that it knows is xcvu13p"),
        ("30 ns", "may be a latency or a clock period"),
        ("within 1 s", "may be a latency or the time of the search"),
        ("ZCU216 and ZCU111", "'ZCU216' and 'ZCU111' say different things; keep one"),
        ("not on ZCU216", "'ZCU216' is not read, because of 'not'"),
        ("72 accuracy", "write per cent as in 72 %, or a fraction"),
        ("accuracy 172 %", "a share lies between 0 and 100 %"),
        ("5.000 LUT", "a thousand times more or not"),
        ("latency 1,5 us", "can be read in several ways"),
        ("5m LUT", "factor 'm', which is milli"),
        ("2.5 LUT", "a whole number of 1 or more is needed"),
        ("at least 5k LUT", "takes a most here"),
        ("about 5k LUT", "is no bound; write 'at most'"),
        ("about 72 % accuracy", "is no bound; write 'at least'"),
        ("accuracy below 72 %", "takes a least accuracy"),
        ("at most 30 ns or more", "says both at most and at least"),
        ("clock under 5 ns", "weft takes one clock"),
        ("at most 200 MHz", "weft takes one clock"),
        ("0 MHz", "is no frequency > 0"),
        ("under 0 ns", "is no time > 0"),
        ("within 0 minutes", "is no time > 0"),
        ("no LUTs", "leaves nothing to build logic from"),
        ("12 particles", "it has 8 or 16"),
        ("label is", "names no column"),
        ("jet tagging on jets.csv", "the data are those of the file"),
        ("jet tagging", "jets are read as the data set jets-hlf"),
    ],
)
def test_a_note_says_why(sentence, note):
    assert any(note in found for found in read_request(sentence).notes), read_request(sentence).notes


def test_an_empty_sentence_is_refused():
    with pytest.raises(ConfigError, match="the sentence is empty; say what you want"):
        read_request("  ")
    with pytest.raises(
        ConfigError, match="the sentence has 4001 characters, and weft reads up to 4000; say it shorter"
    ):
        read_request("x" * 4001)


def test_a_request_survives_json():
    request = read_request("fast jet tagging on ZCU216, 5k LUT, no DSPs")
    assert Request.model_validate_json(request.model_dump_json()) == request


# ---- requests rendered in several phrasings

UPPER = ["under ", "below ", "at most ", "<= ", "≤", "no more than ", "up to ", "max. ", "less than "]
LOWER = ["at least ", ">= ", "no less than ", "above ", "min "]


def times(ns: float) -> list[str]:
    return [
        f"{ns:.12g} ns",
        f"{ns / 1e3:.12g}us",
        f"{ns / 1e3:.12g} µs",
        f"{ns * 1e3:.12g} ps",
        f"{ns:.12g} nanoseconds",
    ]


def counts(n: int) -> list[str]:
    found = [str(n), f"{n:,}"]
    return [*found, f"{n // 1000}k", f"{n // 1000} k", f"{n // 1000} thousand"] if n % 1000 == 0 else found


def per_cent(share: float) -> list[str]:
    return [f"{share * 100:.12g} %", f"{share * 100:.12g}%", f"{share * 100:.12g} per cent"]


def product(*lists: list[str]) -> list[str]:
    found = [""]
    for one in lists:
        found = [left + right for left in found for right in one]
    return found


def both_ways(names: list[str], bounds: list[str], numbers: list[str]) -> list[str]:
    """Return `at most 5k LUT` and `LUT at most 5k`."""
    ahead = product(["", *bounds], numbers, [" "], names)
    return ahead + product(names, [" ", " of ", " must be "], bounds, numbers)


PHRASES = {
    "data": lambda v: {
        "qubit-readout": ["qubit readout", "qubit-readout", "readout of the qubit", "qubit state discrimination"],
        "jets-hlf": ["jet tagging", "a jet tagger", "jets-hlf", "jet classification"],
        "jets-constituents": ["jet constituents", "jet tagging from particles", "jets-constituents"],
        "openml:42468": ["openml:42468", "OpenML 42468"],
    }[v],
    "part": lambda v: product(["on ", "on a ", "for the ", ""], [v, v.upper(), v.removeprefix("xc")]),
    "clock_period_ns": lambda v: [
        *product(["at ", "", "clock of "], [f"{1e3 / v:.12g} MHz", f"{1 / v:.12g}GHz"]),
        *product(["clock period of ", "clock "], times(v)),
        *product(times(v), [" clock"]),
    ],
    "latency_ns": lambda v: [*product(UPPER, times(v)), *both_ways(["latency", "delay"], UPPER, times(v))],
    "latency_cycles": lambda v: product(["", *UPPER], counts(v), [" cycles", " clock cycles", " cycles latency"]),
    "ii_cycles": lambda v: product(["II ", "II = ", "initiation interval of "], counts(v), ["", " cycles"]),
    "lut": lambda v: both_ways(["LUT", "LUTs", "look-up tables"], UPPER, counts(v)),
    "ff": lambda v: both_ways(["FF", "flip-flops", "registers"], UPPER, counts(v)),
    "dsp": lambda v: both_ways(["DSP", "DSP slices"], UPPER, counts(v)) + ["no DSPs", "without any DSP"] * (not v),
    "bram_18k": lambda v: both_ways(["BRAM", "block RAMs"], UPPER, counts(v)) + ["no BRAM", "zero BRAMs"] * (not v),
    "lut_fraction": lambda v: product(UPPER, per_cent(v), [" of the LUTs", " LUT"]) + product(["LUT <= "], per_cent(v)),
    "accuracy": lambda v: both_ways(["accuracy"], LOWER, [*per_cent(v), f"{v:.12g}"]),
    "fidelity": lambda v: both_ways(["fidelity", "readout fidelity"], LOWER, per_cent(v)),
    "trials": lambda v: product(["", "at most "], counts(v), [" trials", " candidates"]),
    "epochs": lambda v: product(counts(v), [" epochs"]),
    "minutes": lambda v: product(["in ", "within ", "at most "], [f"{v:g} minutes", f"{v:g}min", f"{v / 60:.12g} h"]),
    "label": lambda v: [f"label '{v}'", f"label column {v}", f'target column "{v}"', f"label is {v}", f"predict '{v}'"],
    "recipe": lambda v: [f"recipe {v}", f"{v} compression"],
    "quick": lambda v: ["quick run", "a quick look"],
}  # fmt: skip

VALUES = {
    "data": st.sampled_from(["qubit-readout", "jets-hlf", "jets-constituents", "openml:42468"]),
    "part": st.sampled_from([*BOARDS, *PARTS]),
    "clock_period_ns": st.sampled_from([1.0, 2.5, 3.225, 4.0, 5.0, 8.0]),
    "latency_ns": st.integers(1, 5000).map(lambda n: n / 2),
    "latency_cycles": st.integers(1, 200),
    "ii_cycles": st.integers(1, 9),
    "lut": st.integers(1, 200).flatmap(lambda n: st.sampled_from([n, n * 1000])),
    "ff": st.integers(1, 99_999),
    "dsp": st.integers(0, 99),
    "bram_18k": st.integers(0, 99),
    "lut_fraction": st.integers(1, 200).map(lambda n: n / 200),
    "accuracy": st.integers(1, 1000).map(lambda n: n / 1000),
    "fidelity": st.integers(1, 1000).map(lambda n: n / 1000),
    "trials": st.integers(1, 5000),
    "epochs": st.integers(1, 999),
    "minutes": st.sampled_from([3.0, 30.0, 90.0]),
    "label": st.sampled_from(["kind", "is_signal", "Class2"]),
    "recipe": st.sampled_from(["hgq", "imp", "dst", "hgq-dst"]),
    "quick": st.just(True),
}

wishes = st.fixed_dictionaries({}, optional=VALUES).filter(bool)


@st.composite
def sentences(draw) -> tuple[dict, list[str]]:
    """Return wishes, and a phrase for each, in any order."""
    wish = draw(wishes)
    phrases = [draw(st.sampled_from(PHRASES[name](value))) for name, value in wish.items()]
    return wish, draw(st.permutations(phrases))


def same(read: dict, wish: dict) -> bool:
    read, wish = dict(read), dict(wish)
    parts = read.pop("part", None), wish.pop("part", None)
    close = all(read.get(name) == pytest.approx(value) for name, value in wish.items())
    return (
        read.keys() == wish.keys() and close and (parts == (None, None) or find_part(parts[0]) == find_part(parts[1]))
    )


@given(sentences(), st.sampled_from([", ", "; ", " and ", ", with "]))
@settings(max_examples=100)
def test_what_was_rendered_is_read_back(rendered, glue):
    wish, phrases = rendered
    request = read_request(glue.join(phrases))
    assert request.not_understood == ()
    assert same(understood(request), wish), request


words = st.one_of(
    st.from_regex(r"[a-zåß]{3,10}", fullmatch=True),
    st.sampled_from(
        ["quickly", "cheap", "not", "except", "maybe", "DSP-free", "30ish", "~", "%", "xczu999", "ns", "k", "7"]
    ),
)


@given(sentences(), words, st.data())
@settings(max_examples=100)
def test_a_word_that_is_not_understood_is_always_reported(rendered, word, data):
    assume(read_request(word).not_understood == (word,))  # it means nothing by itself
    wish, phrases = rendered
    place = data.draw(st.integers(0, len(phrases)))
    request = read_request(", ".join([*phrases[:place], word, *phrases[place:]]))
    assert any(word in left for left in request.not_understood), request
    assert understood(request).items() <= {**wish, **understood(read_request(", ".join(phrases)))}.items()


@given(sentences(), st.from_regex(r"[a-zåß]{4,10}", fullmatch=True), st.data())
@settings(max_examples=60)
def test_a_strange_word_within_a_phrase_is_reported_too(rendered, word, data):
    assume(read_request(word).not_understood == (word,))
    tokens = ", ".join(rendered[1]).split(" ")
    place = data.draw(st.integers(0, len(tokens)))
    request = read_request(" ".join([*tokens[:place], word, *tokens[place:]]))
    assert any(word in left for left in request.not_understood) or request.label == word, request


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_any_text_is_read_or_reported(text):
    assume(text.strip())
    request = read_request(text)
    for left in request.not_understood:
        assert left in text
