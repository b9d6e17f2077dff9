"""Finalised models as ONNX files: equal in every output to the Keras model, executed by others' code; or refused."""

from __future__ import annotations

import re

import hgq.layers as hgq
import keras
import numpy as np
import onnxruntime
import pytest
from hgq.quantizer import Quantizer, QuantizerConfig

import onnx
from tests.onnx.models import FIXED, HGQ, finalised, rows
from weft.errors import ConfigError, ToolNotFoundError, UnsupportedError, VerificationError
from weft.onnx import export

CASES = {
    "mlp": HGQ,
    "conv1d": FIXED,
    "conv2d": FIXED,
    "residual": HGQ,
    "moved": FIXED,
    "table": HGQ,
    "two inputs": HGQ,
}


@pytest.fixture(scope="module")
def models():
    made = {}

    def model(name):
        if name not in made:
            made[name] = finalised(name, CASES[name])
        return made[name]

    return model


def anything(model, n=300):
    """Return inputs on no grid, many of them far beyond every range."""
    random = np.random.default_rng(1)
    return [(random.normal(size=(n, *t.shape[1:])) * 2.0 ** random.integers(-2, 6, (n, 1))[
        (..., *[None] * (len(t.shape) - 2))]).astype("f") for t in model.inputs]  # fmt: skip


def of_keras(model, x):
    found = model.predict(x if len(x) > 1 else x[0], batch_size=len(x[0]), verbose=0)
    return [np.asarray(one) for one in keras.tree.flatten(found)]


def nodes(path, *kinds):
    return [node for node in onnx.load(path).graph.node if node.op_type in kinds]


SLOW = ("conv2d", "moved", "table", "two inputs")


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in CASES])
def test_both_files_equal_the_model_on_any_input(models, name, tmp_path):
    """Executed as a user of onnxruntime or qonnx would: the file as it is, with default settings."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    model, data = models(name)
    made = export(model, tmp_path / "m.onnx", format="onnx-qdq", x=data if len(data) > 1 else data[0])
    assert made.path == tmp_path / "m.onnx" and made.samples > 400 and made.wraps
    x = anything(model)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [one.name for one in session.get_inputs()]
    expected = of_keras(model, x)
    for mine, other in zip(expected, session.run(None, dict(zip(names, x, strict=True))), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert export(model, tmp_path / "q.onnx", format="qonnx").samples > 300
    wrapper = ModelWrapper(str(tmp_path / "q.onnx"))
    for row in range(3):
        given = {name: one[row : row + 1] for name, one in zip(names, x, strict=True)}
        found = execute_onnx(wrapper, given)
        for mine, tensor in zip(expected, wrapper.graph.output, strict=True):
            np.testing.assert_array_equal(mine[row : row + 1], found[tensor.name])


def test_all_scales_are_powers_of_two_and_weights_are_quantised(models, tmp_path):
    from onnx import numpy_helper

    model, _ = models("residual")
    export(model, tmp_path / "q.onnx", format="qonnx")
    file = onnx.load(tmp_path / "q.onnx")
    constants = {one.name: numpy_helper.to_array(one) for one in file.graph.initializer}
    quants = {node.output[0]: node for node in file.graph.node if node.op_type == "Quant"}
    assert len(quants) >= 4 * 3
    for node in quants.values():
        assert (np.frexp(constants[node.input[1]])[0] == 0.5).all() and constants[node.input[3]].ndim == 0
    for node in file.graph.node:
        if node.op_type == "MatMul":
            assert node.input[1] in quants and quants[node.input[1]].input[0] in constants


def wide(model):
    """Give a model's quantisers of activations ranges that nothing leaves."""
    for place, layer in enumerate(one for one in model.layers if getattr(one, "enable_iq", False)):
        if place:  # what the network reads stays as it was
            inner = layer.iq.quantizer
            inner._i.assign(inner._i + 7.0)
            inner._k.assign(np.ones(inner._k.shape))
    return model


def test_what_interval_arithmetic_proves_needs_no_wrap_around(tmp_path):
    model, data = finalised("mlp", HGQ)
    message = (
        r"layer 'dense\w*' wraps values around in KIF\(.*\), and they may lie in \[.*\], .*saturate; give it more "
        "integer bits, export with --overflow wrap"
    )
    with pytest.raises(UnsupportedError, match=message):
        export(model, tmp_path / "m.onnx", format="qonnx", overflow="refuse")
    assert not (tmp_path / "m.onnx").exists()
    wide(model)
    for form in ("qonnx", "onnx-qdq"):
        made = export(model, tmp_path / "m.onnx", format=form, overflow="refuse")
        assert made.wraps == made.unproven == () and not nodes(tmp_path / "m.onnx", "Mod")
        [note] = [one.value for one in onnx.load(tmp_path / "m.onnx").metadata_props if one.key == "weft.equality"]
        assert note == "equals its Keras model on every input within the format of the input quantisers"
    first = next(layer.name for layer in model.layers if hasattr(layer, "iq"))
    assert export(model, tmp_path / "m.onnx", format="qonnx", x=data[0]).wraps == (first,)  # its inputs may be anything


def test_saturating_files_hold_for_the_given_rows_or_do_not_appear(models, tmp_path):
    model, data = models("mlp")
    with pytest.raises(ConfigError, match="--overflow saturate holds for the inputs that were tried"):
        export(model, tmp_path / "m.onnx", format="qonnx", overflow="saturate")
    made = export(model, tmp_path / "m.onnx", format="onnx-qdq", overflow="saturate", x=data[0])
    assert made.samples == len(data[0]) and made.unproven and not made.wraps
    before = (tmp_path / "m.onnx").read_bytes()
    message = (
        r"the onnx-qdq file of 'mlp' differs from the Keras model in \d+ of 384 values of output 0, first in row \d+ "
        r"at \[\d\]: .* use fewer bits"
    )
    with pytest.raises(VerificationError, match=message) as error:
        export(model, tmp_path / "m.onnx", format="onnx-qdq", overflow="saturate", x=data[0] * 40)
    assert error.value.exit_code == 4
    assert (tmp_path / "m.onnx").read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["m.onnx"]


def small(layer, shape=(4,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs), name="small")


def by(**more):
    return QuantizerConfig("kif", "datalane", k0=1, i0=2, f0=3, trainable=False, **more)


REFUSED = {
    "softmax": (lambda: small(hgq.QSoftmax()), r"\(QSoftmax\) has no exact form in ONNX; cut the softmax"),
    "recurrence": (
        lambda: small(hgq.QSimpleRNN(2), (3, 2)),
        r"\(QSimpleRNN\) has no exact form in ONNX; its state is quantised in every step",
    ),
    "average": (
        lambda: small(hgq.QGlobalAveragePooling1D(iq_conf=by()), (3, 2)),
        "it averages over 3 values, which float32 rounds; take a power of two",
    ),
    "average at the border": (
        lambda: small(hgq.QAveragePooling1D(2, padding="same", iq_conf=by()), (3, 2)),
        "at the border it averages over fewer values; use padding='valid'",
    ),
    "scaled quantiser": (
        lambda: small(Quantizer(by(scaler=3.0), name="odd")),
        r"layer 'odd' has a quantiser 'odd' that is not one of plain fixed point",
    ),
    "wrap of sign and magnitude": (
        lambda: small(Quantizer(by(overflow_mode="WRAP_SM"), name="odd")),
        "layer 'odd' rounds by RND and overflows by WRAP_SM, which no ONNX quantiser represents; use one of TRN",
    ),
    "odd rounding that wraps": (
        lambda: small(Quantizer(by(round_mode="RND_ZERO"), name="odd")),
        r"layer 'odd' rounds KIF\(1, 2, 3\) by RND_ZERO, for which ONNX has no operation; use TRN, RND",
    ),
    "function": (
        lambda: small(lambda x: keras.layers.Activation("tanh", name="odd")(Quantizer(by())(x))),
        r"layer 'odd' \(Activation\) has no exact form in ONNX; its function is tanh; use relu",
    ),
    "table without quantiser": (
        lambda: small(hgq.QUnaryFunctionLUT("tanh", iq_conf=by(), enable_oq=False, name="odd")),
        r"layer 'odd' \(QUnaryFunctionLUT\) .* give its table a quantiser",
    ),
    "scale": (
        lambda: small(lambda x: keras.layers.Rescaling(0.3, name="odd")(Quantizer(by())(x))),
        "it multiplies by 0.3, which float32 rounds; take a power of two",
    ),
    "other layer": (
        lambda: small(lambda x: keras.layers.UnitNormalization(name="odd")(Quantizer(by())(x))),
        r"layer 'odd' \(UnitNormalization\) has no exact form in ONNX; replace it by layers that docs/onnx.md lists",
    ),
    "any size": (
        lambda: small(lambda x: Quantizer(by(heterogeneous_axis=(), homogeneous_axis=None))(x), (None, 3)),
        r"has an axis of any size, \(None, 3\); build the model for fixed ones",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_has_no_exact_form_is_named_with_the_remedy(what, tmp_path):
    model, message = REFUSED[what]
    with pytest.raises(UnsupportedError, match=message):
        export(model(), tmp_path / "m.onnx", format="qonnx")
    assert not list(tmp_path.iterdir())


def test_wide_values_are_for_qonnx(tmp_path):
    config = QuantizerConfig("kif", "datalane", k0=1, i0=4, f0=14, trainable=False)
    model = small(hgq.QDense(2, iq_conf=config, name="wide"))
    message = r"layer 'wide' has values of 19 bits, KIF\(1, 4, 14\), and .* at most 16; use .* with --format qonnx"
    with pytest.raises(UnsupportedError, match=message):
        export(model, tmp_path / "m.onnx", format="onnx-qdq")


def test_words_and_rows_that_do_not_fit_are_refused(models, tmp_path, monkeypatch):
    model, _ = models("mlp")
    with pytest.raises(ConfigError, match=re.escape("--format takes qonnx, onnx-qdq; got 'onnx'")):
        export(model, tmp_path / "m.onnx", format="onnx")
    with pytest.raises(ConfigError, match=re.escape("--overflow takes wrap, refuse, saturate; got 'clip'")):
        export(model, tmp_path / "m.onnx", format="qonnx", overflow="clip")
    with pytest.raises(ValueError, match=r"the check: the rows have shape \(5, 3\)"):
        export(model, tmp_path / "m.onnx", format="qonnx", x=rows((3,), 5))
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "qonnx" else find(name, *rest))
    with pytest.raises(
        ToolNotFoundError, match=r"ONNX files need 'qonnx', which is not installed; install weft\[onnx\]"
    ):
        export(model, tmp_path / "m.onnx", format="qonnx")
