"""The wrapper under every type of layer: stages, reading, saving, hardening, costs, and what methods see of batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import pytest
from hgq.config import QuantizerConfig
from hgq.layers import (
    QGRU,
    QBatchNormDense,
    QConv1D,
    QConv2D,
    QConv3D,
    QDense,
    QEinsumDense,
    QEinsumDenseBatchnorm,
)

from weft.errors import ConfigError, ShapeError, UnsupportedError
from weft.prune import Clock, Geometry, Method, Seen, Slot, methods
from weft.prune.activation import ActivationPruning
from weft.prune.autosparse import AutoSparse
from weft.prune.cs import Cs
from weft.prune.dst import Dst
from weft.prune.magnitude import Magnitude
from weft.quantize.attention import QMultiHeadAttention
from weft.quantize.depthwise import QDepthwiseConv2D
from weft.quantize.kernels import pruned_kernels
from weft.quantize.observe import observe
from weft.quantize.pruned import FINETUNE, PRETRAIN, TRAIN, Masked, MaskedConfig, Pruned, PrunedConfig
from weft.train.engine import use_compilation_cache

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """Keep what JAX compiles, operation by operation and shape by shape, where `WEFT_TEST_CACHE` says."""
    if keras.backend.backend() == "jax":
        use_compilation_cache()


class Spy(Method):
    """A method that keeps what it was shown last, and how often."""

    wants_batches: ClassVar[bool] = True
    method: Literal["spy"] = "spy"

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        sizes = {"square": geometry.shape, "active": (geometry.n_out,), "rows": (), "calls": ()}
        return {name: Slot(size) for name, size in sizes.items()}

    def observe(self, w: Any, state: Any, seen: Seen) -> dict[str, Any]:
        return {"square": seen.square, "active": seen.active, "rows": seen.rows, "calls": state["calls"] + 1}


def weight() -> QuantizerConfig:
    return QuantizerConfig("kbi", "weight")


def pruned(method: Method, axes: tuple[int, ...] = (-1,), n_taps: int = 0) -> dict[str, QuantizerConfig]:
    """Return the quantisers of a layer's kernel and bias."""
    conf = PrunedConfig(weight(), method, axes, n_taps)
    return {"kq_conf": conf, "bq_conf": MaskedConfig(QuantizerConfig("kbi", "bias"))}


def attention(method: Method) -> Callable[[Any], Any]:
    read, written = pruned(method, (-2, -1)), pruned(method)
    confs = {"qkvo_kq_conf": read["kq_conf"], "output_kq_conf": written["kq_conf"], "qkvo_bq_conf": read["bq_conf"]}
    layer = QMultiHeadAttention(2, 3, **confs)
    return lambda x: layer(x, x)


def recurrent(method: Method) -> QGRU:
    return QGRU(3, kq_conf=PrunedConfig(weight(), method), rkq_conf=PrunedConfig(weight(), method))


LAYERS: dict[str, tuple[tuple[int, ...], Callable[[Method], Callable[[Any], Any]]]] = {
    "dense": ((6,), lambda m: QDense(4, **pruned(m))),
    "dense of a sequence": ((4, 6), lambda m: QDense(4, **pruned(m))),
    "einsum": ((4, 6), lambda m: QEinsumDense("abc,cde->abde", (4, 2, 4), bias_axes="de", **pruned(m, (1, 2)))),
    "einsum ellipsis": ((4, 6), lambda m: QEinsumDense("...x,xy->...y", 4, bias_axes="y", **pruned(m))),
    "einsum per place": ((4, 6), lambda m: QEinsumDense("abc,bcd->adb", (2, 4), bias_axes="db", **pruned(m, (2, 0)))),
    "einsum batchnorm": ((6,), lambda m: QEinsumDenseBatchnorm("ab,bc->ac", (4,), bias_axes="c", **pruned(m))),
    "conv1d": ((4, 6), lambda m: QConv1D(4, 3, strides=2, padding="same", **pruned(m, n_taps=1))),
    "conv2d in groups": ((4, 3, 4), lambda m: QConv2D(6, (2, 3), groups=2, **pruned(m, n_taps=2))),
    "conv3d": ((3, 2, 2, 2), lambda m: QConv3D(4, (2, 1, 2), **pruned(m, n_taps=3))),
}
"""Input shapes (sizes recur, since every new one is compiled) and layers."""
MORE = {"attention": ((4, 6), attention), "gru": ((4, 6), recurrent)}
METHODS = [Magnitude(), AutoSparse(), Cs(), Dst(granularity="row")]

each = pytest.mark.parametrize(
    ("layer", "method"),
    [("dense", method) for method in METHODS]
    + list(zip(["einsum", "conv1d", "conv2d in groups", "attention", "gru"], METHODS * 2, strict=False)),
    ids=lambda value: getattr(value, "method", value),
)
"""Every method under a dense layer, and every kind of layer around some method."""


def build(layer: str, method: Method, seed: int = 0) -> tuple[keras.Model, np.ndarray]:
    """Return a model of one layer and inputs that its quantisers do not round."""
    shape, make = (LAYERS | MORE)[layer]
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make(method)(inputs))
    rng = np.random.default_rng(seed)
    for kernel in pruned_kernels(model):
        kernel.variable.assign(rng.normal(0, 0.5, kernel.variable.shape))
    for variable in model.trainable_variables:
        if variable.name == "bias":
            variable.assign(rng.normal(0, 0.5, variable.shape))
    return model, (rng.integers(-8, 9, (5, *shape)) / 4).astype(np.float32)


def wrappers(model: keras.Model) -> list[Pruned]:
    return [kernel.pruned for kernel in pruned_kernels(model)]


def set_stage(model: keras.Model, stage: int) -> None:
    for wrapper in wrappers(model):
        wrapper.stage.assign(stage)
        wrapper.times["epochs"].assign(10)


def shake(model: keras.Model, seed: int = 3) -> None:
    """Give the methods' variables values as training might leave them."""
    rng = np.random.default_rng(seed)
    for wrapper in wrappers(model):
        wrapper.times["epoch"].assign(9)
        for name, slot in wrapper.slots.items():
            low, high = (-1.5, 0.0) if wrapper.method.method == "autosparse" else (0.1, 0.4)
            value = rng.uniform(low, high, slot.shape) if name == "threshold" else np.zeros(slot.shape)
            value = rng.choice([-0.5, 0.5], slot.shape) if name == "s" else value
            slot.assign(rng.integers(0, 2, slot.shape) if name == "mask" else value)


def number(x: Any) -> np.ndarray:
    if keras.backend.backend() == "torch" and hasattr(x, "detach"):
        x = x.detach()
    return np.array(keras.ops.convert_to_numpy(x))


def variables(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        f"{i} {variable.path}": number(variable)
        for i, variable in enumerate(model.variables)
        if variable.name != "seed_generator_state"  # Keras does not save it
    }


def plain(layer: str) -> keras.Model:
    """Return the same model with nothing around its quantisers."""
    model, _ = build(layer, Magnitude())
    config = model.get_config()
    replaced = _without_wrappers(config)
    return keras.Model.from_config(replaced)


def _without_wrappers(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") in ("PrunedConfig", "MaskedConfig"):
            return _without_wrappers(config["config"]["quantizer"])
        return {key: _without_wrappers(value) for key, value in config.items()}
    return [_without_wrappers(value) for value in config] if isinstance(config, list | tuple) else config


@pytest.mark.parametrize("layer", list(LAYERS))
def test_rows_of_the_matrix_are_the_outputs_of_the_layer(layer):
    model, x = build(layer, Magnitude())
    set_stage(model, FINETUNE)
    (wrapper,) = wrappers(model)
    assert wrapper.geometry.n_out * wrapper.geometry.n == np.prod(wrapper.kernel_shape)
    (kernel,) = pruned_kernels(model)
    back = wrapper.kernel(wrapper.matrix(keras.ops.convert_to_tensor(kernel.variable)))
    np.testing.assert_array_equal(number(back), number(kernel.variable))

    axes = [axis % len(wrapper.kernel_shape) for axis in wrapper.output_axes]
    before = number(model(x))
    for row in (0, wrapper.geometry.n_out - 1):
        rows = np.ones(wrapper.geometry.shape, np.float32)
        rows[row] = 0
        wrapper.mask.assign(wrapper.kernel(keras.ops.convert_to_tensor(rows)))
        after = number(model(x))
        at = np.unravel_index(row, [wrapper.kernel_shape[axis] for axis in axes])
        if layer == "einsum per place":  # its outputs have their own order, "adb", and so have its rows
            dead, alive = after[:, at[0], at[1]], np.delete(after.reshape(5, -1), row, axis=1)
            whole = np.delete(before.reshape(5, -1), row, axis=1)
        else:
            n = wrapper.geometry.n_out
            dead = after.reshape(-1, n)[:, row]
            alive, whole = (np.delete(y.reshape(-1, n), row, axis=1) for y in (after, before))
        np.testing.assert_allclose(dead, np.broadcast_to(dead.ravel()[0], dead.shape), atol=1e-6)
        np.testing.assert_allclose(alive, whole, atol=1e-6)


def test_columns_of_a_convolution_run_over_taps_then_channels():
    wrapper = pruned(Magnitude(), n_taps=2)["kq_conf"].get_quantizer()
    wrapper.build((3, 2, 3, 4))
    assert wrapper.geometry == Geometry(n_out=4, n_in=3, taps=(3, 2))
    kernel = np.arange(72, dtype=np.float32).reshape(3, 2, 3, 4)
    matrix = number(wrapper.matrix(keras.ops.convert_to_tensor(kernel)))
    for out, row, col, channel in np.ndindex(4, 3, 2, 3):
        assert matrix[out, (row * 2 + col) * 3 + channel] == kernel[row, col, channel, out]


@pytest.mark.parametrize(
    "layer",
    ["dense", "einsum batchnorm", *(pytest.param(x, marks=pytest.mark.slow) for x in ("conv2d in groups", *MORE))],
)
def test_before_pruning_the_layer_is_the_one_without_it(layer):
    model, x = build(layer, Dst())
    reference = plain(layer)
    theirs = {variable.path.split("/")[-1]: variable for variable in reference.trainable_variables}
    assert len(theirs) <= len(reference.trainable_variables)
    ours = [v for v in model.variables if "/pruned" not in v.path and "/masked" not in v.path]
    theirs = [v for v in reference.variables if "fixed_point_quantizer" not in v.path.rsplit("/", 2)[-2]]
    for mine, other in zip(_weights(ours), _weights(theirs), strict=True):
        other.assign(mine)
    np.testing.assert_array_equal(number(model(x)), number(reference(x)))


def _weights(found: list[Any]) -> list[Any]:
    names = {"kernel", "bias", "recurrent_kernel", "bn_gamma", "gamma", "moving_mean", "moving_variance"}
    return [variable for variable in found if variable.name in names]


@each
def test_reading_changes_nothing(layer, method):
    model, x = build(layer, method)
    for stage in (PRETRAIN, TRAIN, FINETUNE):
        set_stage(model, stage)
        before = variables(model)
        model(x)
        model(x, training=False)
        for kernel in pruned_kernels(model):
            kernel.quantized(), kernel.seen(), number(kernel.quantizer.bits_(kernel.variable.shape))
            repr(kernel.pruned)
        for name, value in variables(model).items():
            np.testing.assert_array_equal(value, before[name], err_msg=name)


@each
def test_only_a_training_step_of_the_train_stage_changes_masks(layer, method):
    model, x = build(layer, method)
    shake(model)
    for stage, changes in ((PRETRAIN, False), (FINETUNE, False), (TRAIN, True)):
        set_stage(model, stage)
        model(x, training=True)
        for wrapper in wrappers(model):
            assert (number(wrapper.mask) == 1).all() != changes


@each
def test_a_saved_model_is_the_same_model(layer, method, tmp_path):
    model, x = build(layer, method)
    shake(model)
    set_stage(model, TRAIN)
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for (_, value), (name, other) in zip(variables(model).items(), variables(loaded).items(), strict=True):
        np.testing.assert_array_equal(value, other, err_msg=name)
    np.testing.assert_array_equal(number(model(x)), number(loaded(x)))
    assert [w.method for w in wrappers(loaded)] == [w.method for w in wrappers(model)]


@each
def test_hardening_goes_on_with_what_was_trained(layer, method):
    model, x = build(layer, method)
    set_stage(model, TRAIN)
    shake(model)
    before = number(model(x))
    for kernel in pruned_kernels(model):
        kernel.harden(kernel.seen())
        assert int(number(kernel.pruned.stage)) == FINETUNE
        assert 0 < number(kernel.pruned.alive).mean() < 1
    np.testing.assert_allclose(number(model(x)), before, atol=1e-6)


def test_a_step_moves_kernel_and_method():
    model, x = build("dense", Cs())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    set_stage(model, TRAIN)
    shake(model)
    wrappers(model)[0].times["epoch"].assign(0)
    before = variables(model)
    model.fit(x, np.ones((5, 4), np.float32), verbose=0)
    moved = {name for name, value in variables(model).items() if not np.array_equal(value, before[name])}
    (wrapper,) = wrappers(model)
    trained = [variable.path for variable in wrapper.slots.values() if variable.trainable]
    for path in [*trained, model.layers[1].kernel.path]:
        assert any(name.endswith(path) for name in moved), path


def test_a_pruned_weight_costs_no_bits():
    model, _ = build("dense", Magnitude())
    set_stage(model, FINETUNE)
    layer = model.layers[1]
    mask = (np.random.default_rng(1).random((6, 4)) < 0.5) * np.float32(2)  # factors count as 1
    layer.kq.quantizer.mask.assign(mask)
    inner = number(layer.kq.quantizer.inside.bits)
    for read, inside in ((layer.kq.bits_, inner), (layer.kq.fbits_, number(layer.kq.quantizer.inside.fbits))):
        np.testing.assert_array_equal(number(read((6, 4))), np.broadcast_to(inside, (6, 4)) * (mask > 0))


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_the_ebops_in_the_loss_are_those_of_the_weights_that_are_left(kept):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, QDense(4, beta0=0.25, **pruned(Magnitude()))(inputs))
    layer = model.layers[1]
    set_stage(model, FINETUNE)
    mask = (np.random.default_rng(1).random((6, 4)) < kept).astype(np.float32)
    layer.kq.quantizer.mask.assign(mask)
    x = np.ones((2, 6), np.float32)
    model(x, training=True)
    read, weights = number(layer.iq.bits_((1, 6)))[0], number(layer.kq.quantizer.inside.bits)
    products = sum(read[i] * weights[i, o] * mask[i, o] for i, o in np.ndindex(6, 4))
    expected = products + number(layer.bq.bits_((4,))).sum()
    assert int(number(layer.ebops)) == int(expected)
    assert sum(float(number(loss)) for loss in model.losses) == pytest.approx(0.25 * expected, rel=1e-4)


@pytest.mark.parametrize("stateless", [False, True])
def test_a_penalty_counts_once_even_where_a_layer_is_shared(stateless):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    layer = QDense(4, beta0=0.0, **pruned(Dst(alpha=1.0, granularity="row")))
    model = keras.Model(inputs, layer(layer(inputs)))
    x = np.ones((2, 4), np.float32)
    for stage, expected in ((PRETRAIN, 0.0), (TRAIN, 4.0), (FINETUNE, 0.0), (TRAIN, 4.0)):
        set_stage(model, stage)
        if stateless:
            groups = (model.trainable_variables, model.non_trainable_variables)
            values = [[variable.value for variable in group] for group in groups]
            losses = model.stateless_call(*values, x, training=True, return_losses=True)[2]
        else:
            model(x, training=True)
            losses = model.losses
        assert sum(float(number(loss)) for loss in losses) == pytest.approx(expected, abs=1e-4)


def test_the_mask_may_come_after_the_quantizer():
    conf = PrunedConfig(weight(), Dst(granularity="tensor"), prune_first=False)
    after = QDense(4, kq_conf=conf)
    after.build((None, 6))
    wrapper = after.kq.quantizer
    values = np.linspace(-1, 1, 24, dtype=np.float32)
    values[:2] = 0.497, 0.503  # both round to the threshold
    after.kernel.assign(values.reshape(6, 4))
    wrapper.stage.assign(TRAIN)
    wrapper.slots["threshold"].assign([[0.5]])
    rounded = number(wrapper.inside.call(keras.ops.convert_to_tensor(after.kernel)))
    used = rounded * (np.abs(rounded) > 0.5)
    np.testing.assert_array_equal(number(after.qkernel), used)
    assert (np.abs(rounded) == 0.5).any()  # there the mask of the rounded kernel differs from that of the kernel
    (kernel,) = pruned_kernels(after)
    kernel.harden(kernel.seen())
    np.testing.assert_array_equal(number(after.qkernel), used)


@pytest.mark.parametrize("name", sorted(methods()))
def test_the_configuration_of_every_method_survives_a_round_trip(name):
    method = methods()[name]()
    conf = PrunedConfig(weight(), method, (1, 2), 1, prune_first=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(conf))
    assert isinstance(again, PrunedConfig)
    assert again.method == method and again.output_axes == (1, 2) and again.n_taps == 1 and again.prune_first is True
    first, second = (json.dumps(keras.saving.serialize_keras_object(c)) for c in (conf, again))
    assert first == second  # as text, since a tuple comes back as a list


def test_the_wrapper_passes_on_what_a_layer_asks_of_a_quantizer():
    model, _ = build("dense", Dst())
    wrapper = model.layers[1].kq.quantizer
    for name in ("k", "i", "f", "min", "max", "epsilon"):
        np.testing.assert_array_equal(number(getattr(wrapper, name)), number(getattr(wrapper.inside, name)))
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = wrapper.no_such_thing
    assert repr(wrapper).startswith("Pruned(dst, FixedPointQuantizerKBI")


# What methods are shown of a batch


def squares(layer: str, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the sum of squares that each weight of a kernel of this shape meets, by looping over its positions."""
    result = np.zeros(shape)
    for at in np.ndindex(*shape):
        if layer == "einsum per place":
            result[at] = (x[:, at[0], at[1]] ** 2).sum()
        elif layer == "conv2d in groups":
            result[at] = (x[..., at[-2] + 2 * (at[-1] // 3)] ** 2).sum()
        elif layer.startswith("conv"):
            result[at] = (x[..., at[-2]] ** 2).sum()
        elif layer == "depthwise":
            result[at] = (x[..., at[2]] ** 2).sum()
        else:
            result[at] = (x[..., at[0]] ** 2).sum()
    return result


@pytest.mark.parametrize("layer", list(LAYERS))
def test_a_method_sees_inputs_and_outputs_of_a_training_batch(layer):
    model, x = build(layer, Spy())
    observe(model)
    observe(model)  # once more changes nothing
    set_stage(model, TRAIN)
    (wrapper,) = wrappers(model)
    y = number(model(x, training=True))
    slots = {name: number(slot) for name, slot in wrapper.slots.items()}
    expected = number(wrapper.matrix(keras.ops.convert_to_tensor(squares(layer, x, wrapper.kernel_shape))))
    np.testing.assert_allclose(slots["square"], expected, rtol=1e-6)
    n_outputs = wrapper.geometry.n_out
    places = y.reshape(-1, n_outputs) if layer != "einsum per place" else y.reshape(5, -1)
    np.testing.assert_allclose(slots["active"], (places > 0).mean(axis=0), rtol=1e-6)
    n_vectors = x.size / x.shape[-1] if layer != "einsum per place" else 5
    assert slots["rows"] == n_vectors
    assert slots["calls"] == 1
    model(x, training=False)
    model(x)
    assert number(wrapper.slots["calls"]) == 1
    set_stage(model, FINETUNE)
    model(x, training=True)
    assert number(wrapper.slots["calls"]) == 1


def test_a_depthwise_convolution_shows_each_channel_to_its_own_outputs():
    inputs = keras.Input((4, 3, 4))
    model = keras.Model(inputs, QDepthwiseConv2D(2, depth_multiplier=2, **pruned(Spy(), n_taps=2))(inputs))
    observe(model)
    set_stage(model, TRAIN)
    x = (np.random.default_rng(0).integers(-8, 9, (5, 4, 3, 4)) / 4).astype(np.float32)
    y = number(model(x, training=True))
    (wrapper,) = wrappers(model)
    assert wrapper.geometry == Geometry(n_out=8, n_in=1, taps=(2, 2))
    for c, m in np.ndindex(4, 2):
        np.testing.assert_allclose(number(wrapper.slots["square"])[2 * c + m], (x[..., c] ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(number(wrapper.slots["active"]), (y > 0).mean(axis=(0, 1, 2)), rtol=1e-6)


def test_the_layers_inside_attention_are_watched():
    model, x = build("attention", Spy())
    observe(model)
    set_stage(model, TRAIN)
    model(x, training=True)
    found = {kernel.layer.name: kernel.pruned for kernel in pruned_kernels(model)}
    assert set(found) == {"query", "key", "value", "attention_output"}
    assert found["attention_output"].geometry == Geometry(n_out=6, n_in=6)
    for name in ("query", "key", "value"):
        assert found[name].geometry == Geometry(n_out=6, n_in=6)
        np.testing.assert_allclose(number(found[name].slots["square"])[0], (x**2).sum(axis=(0, 1)), rtol=1e-6)
        assert number(found[name].slots["calls"]) == 1


def test_methods_see_inputs_as_the_kernel_meets_them():
    model, x = build("dense", Spy())
    observe(model)
    set_stage(model, TRAIN)
    x = np.full_like(x, 0.001)  # rounds to 0
    x[:, 0] = 1.0
    model(x, training=True)
    np.testing.assert_array_equal(number(wrappers(model)[0].slots["square"])[0], [5, 0, 0, 0, 0, 0])


def trained(seed: int) -> keras.Model:
    """Fit a layer whose first neuron is never positive."""
    model, x = build("dense", ActivationPruning(threshold=0.2, t_start=1, t_delta=2), seed)
    model.layers[1].bias.assign([-7.5, 7.5, 7.5, 7.5])
    observe(model)
    set_stage(model, TRAIN)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    model.fit(np.tile(x, (2, 1)), np.zeros((10, 4), np.float32), batch_size=2, shuffle=False, verbose=0)
    return model


def test_activation_pruning_works_in_the_compiled_step_and_is_reproducible():
    model, again = trained(0), trained(0)
    (wrapper,) = wrappers(model)
    np.testing.assert_array_equal(number(wrapper.slots["mask"]).ravel(), [0, 1, 1, 1])
    assert number(wrapper.slots["waited"]) == 1 and number(wrapper.slots["counted"]) == 0
    for (name, value), other in zip(variables(model).items(), variables(again).values(), strict=True):
        np.testing.assert_array_equal(value, other, err_msg=name)


# Biases of dead outputs


@pytest.mark.parametrize("layer", ["dense", "dense of a sequence", "einsum", "conv1d", "conv2d in groups"])
def test_the_bias_of_a_dead_output_dies_with_it(layer, tmp_path):
    model, x = build(layer, ActivationPruning(threshold=0.2, t_start=0, t_delta=1))
    observe(model)
    biased = model.layers[1]
    shape = biased.bias.shape
    bias = np.full(shape, 7.5, np.float32)
    bias.ravel()[1] = -7.5
    biased.bias.assign(bias)
    biased.kernel.assign(number(biased.kernel) / 8)
    model(x, training=True)
    assert number(biased.bq.quantizer.alive).all()  # not before the train stage

    set_stage(model, TRAIN)
    model(x, training=True)
    biased.bias.assign(np.full(shape, 7.5, np.float32))
    dead = np.arange(bias.size) == 1
    for training in (False, True):
        y = number(model(x, training=training)).reshape(-1, bias.size)
        assert (y[:, dead] == 0).all() and (y[:, ~dead] > 0).all()
    np.testing.assert_array_equal(number(biased.bq.bits_(shape)).ravel() == 0, dead)

    for kernel in pruned_kernels(model):
        kernel.harden(kernel.seen())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for network in (model, loaded):
        np.testing.assert_array_equal(number(network(x)).reshape(-1, bias.size)[-1] == 0, dead)


def test_a_bias_follows_its_outputs_in_the_order_of_the_layer():
    model, x = build("einsum per place", ActivationPruning())
    observe(model)
    set_stage(model, TRAIN)
    (wrapper,) = wrappers(model)
    rows = np.random.default_rng(0).integers(0, 2, (8, 1))
    wrapper.slots["mask"].assign(rows)
    y = number(model(x, training=True))
    np.testing.assert_array_equal((y == 0).all(axis=0), rows.reshape(2, 4) == 0)


def test_hardening_takes_the_bias_along():
    model, x = build("dense", ActivationPruning())
    observe(model)
    set_stage(model, TRAIN)
    (kernel,) = pruned_kernels(model)
    kernel.pruned.slots["mask"].assign([[1], [0], [1], [0]])
    kernel.harden(kernel.seen())
    np.testing.assert_array_equal(number(model.layers[1].bq.quantizer.alive), [1, 0, 1, 0])
    assert (number(model(x))[:, [1, 3]] == 0).all()


# What is refused


def test_a_layer_that_folds_normalisation_into_its_inputs_cannot_show_its_batches():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, QBatchNormDense(4, name="folded", kq_conf=PrunedConfig(weight(), Spy()))(inputs))
    with pytest.raises(UnsupportedError, match=r"'folded', and a QBatchNormDense cannot show them; .*prune\.skip"):
        observe(model)


def test_nothing_is_installed_where_one_layer_is_refused():
    inputs = keras.Input((6,))
    conf = PrunedConfig(weight(), Spy())
    model = keras.Model(inputs, QBatchNormDense(3, kq_conf=conf)(QDense(4, name="first", kq_conf=conf)(inputs)))
    with pytest.raises(UnsupportedError):
        observe(model)
    assert not hasattr(model.get_layer("first").call, "watches")


def test_a_bias_that_would_outlive_its_neurons_is_refused():
    inputs = keras.Input((6,))
    layer = QDense(4, name="loose", kq_conf=PrunedConfig(weight(), ActivationPruning()))
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(UnsupportedError, match=r"method 'ap' removes whole outputs of 'loose', .*bq_conf=MaskedConfig"):
        observe(model)


def test_a_bias_that_several_outputs_share_is_refused():
    inputs = keras.Input((3, 6))
    conf = pruned(ActivationPruning(), (1, 2))
    layer = QEinsumDense("abc,cde->abde", (3, 2, 4), bias_axes="e", name="shared", **conf)
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(UnsupportedError, match=r"'shared', and its bias of shape \(4,\) does not belong to them"):
        observe(model)


def test_a_layer_without_a_bias_has_none_to_lose():
    inputs = keras.Input((6,))
    conf = PrunedConfig(weight(), ActivationPruning())
    model = keras.Model(inputs, QDense(4, use_bias=False, kq_conf=conf)(inputs))
    observe(model)
    assert wrappers(model)[0].follow is None


def test_a_kernel_that_a_method_cannot_prune_is_named():
    layer = QDense(1, name="output", **pruned(ActivationPruning()))
    message = (
        r"method 'ap' cannot prune the kernel of 'output' with shape \(6, 1\): it has one output only.*prune\.skip"
    )
    with pytest.raises(ShapeError, match=message):
        layer.build((None, 6))


@pytest.mark.parametrize("method", [AutoSparse(), Cs()], ids=lambda m: m.method)
def test_weights_that_change_after_the_quantizer_would_leave_its_grid(method):
    with pytest.raises(ConfigError, match=rf"'{method.method}' changes the weights.*set prune_first to true"):
        PrunedConfig(weight(), method, prune_first=False)


@pytest.mark.parametrize("option", [{"scaler": 2.0}, {"affine": (1.0, 0.5)}, {"qnoise_factor": 0.5}])
@pytest.mark.parametrize("make", [lambda q: PrunedConfig(q, Dst()), MaskedConfig], ids=["kernel", "bias"])
def test_a_quantizer_that_acts_outside_of_the_mask_is_refused(option, make):
    (name,) = option
    with pytest.raises(ConfigError, match=f"a quantiser with {name}=.* cannot be masked"):
        make(QuantizerConfig("kbi", "weight", **option))


def test_masks_start_whole():
    model, _ = build("dense", ActivationPruning())
    layer = model.layers[1]
    assert isinstance(layer.bq.quantizer, Masked)
    assert number(layer.bq.quantizer.alive).all() and number(layer.kq.quantizer.mask).all()
    assert repr(layer.bq.quantizer).startswith("Masked(FixedPointQuantizerKBI")


def test_the_clock_is_what_the_stages_set():
    model, _ = build("dense", Cs())
    (wrapper,) = wrappers(model)
    wrapper.times["epoch"].assign(3)
    clock = wrapper.clock()
    assert isinstance(clock, Clock) and float(number(clock.epoch)) == 3
