"""Finalised models: ranges as HGQ2 would trace them, plain HGQ2 on disk, equal after reloading without weft."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.compress.conftest import FLOAT
from tests.conftest import blobs
from weft.compress.finalize import finalize, restore, variables_of
from weft.compress.quantize.calibrate import calibrate
from weft.errors import DataError, ShapeError, UnsupportedError
from weft.space.architecture import FixedNumbers, HgqNumbers
from weft.space.model import build

HGQ = FLOAT.with_numbers(HgqNumbers(bits0=5))


@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=5), FixedNumbers()], ids=["hgq", "fixed"])
def test_calibration_equals_that_of_hgq2(numbers):
    from hgq.utils import trace_minmax

    x, _ = blobs(700)
    architecture = FLOAT.with_numbers(numbers)
    ours, theirs = build(architecture, 1), build(architecture, 1)
    calibrate(ours, x)
    trace_minmax(theirs, x, batch_size=700)
    for one, two in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(np.array(one.value), np.array(two.value), err_msg=one.path)


def test_calibration_covers_every_row_so_that_none_wraps():
    x, _ = blobs(9000)
    x[8999] *= 50.0  # in the last, padded chunk
    model = build(HGQ, 1)
    calibrate(model, x)
    quantizer = model.get_layer("block0_dense0").iq
    np.testing.assert_allclose(np.array(quantizer(x[8999:])), x[8999:], atol=0.26)


def test_calibration_without_rows_is_refused():
    with pytest.raises(DataError, match="calibration needs at least one row, and got none"):
        calibrate(build(HGQ, 1), np.zeros((0, 6), np.float32))


def test_a_float_model_has_nothing_to_freeze():
    with pytest.raises(UnsupportedError, match="a float model has no bits to freeze; compress it with recipe"):
        finalize(build(FLOAT), FLOAT, blobs(10)[0])


def test_a_missing_variable_is_named():
    values = variables_of(build(HGQ))
    values.pop("output/bias")
    with pytest.raises(ShapeError, match="no value for variable 'output/bias' of 6-8-3 relu, hgq"):
        restore(HGQ, values)


def test_a_saved_design_computes_the_same_where_weft_is_not_installed(tmp_path):
    x, _ = blobs(500)
    model = finalize(build(HGQ, 4), HGQ, x)
    expected = model.predict(3 * x, batch_size=500, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", 3 * x)
    code = (
        "import sys, os; os.environ['KERAS_BACKEND'] = 'jax'\n"
        "import numpy as np, keras, hgq\n"
        "model = keras.models.load_model('model.keras', compile=False)\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), batch_size=500, verbose=0))\n"
        "assert not any(name == 'weft' or name.startswith('weft.') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
