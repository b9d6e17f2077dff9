"""Every pruning method under every type of layer: what all of them promise, whatever they do.

A method is trained once, through all stages, on one network of all layers that it can prune (`tests.compression.zoo`);
each test then looks at one kernel, or at the whole. What a method cannot prune is refused with the layer, what was
found, and what to do.
"""

from __future__ import annotations

import json
import math
from functools import cache

import keras
import numpy as np
import pytest

from tests.compression.zoo import KERNELS, LAYERS, Trial, float_model, values
from weft.compression.stages import FINETUNE, PRETRAIN, TRAIN, Stages
from weft.config.numbers import FloatNumbers
from weft.errors import ShapeError, UnsupportedError
from weft.prune import Method, method_of, methods
from weft.quantize.convert import convert
from weft.quantize.kernels import pruned_kernels
from weft.quantize.pruned import Masked

pytestmark = pytest.mark.backends

OPTIONS: dict[str, dict[str, object]] = {
    "magnitude": {"fraction": 0.3},
    "ap": {"threshold": 0.5, "t_start": 1, "t_delta": 2},
    "autosparse": {"threshold_init": -1.0, "threshold_decay": 0.01},
    "cs": {"l1": 0.01, "final_temperature": 50.0, "mask_init": 0.1},
    "dst": {"alpha": 0.5},
    "mdmm": {"sparsity": 0.5, "epsilon": 0.5},
    "mdmm, rows": {"metric": "structured", "sparsity": 0.5, "epsilon": 0.9},
    "mdmm, patterns": {"metric": "paca", "patterns": 2, "sparsity": 0.5},
    "pdp": {"sparsity": 0.5, "epsilon": 0.5, "temperature": 1e-3},
    "pdp, N:M": {"n": 1, "m": 4, "temperature": 1e-2},
    "pdp, rows": {"granularity": "row", "sparsity": 0.5, "temperature": 1e-2},
    "wanda": {"sparsity": 0.5, "t_start": 1, "t_delta": 2},
    "wanda, N:M": {"n": 2, "m": 4, "t_delta": 2},
}
"""Each method with what makes it prune within a few steps; a plug-in runs with its defaults."""

RECURRENT = ("gru", "rnn")
DEPTHWISE = ("depthwise", "separable")
NO_WINDOW = ("dense", "shared", "einsum", "attention", "gru", "rnn")
ROWS = r"removes whole outputs of '{}.*', and its bias of shape .* does not belong to them.*; list the layer in prune"
GROUPS = r"'{}' .*its 1 inputs cannot be split into groups of m=4; set m to a divisor of 1, or list the layer in skip"
WINDOW = r"'{}' .*metric 'paca' needs a convolution with a window of more than one weight; list the layer in skip"
REFUSED: dict[str, tuple[tuple[str, ...], type[Exception], str]] = {
    "ap": (RECURRENT, UnsupportedError, ROWS),
    "wanda, N:M": (DEPTHWISE, ShapeError, GROUPS),
    "mdmm, rows": (RECURRENT, UnsupportedError, ROWS),
    "pdp, rows": (RECURRENT, UnsupportedError, ROWS),
    "pdp, N:M": (DEPTHWISE, ShapeError, GROUPS),
    "mdmm, patterns": ((*NO_WINDOW, "separable"), ShapeError, WINDOW),
}
"""What a method cannot prune, and with which words it says so."""

FEW = ("dense", "conv2d", "depthwise")
SHORT = {"mdmm, rows": FEW, "pdp, rows": (*FEW, "attention"), "wanda, N:M": ("dense", "conv1d", "einsum")}
"""Variants of methods that are here with all layers already are tried on these only."""

NAMES = sorted({*OPTIONS, *methods()})
PRUNED = {
    name: [layer for layer in SHORT.get(name, LAYERS) if layer not in REFUSED.get(name, ((),))[0]] for name in NAMES
}

each_method = pytest.mark.parametrize("name", NAMES)
each = pytest.mark.parametrize(("name", "layer"), [(name, layer) for name in NAMES for layer in PRUNED[name]])


def method(name: str) -> Method:
    kind = name.split(",")[0]
    return method_of(kind).model_validate({"method": kind, "skip": ["head"], **OPTIONS.get(name, {})})


@pytest.fixture(scope="module", autouse=True)
def _compiled_fast():
    """Let JAX compile quickly rather than well: each program runs a few times on a few rows."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    from weft.train.engine import use_compilation_cache

    use_compilation_cache()
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    trial.cache_clear()


@cache
def trial(name: str) -> Trial:
    """Return a method after all stages."""
    made = Trial(method(name), tuple(layer for layer in LAYERS if layer not in PRUNED[name]))
    made.run()
    made.end = values(made.model.variables)
    return made


def kernels(name: str, layer: str):
    found = trial(name)
    return [found.kernel(kernel) for kernel in KERNELS[layer]]


def number(x) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(x.detach() if hasattr(x, "detach") else x))


def state_of(found: Trial, state: list[np.ndarray], variable) -> np.ndarray:
    return next(value for one, value in zip(found.model.variables, state, strict=True) if one is variable)


def same(one: list[np.ndarray], two: list[np.ndarray], model: keras.Model) -> None:
    for variable, a, b in zip(model.variables, one, two, strict=True):
        if variable.name == "seed_generator_state":  # Keras does not save it
            continue
        np.testing.assert_array_equal(a, b, err_msg=variable.path)


def test_every_method_is_here():
    assert {name.split(",")[0] for name in NAMES} == set(methods())


@each_method
def test_the_same_seed_gives_the_same_model_and_the_same_training(name):
    found = trial(name)
    for variable, value in zip(found.build().variables, found.start, strict=True):
        if not any(variable.path.endswith(f"/{slot}") for slot in ("s", "threshold")):  # the zoo moves these at once
            np.testing.assert_array_equal(number(variable), value, err_msg=variable.path)
    found.put(found.start)
    found.run(0, found.STOP - 1)
    stages = found.stages()
    found.run(found.STOP - 1, found.STOP, stages)
    same(values(found.model.variables), found.middle, found.model)


@each_method
def test_a_checkpoint_in_the_train_stage_holds_everything(name, tmp_path):
    found = trial(name)
    found.put(found.middle)
    stages = found.stages()
    stages.remember(found.memory)
    stages.save(tmp_path / "checkpoint.npz", found.STOP)
    found.put([np.full_like(value, 3) for value in found.start])
    again = found.stages()
    start, _ = again.load(tmp_path / "checkpoint.npz")
    found.run(start, stages=again)
    same(values(found.model.variables), found.end, found.model)


def written(model: keras.Model) -> str:
    """Return a model's configuration as text, since a tuple comes back as a list, and keys in another order."""
    return json.dumps(keras.saving.serialize_keras_object(model)["config"], sort_keys=True)


@each_method
def test_a_saved_file_is_the_same_model(name, tmp_path):
    found = trial(name)
    found.put(found.soft)
    found.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    same(values(loaded.variables), found.soft, found.model)
    assert [k.pruned.method for k in pruned_kernels(loaded)] == [found.method] * len(found.kernels)
    assert written(loaded) == written(found.model)


@each_method
def test_reading_changes_nothing(name):
    found = trial(name)
    for state in (found.start, found.soft, found.hard):
        found.put(state)
        found.read()  # raises where a variable of the inference program differs
        for kernel in found.kernels:
            repr(kernel.pruned), kernel.pruned.alive
        same(values(found.model.variables), state, found.model)


@pytest.mark.parametrize("name", NAMES if keras.backend.backend() == "torch" else ["ap", "dst"])
def test_predict_and_evaluate_change_nothing(name):
    found = trial(name)
    found.model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = found.data(3)
    for state in (found.soft, found.hard):
        found.put(state)
        found.model.predict(x, verbose=0)
        found.model.evaluate(x, y, verbose=0)
        same(values(found.model.variables), state, found.model)


@each
def test_masks_are_whole_then_made_then_fixed(name, layer):
    found = trial(name)
    for kernel in kernels(name, layer):
        mask, stage = kernel.pruned.mask, kernel.pruned.stage
        assert (state_of(found, found.start, mask) == 1).all()
        hard = state_of(found, found.hard, mask)
        if name != "ap":  # which looks at activity alone: a layer may lose all of its outputs, or none
            assert 0 < np.count_nonzero(hard) < hard.size, "the method must prune a part, or its tests say nothing"
        np.testing.assert_array_equal(hard, state_of(found, found.end, mask))
        assert state_of(found, found.end, stage) == FINETUNE


def factor_of(found: Trial) -> float:
    """Return what stays on the weights that a mask keeps."""
    return 1.0 + math.exp(-found.method.mask_init) if found.method.method == "cs" else 1.0


@each
def test_hardening_rounds_the_mask_and_nothing_else(name, layer):
    found = trial(name)
    soft, hard = (found.reads[when].kernels for when in ("soft", "hard"))
    for kernel in kernels(name, layer):
        before, after = soft[kernel.name], hard[kernel.name]
        w = state_of(found, found.soft, kernel.variable)
        kind = found.method.method
        if kind in ("magnitude", "ap", "autosparse", "dst", "wanda", "zeros"):
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
        elif kind in ("pdp", "cs"):  # a soft mask in [0, factor], rounded to one of these two
            factor = factor_of(found)
            mask = np.divide(before, w, out=np.zeros_like(w), where=w != 0)
            clear = np.abs(mask / factor - 0.5) > 0.02
            np.testing.assert_allclose(after[clear], (w * factor * (mask >= factor / 2))[clear], rtol=1e-5, atol=1e-6)
        elif found.method.metric != "paca":  # what counts as 0 goes, the rest stays
            np.testing.assert_array_equal(before, w)
            pruned = kernel.pruned
            rounded = number(pruned.matrix(keras.ops.convert_to_tensor(w - after)))
            size = np.sqrt((rounded**2).mean(axis=1)) if found.method.structured else np.abs(rounded)
            scale = state_of(found, found.soft, pruned.slots["scale"])
            assert size.max() <= found.method.epsilon * scale * (1 + 1e-5)
            assert ((after == w) | (after == 0)).all()
        else:
            assert ((after == w) | (after == 0)).all()


@each_method
def test_the_loss_jumps_by_the_rounding_of_the_mask_and_nothing_else(name):
    found = trial(name)
    found.put(found.hard)
    for kernel in found.kernels:  # the fixed stage, with the mask as it was before it was rounded
        soft, w = found.reads["soft"].kernels[kernel.name], number(kernel.variable)
        kernel.pruned.mask.assign(np.divide(soft, w, out=np.zeros_like(w), where=w != 0))
        masked = getattr(getattr(kernel.layer, "bq", None), "quantizer", None)
        if isinstance(masked, Masked):  # a step of the optimizer lies between the last mask and the final one
            masked.alive.assign(state_of(found, found.soft, masked.alive))
    unrounded = found.read()
    np.testing.assert_allclose(unrounded.outputs, found.reads["soft"].outputs, rtol=1e-4, atol=1e-4)
    assert unrounded.loss == pytest.approx(found.reads["soft"].loss, rel=1e-4)
    if found.method.method in ("magnitude", "ap", "autosparse", "dst", "wanda", "zeros"):
        assert found.reads["hard"].loss == pytest.approx(found.reads["soft"].loss, rel=1e-5)


@each_method
def test_penalties_are_in_the_loss_once_and_only_in_the_train_stage(name):
    for step in trial(name).steps:
        assert step.terms == pytest.approx(step.penalties, rel=1e-5, abs=1e-6)
        if step.stage != TRAIN:
            assert step.terms == 0
    if method(name).method in ("autosparse", "cs", "dst", "mdmm"):
        assert all(step.terms != 0 for step in trial(name).steps if step.stage == TRAIN)


@each
def test_gradients_reach_what_they_should(name, layer):
    found = trial(name)
    for kernel in kernels(name, layer):
        slots = [slot for slot in kernel.pruned.slots.values() if slot.trainable]
        for step in found.steps:
            by_kernel = step.gradients[id(kernel.variable)]
            assert np.isfinite(by_kernel).all()
            for slot in slots:
                assert step.gradients[id(slot)].any() == (step.stage == TRAIN)
            if step.stage == PRETRAIN:
                assert (by_kernel != 0).mean() > 0.9
            if step.stage == TRAIN:
                assert by_kernel.any() or found.method.structured
            if step.stage == FINETUNE:
                gone = state_of(found, found.hard, kernel.pruned.mask) == 0
                assert not by_kernel[gone].any()
                assert by_kernel[~gone].any() or found.method.structured  # behind dead outputs nothing is learnt


@each
def test_a_finalised_kernel_is_what_the_layer_multiplied_with(name, layer):
    found = trial(name)
    found.put(found.end)
    outputs = final_outputs(name)
    expected = found.read()
    np.testing.assert_allclose(outputs, expected.outputs, rtol=0, atol=1e-5)
    for kernel in kernels(name, layer):
        mask = state_of(found, found.end, kernel.pruned.mask)
        np.testing.assert_array_equal(expected.kernels[kernel.name] == 0, mask == 0)


@cache
def final_outputs(name: str) -> np.ndarray:
    found = trial(name)
    found.put(found.end)
    return found.plain()


@pytest.mark.parametrize(
    ("name", "layer"), [(name, layer) for name in ("pdp, N:M", "wanda, N:M") for layer in PRUNED[name]]
)
def test_n_of_every_m_weights_are_left(name, layer):
    found = trial(name)
    for kernel in kernels(name, layer):
        pruned = kernel.pruned
        mask = state_of(found, found.end, pruned.mask)
        groups = number(pruned.matrix(keras.ops.convert_to_tensor(mask))).reshape(-1, 4)
        assert (np.count_nonzero(groups, axis=1) == found.method.n).all()


@each_method
def test_the_budget_is_met(name):
    found = trial(name)
    masks = {k.name: state_of(found, found.end, k.pruned.mask) for k in found.kernels}
    matrices = {k.name: number(k.pruned.matrix(keras.ops.convert_to_tensor(masks[k.name]))) for k in found.kernels}
    gone = sum((mask == 0).sum() for mask in masks.values())
    total = sum(mask.size for mask in masks.values())
    if name != "ap":
        assert all(mask.any() for mask in masks.values())  # whatever is learnt, no layer is emptied
    if name == "ap":
        assert 0.1 * total < gone < 0.9 * total
    elif name == "magnitude":
        for mask in masks.values():
            assert (mask == 0).sum() == round(0.3 * mask.size)  # one of the two rounds has ended in pruning
    elif name == "pdp":
        assert abs(gone - 0.5 * total) <= max(0.01 * total, 1)
    elif name == "wanda":
        for matrix in matrices.values():
            assert ((matrix == 0).sum(axis=1) == matrix.shape[1] // 2).all()
    elif name == "pdp, rows":
        rows_of = [(matrix == 0).all(axis=1) for matrix in matrices.values()]
        shares = [float(state_of(found, found.end, k.pruned.slots["share"])) for k in found.kernels]
        for dead, share in zip(rows_of, shares, strict=True):
            assert abs(dead.sum() - share * len(dead)) <= 0.5 + 1e-6
        sizes = [mask.size for mask in masks.values()]
        assert sum(np.multiply(shares, sizes)) == pytest.approx(0.5 * total, abs=1)


@pytest.mark.parametrize(
    ("name", "layer"), [(name, layer) for name in NAMES if method(name).structured for layer in PRUNED[name]]
)
def test_a_dead_output_takes_its_bias_along(name, layer):
    found = trial(name)
    for kernel in kernels(name, layer):
        if getattr(kernel.layer, "bq", None) is None:
            continue
        pruned = kernel.pruned
        matrix = number(pruned.matrix(keras.ops.convert_to_tensor(state_of(found, found.end, pruned.mask))))
        alive = state_of(found, found.end, kernel.layer.bq.quantizer.alive)
        assert (matrix.any(axis=1) == matrix.all(axis=1)).all()
        assert np.count_nonzero(alive) / alive.size == matrix.any(axis=1).mean()


@pytest.mark.parametrize(
    ("name", "layer"), [(name, layer) for name, (layers, *_) in REFUSED.items() for layer in layers]
)
def test_what_cannot_be_pruned_is_refused_before_training(name, layer):
    _, error, message = REFUSED[name]
    place = "separable" if layer == "separable" and name == "mdmm, patterns" else layer
    with pytest.raises(error, match=message.format(place)):
        Stages(convert(float_model([layer]), FloatNumbers(), method=method(name)), Trial.plan_of(method(name)))
