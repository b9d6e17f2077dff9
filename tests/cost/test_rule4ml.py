"""rule4ml in a process of its own: the protocol with a stand-in for its interpreter, and the real one where it is."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.cost.test_cost_models import Target
from tests.firmware.models import mlp, randomised
from weft.cost import CostInput, Rule4ml, _cache, rule4ml, side_by_side
from weft.errors import ConfigError, ToolError, ToolNotFoundError, UnsupportedError

ANSWER = {"version": "0.2.0", "LUT": 10.5, "FF": 4.0, "DSP": 0.0, "BRAM": 1.0, "CYCLES": 7.25, "INTERVAL": 1.0}
ZCU102 = Target(part="xczu9eg-ffvb1156-2-e")


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(3, (4, 2)))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a program in the place of rule4ml's interpreter; what it is asked is written beside it."""
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WEFT_RULE4ML_BOARD", raising=False)
    _cache.forget()

    def put(body: str) -> Path:
        program = tmp_path / "python"
        program.write_text(
            f"#!{sys.executable}\nimport json, sys, time\nrequest = sys.stdin.read()\n"
            f"open({str(tmp_path / 'asked.json')!r}, 'a').write(request + '\\n')\n{body}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("WEFT_RULE4ML_PYTHON", str(program))
        return tmp_path / "asked.json"

    yield put
    _cache.forget()


def test_an_answer_becomes_quantities_that_say_where_they_come_from(stand_in, model):
    asked = stand_in(f"print('a library talks'); print({json.dumps(json.dumps(ANSWER))})")
    (found,) = Rule4ml().estimate([CostInput(model)], ZCU102)
    assert {name: q.value for name, q in found.quantities.items()} == {
        **{"lut": 10.5, "ff": 4.0, "dsp": 0.0, "bram_18k": 1.0},
        **{"latency_cycles": 7.25, "ii_cycles": 1.0},
    }
    assert {q.stage for q in found.quantities.values()} == {"predicted"}
    assert {q.source for q in found.quantities.values()} == {"rule4ml 0.2.0, weights v2/gnn, zcu102"}
    assert "sees neither weights nor zeros" in found.notes[0] and "of 5 bits throughout" in found.notes[0]
    request = json.loads(asked.read_text())
    assert (request["n_in"], request["layers"]) == (3, [[4, "relu"], [2, "linear"]])
    assert (request["board"], request["precision"], request["reuse_factor"]) == ("zcu102", "ap_fixed<5, 3>", 1)


def test_each_network_is_asked_alone_and_once(stand_in, model):
    asked = stand_in(f"print({json.dumps(json.dumps(ANSWER))})")
    other = randomised(mlp(3, (5, 2)))
    designs = [CostInput(one) for one in (model, other, model)]
    one, _, three = Rule4ml().estimate(designs, ZCU102)
    assert one == three and len(asked.read_text().splitlines()) == 2
    _cache.forget()
    Rule4ml().estimate(designs, ZCU102)
    assert len(asked.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('no module named rule4ml')", r"rule4ml ended with 1: no module named rule4ml; repair its environ"),
        ("import os; os.kill(os.getpid(), 9)", r"rule4ml ended with -9: it said nothing; repair its environment with"),
        ("print('<html>')", r"rule4ml answered what cannot be read .*<html>.*weft surrogate install-rule4ml"),
        ("pass", r"rule4ml answered what cannot be read \(list index out of range\)"),
        ("print('{}')", r"rule4ml answered what cannot be read \(it holds no finite numbers\)"),
        ("print(json.dumps({'version': '1', 'LUT': float('nan')}))", r"cannot be read \(it holds no finite numbers\)"),
        ("print(json.dumps({'LUT': 1.0}))", r"cannot be read \('version'\)"),
    ],
)
def test_a_process_that_fails_is_a_tool_error(stand_in, model, body, message):
    stand_in(body)
    with pytest.raises(ToolError, match=message) as error:
        Rule4ml().estimate([CostInput(model)], ZCU102)
    assert error.value.exit_code == 3
    assert not list(_cache.directory().rglob("*.json"))


def test_a_process_that_hangs_is_ended(stand_in, model):
    stand_in("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"rule4ml gave no answer within 0.5 s and was ended; repair its environment"):
        Rule4ml(timeout_s=0.5).estimate([CostInput(model)], ZCU102)
    assert time.monotonic() - start < 20


def test_without_an_environment_the_command_that_makes_one_is_named(stand_in, model, monkeypatch):
    monkeypatch.delenv("WEFT_RULE4ML_PYTHON", raising=False)
    with pytest.raises(
        ToolNotFoundError, match=r"rule4ml 0.2.0, and it is not in .*'weft surrogate install-rule4ml'"
    ) as e:
        Rule4ml().estimate([CostInput(model)], ZCU102)
    assert e.value.exit_code == 3
    monkeypatch.setenv("WEFT_RULE4ML_PYTHON", "/nowhere/python")
    with pytest.raises(ToolNotFoundError, match=r"WEFT_RULE4ML_PYTHON names /nowhere/python, which is not there"):
        Rule4ml().estimate([CostInput(model)], ZCU102)


def test_an_unknown_part_needs_a_board_that_is_named(stand_in, model, monkeypatch):
    asked = stand_in(f"print({json.dumps(json.dumps(ANSWER))})")
    with pytest.raises(
        UnsupportedError, match=r"does not know the part xcvu13p.*alveo-u250 has the capacities of a VU"
    ):
        Rule4ml().estimate([CostInput(model)], Target())
    found = side_by_side(CostInput(model), ("rule4ml", "ebops"), Target())
    assert "does not know the part xcvu13p" in found.refused["rule4ml"] and list(found.quantities) == ["ebops"]
    monkeypatch.setenv("WEFT_RULE4ML_BOARD", "alveo-u250")
    (estimate,) = Rule4ml().estimate([CostInput(model)], Target())
    assert json.loads(asked.read_text())["board"] == "alveo-u250" and "alveo-u250" in estimate["lut"].source
    with pytest.raises(UnsupportedError, match=r"does not know a board 'vcu118'"):
        Rule4ml(board="vcu118").board_of("xcvu13p")
    with pytest.raises(UnsupportedError, match=r"the weights v1/mlp of rule4ml do not know alveo-u250"):
        Rule4ml(weights="v1/mlp", board="alveo-u250").board_of("xcvu13p")
    with pytest.raises(ConfigError, match=r"rule4ml has no weights 'v3'; it has v2/gnn, v2/mlp, v1/mlp"):
        Rule4ml(weights="v3")


def test_what_the_weights_do_not_predict_is_missing_with_a_reason(stand_in, model):
    stand_in(f"print({json.dumps(json.dumps({k: v for k, v in ANSWER.items() if k != 'INTERVAL'}))})")
    (found,) = Rule4ml(weights="v1/mlp", bits=32).estimate([CostInput(model)], ZCU102)
    assert found["ii_cycles"].value is None and found["ii_cycles"].reason == "these weights predict no interval"
    assert not found.in_domain


def test_networks_that_it_cannot_see_are_refused():
    import hgq.layers as H
    import keras
    from hgq.config import QuantizerConfigScope

    with QuantizerConfigScope(place="datalane", heterogeneous_axis=(), homogeneous_axis=None):
        x = keras.Input((4, 4, 1))
        image = keras.Model(x, H.QConv2D(2, 2, name="conv")(x))
        x = keras.Input((3,))
        y = H.QDense(3, name="a")(x)
        branch = keras.Model(x, H.QAdd(name="sum")([x, y]))
        swish = keras.Model(x, H.QDense(3, activation="silu", name="b")(x))
    reasons = [Rule4ml().supports(CostInput(one)) for one in (image, branch, swish)]
    assert reasons[0] == "rule4ml is asked for dense networks that read one row of numbers only"
    assert "chains of dense layers only, and 'sum' makes the network no chain" in reasons[1]
    assert "'b' ends with silu, which rule4ml does not know" in reasons[2]
    assert "only an adder graph was given" in Rule4ml().supports(CostInput())


def test_the_installation_is_finished_or_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("WEFT_RULE4ML_PYTHON", raising=False)
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path))
    commands = []
    inside = rule4ml.install(run=commands.append)
    assert [one[1:4] for one in commands[1:3]] == [["-m", "pip", "install"]] * 2
    assert (
        commands[1][-1] == "torch==2.13.0" and "rule4ml==0.2.0" in commands[2] and "tensorflow==2.21.0" in commands[2]
    )
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert rule4ml.interpreter() == inside

    def breaks(command):
        if "pip" in command:
            rule4ml._run([sys.executable, "-c", "import sys; sys.exit('no space left on device')"])

    with pytest.raises(
        ToolError, match=r"could not be installed.*no space left on device; repair that and run 'weft su"
    ):
        rule4ml.install(run=breaks)
    with pytest.raises(ToolNotFoundError):
        rule4ml.interpreter()


REFERENCE = [*((n, "relu") for n in (120, 60, 32, 64, 64, 64, 32, 44)), (5, "softmax")]


@pytest.mark.slow
@pytest.mark.skipif("WEFT_RULE4ML_PYTHON" not in os.environ, reason="WEFT_RULE4ML_PYTHON names no rule4ml environment")
def test_the_published_estimate_is_reproduced():
    """arXiv:2605.16138, table 1: the baseline takes 7.10 % on average and 183.74 cycles."""
    found = Rule4ml(weights="v1/mlp").ask(24, REFERENCE, 8, "alveo-u200")
    capacity = {"lut": 1_182_240, "ff": 2_364_480, "dsp": 6_840, "bram_18k": 4_320}
    average = sum(found[name].value / most for name, most in capacity.items()) / len(capacity)
    assert round(100 * average, 3) == pytest.approx(7.099, abs=1e-3)
    assert found["latency_cycles"].value == pytest.approx(183.740, abs=1e-3)
