"""What came through the door goes all the way: compress, finalise, adder graph, Verilog, and back to torch, exactly."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

import weft
from tests.firmware.models import PART
from tests.pytorch.conftest import arrays
from tests.pytorch.zoo import ZOO
from weft.adder_graph import AdderGraph
from weft.config import HlsConfig
from weft.errors import UnsupportedError
from weft.firmware import Simulator, emit, verify
from weft.firmware.hls import HlsSimulation
from weft.firmware.hls import emit as emit_hls

QUICK = [
    "mlp with residuals", "cnn 1d", "cnn 2d", "depthwise separable", "attention by hand", "transformer encoder layer",
    "gru tagger", "autoencoder", "two inputs, two outputs", "layer norm",
]  # fmt: skip
"""Those that the quick tests take the whole way, with the deep sets of the page; the others are slow tests."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning"),  # of its own ModuleList
]


def some(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def outputs_of(module, rows):
    with torch.no_grad():
        found = module(*(one.float() for one in rows))
    return [one.numpy() for one in ([found] if isinstance(found, torch.Tensor) else found)]


def keras_outputs(model, rows):
    found = model.predict(arrays(rows), batch_size=512, verbose=0)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", some(ZOO))
def test_the_frozen_module_computes_the_same_bit_for_bit(final, name):
    one = final(name)
    module = weft.to_torch(one.model)
    rows = one.case.rows(512, 9)
    rows = rows if one.case.numbers else tuple(2 * row for row in rows)  # beyond the ranges, too, where values wrap
    found = outputs_of(module, rows)
    for mine, theirs in zip(found, keras_outputs(one.model, rows), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(found[0])) > 1
    check_forms(module, rows, found)


def check_forms(module, rows, expected):
    """The module's state is complete, and it can be scripted, traced and exported."""
    rows = tuple(row.float() for row in rows)
    assert not list(module.parameters()) and module.state_dict()
    blank = copy.deepcopy(module)
    for value in blank.state_dict().values():
        value.zero_()
    blank.load_state_dict(module.state_dict(), strict=True)
    forms = [blank, torch.jit.script(module), torch.jit.trace(module, rows)]
    for form in [*forms, torch.export.export(module, rows).module()]:
        for mine, theirs in zip(outputs_of(form, rows), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", some(ZOO))
def test_hardware_computes_the_same_bit_for_bit(final, tmp_path, name):
    one = final(name)
    if one.case.graph is not None:
        with pytest.raises(UnsupportedError, match=one.case.graph):
            AdderGraph.from_model(one.model)
        return
    graph = AdderGraph.from_model(one.model)
    simulator = Simulator(emit(graph, tmp_path / "project", PART, 5.0))
    result = verify(one.model, graph, simulator, one.x, seek=False)
    assert result.status == "exact" and result.levels == ("keras", "adder_graph", "rtl"), result.sentence


@pytest.mark.parametrize(
    "name",
    ["mlp with batch norm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mlp with residuals", "cnn 1d"))],
)
def test_the_c_simulation_of_hls4ml_computes_the_same_bit_for_bit(final, tmp_path, name):
    one = final(name)
    project = emit_hls(one.model, tmp_path / "project", HlsConfig(), PART, 5.0)
    result = verify(
        one.model, AdderGraph.from_model(one.model), None, one.x, further=[HlsSimulation(project)], seek=False
    )
    assert result.status == "exact" and result.levels == ("keras", "adder_graph", "hls_csim"), result.sentence


def test_what_hls4ml_would_get_wrong_is_refused_by_name(final, tmp_path):
    said = r"'sum(_\d+)?' is an operation on tensors \(Sum\), and hls4ml sees layers"
    with pytest.raises(UnsupportedError, match=said):
        emit_hls(final("deep sets").model, tmp_path / "project", HlsConfig(), PART, 5.0)


@pytest.mark.slow
def test_a_module_is_compressed_and_trained_by_the_engine():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(256, 4)
    y = (x[:, 0] + x[:, 1] > 0).long()
    recipe = {"recipe": "hgq", "pretrain_epochs": 0, "epochs": 3, "finetune_epochs": 0, "learning_rate": 0.02}
    model = weft.compress(module, recipe, example_input=x[:1])
    history = weft.fit(model, (x.numpy(), y.numpy()))
    assert history.last["loss"] < history.epochs[0]["loss"]
    final = weft.finalize(model, x.numpy())
    frozen = weft.to_torch(final)
    found = outputs_of(frozen, (x,))[0]
    np.testing.assert_array_equal(found, final.predict(x.numpy(), batch_size=256, verbose=0))
    assert float((torch.from_numpy(found).argmax(1) == y).float().mean()) > 0.6
    kernel = frozen.state_dict()[next(key for key in frozen.state_dict() if re.match(r"layer_0\.\S*kernel", key))]
    np.testing.assert_array_equal(kernel.numpy(), np.asarray(final.get_layer("layer_0").qkernel, np.float64))


@pytest.mark.parametrize("one, other, axes", [((6,), (6,), 1), ((3, 4), (5, 4), 2), ((3, 4), (4, 2), (2, 1))])
def test_an_inner_product_keeps_its_shape(one, other, axes):
    import keras

    inputs = [keras.Input(one), keras.Input(other)]
    product = keras.layers.Dot(axes)(inputs)
    model = weft.compress(keras.Model(inputs, keras.layers.Dense(2)(product)), {"recipe": "fixed"})
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(64, *shape)).astype(np.float32) for shape in (one, other)]
    final = weft.finalize(model, rows)
    module, tensors = weft.to_torch(final), [torch.from_numpy(row) for row in rows]
    found = outputs_of(module, tensors)
    np.testing.assert_array_equal(found[0], final.predict(rows, verbose=0))
    check_forms(module, tensors, found)


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("kind", ["QAdd", "QMultiply", "QDot"])
def test_the_output_of_a_join_is_quantised(kind, reads):
    import hgq.layers as hgq
    import keras

    inputs = [keras.Input((6,)), keras.Input((6,))]
    more = {"axes": 1} if kind == "QDot" else {}
    inside = {"iq_confs": [by(), by()], "enable_iq": reads, "oq_conf": by(), "enable_oq": True}
    joined = getattr(hgq, kind)(**inside, **more)(inputs)
    model = keras.Model(inputs, joined)
    model.trainable = False
    rows = [np.random.default_rng(i).integers(-16, 16, (64, 6)) / 8 for i in range(2)]
    module, tensors = weft.to_torch(model), [torch.from_numpy(row).float() for row in rows]
    found = outputs_of(module, tensors)
    np.testing.assert_array_equal(found[0], model.predict(rows, verbose=0))
    check_forms(module, tensors, found)


def test_only_finalised_models_are_frozen():
    model = weft.compress(nn.Linear(3, 2), "hgq", example_input=torch.zeros(2, 3))
    with pytest.raises(
        UnsupportedError, match=r"still has trainable variables, .* use weft.finalize\(model, x\) first"
    ):
        weft.to_torch(model)


def test_layers_without_a_form_in_torch_are_all_named():
    import keras

    inputs = keras.Input((4, 4))
    x = keras.layers.UnitNormalization(name="unit")(inputs)
    model = keras.Model(inputs, keras.layers.GroupNormalization(2, name="group")(x))
    model.trainable = False
    with pytest.raises(UnsupportedError) as caught:
        weft.to_torch(model)
    assert "cannot make a torch module of 'functional" in str(caught.value)
    assert "'unit' (UnitNormalization): it has no exact form" in str(caught.value) and "'group'" in str(caught.value)


def by(**more):
    from hgq.config import QuantizerConfig

    return QuantizerConfig("kif", "datalane", k0=1, i0=2, f0=3, trainable=False, **more)


PLAIN = "its values have no fixed-point formats; use the layer of HGQ2 that weft.compress makes"
REFUSED = {
    "table": ((4,), lambda k, q: q.QUnaryFunctionLUT("tanh", enable_iq=False), "it is a table whose input is not quan"),
    "plain dense": ((4,), lambda k, q: k.layers.Dense(2), PLAIN),
    "plain softmax": ((4,), lambda k, q: k.layers.Softmax(), PLAIN),
    "pure einsum": ((4,), lambda k, q: lambda x: k.ops.einsum("ni,ni->n", x, x), PLAIN),
    "split": ((4,), lambda k, q: lambda x: k.ops.split(x, 2, axis=1)[0], "it gives out several tensors; slice"),
    "dense": ((4,), lambda k, q: q.QDense(3, activation="tanh", iq_conf=by()), "it ends with tanh; put that in"),
    "causal": ((5, 2), lambda k, q: q.QConv1D(3, 2, padding="causal", iq_conf=by()),
               "its padding is causal, its layout channels_last; use channels_last, and valid or same"),
    "channels": ((2, 5), lambda k, q: k.layers.MaxPooling1D(2, data_format="channels_first"),
                 "it pools channels_first; use channels_last"),
    "one": ((4,), lambda k, q: lambda x: k.layers.Add()([x]), "it joins a single tensor; leave it out"),
    "softmax": ((4,), lambda k, q: q.QSoftmax(stable=False), "it is a softmax without the largest value taken away"),
    "mask": ((3, 4), lambda k, q: lambda x: q.QMultiHeadAttention(2, 2)(x, x, use_causal_mask=True),
             "its mask is a tensor, or it gives out its scores; give it a constant mask"),
    "state": ((3, 4), lambda k, q: lambda x: q.QGRU(2, return_state=True)(x)[0], "it keeps or gives out its state"),
    "reset": ((3, 4), lambda k, q: q.QGRU(2, reset_after=False), "it resets before the product; build it with reset"),
    "float state": ((3, 4), lambda k, q: q.QSimpleRNN(2, enable_sq=False), "its state is not quantised; compress the"),
    "elu": ((3, 4), lambda k, q: q.QSimpleRNN(2, activation="elu", enable_sq=True),
            "its function is elu; use tanh, sigmoid, hard_tanh, relu or linear"),
    "rounding": ((3, 4), lambda k, q: q.QGRU(2, activation="tanh", paq_conf=by(round_mode="RND_ZERO")),
                 "its table rounds by RND_ZERO; use RND, RND_CONV or TRN"),
    "threshold": ((4,), lambda k, q: k.layers.ReLU(threshold=0.5), "it has a threshold; use ReLU without one"),
    "function": ((4,), lambda k, q: k.layers.Activation("softplus"), "its function softplus is no table; compress the"),
    "large": ((4097, 4096), lambda k, q: k.layers.Flatten(), "it moves 16781312 values, and 16 million is the most"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_layers_that_are_set_in_a_way_without_a_form_in_torch(what):
    import hgq.layers
    import keras

    shape, layer, message = REFUSED[what]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(keras, hgq.layers)(inputs), name="m")
    model.trainable = False
    with pytest.raises(UnsupportedError, match=message):
        weft.to_torch(model)


def test_a_tensor_may_be_joined_with_itself():
    import keras

    x = keras.Input((4,))
    module = weft.to_torch(keras.Model(x, [x + x, x * x, keras.layers.Maximum()([x, x])]))
    rows = torch.randn(5, 4)
    for mine, theirs in zip(outputs_of(module, (rows,)), (2 * rows, rows * rows, rows), strict=True):
        np.testing.assert_array_equal(mine, theirs.numpy())
