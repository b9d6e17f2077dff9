"""The readout simulator: its physics against an integrator, its determinism, and its calibration."""

from __future__ import annotations

import time

import numpy as np
import pytest

from weft.config.data import DataConfig, WindowConfig
from weft.data import load
from weft.data.qubit import SAMPLE_NS, Readout, simulate
from weft.errors import DataError

QUIET = Readout(noise=0.0, excited_fraction=0.0, failed_fraction=0.0, t1_us=1e9, rotation_rad=0.0, full_scale=2.0)


def integrated(time_ns, jump_ns, readout):
    """Solve the field equation by small Runge-Kutta steps; the state is 1 before `jump_ns` and 0 after."""
    kappa, chi = 2e-3 * np.pi * readout.kappa_mhz, 2e-3 * np.pi * readout.chi_mhz
    drive = abs(kappa / 2 + 1j * chi)

    def slope(t, alpha):
        sign = np.where(t < jump_ns, -1, 1)
        return -(kappa / 2 + sign * 1j * chi) * alpha + drive

    alpha, t, step, found = np.zeros(len(jump_ns), complex), 0.0, 0.05, []
    for stop in time_ns:
        while t < stop - 1e-9:
            h = min(step, stop - t)
            a = slope(t, alpha)
            b = slope(t + h / 2, alpha + h / 2 * a)
            alpha = alpha + h * b
            t += h
        found.append(alpha)
    return np.array(found).T


def test_the_closed_form_solves_the_field_equation_with_a_jump():
    time_ns, jumps = SAMPLE_NS * np.arange(0, 200, 20), np.array([0.0, 33.3, 321.0, 1e9])
    readout = Readout(kappa_mhz=1.3, chi_mhz=0.7)
    np.testing.assert_allclose(readout.relaxed_field(time_ns, jumps), integrated(time_ns, jumps, readout), atol=2e-3)


def test_the_field_ends_at_amplitude_1_in_both_states():
    late = np.array([1e6])
    np.testing.assert_allclose([abs(QUIET.field(late, 0)), abs(QUIET.field(late, 1))], 1)
    np.testing.assert_allclose(QUIET.field(late, 0), QUIET.field(late, 1).conj())


def test_without_noise_the_two_traces_are_the_field_in_counts():
    x, y = simulate(50, 0, start=0, length=770, readout=QUIET)
    time_ns = SAMPLE_NS * np.arange(770)
    for shot, state in zip(x, y, strict=True):
        counts = QUIET.field(time_ns, int(state)) * 2**13 / 2.0
        np.testing.assert_allclose(shot[0::2], counts.real, atol=0.51)
        np.testing.assert_allclose(shot[1::2], counts.imag, atol=0.51)


def test_relaxation_happens_at_its_rate_and_ends_in_the_ground_state():
    readout = Readout(noise=0.0, excited_fraction=0.0, failed_fraction=0.0, t1_us=2.0, rotation_rad=0.0, full_scale=2.0)
    x, y = simulate(20_000, 1, start=769, length=1, readout=readout)
    undisturbed = np.rint(readout.field(SAMPLE_NS * np.array([769]), 1).imag * 2**12)
    assert abs((x[y == 1, 1] == undisturbed).mean() - np.exp(-769 * SAMPLE_NS / 2000)) < 0.015
    assert len(np.unique(x[y == 0], axis=0)) == 1


def test_preparation_errors_flip_the_state_but_not_the_label():
    readout = Readout(noise=0.0, excited_fraction=0.1, failed_fraction=0.3, t1_us=1e9, rotation_rad=0.0)
    x, y = simulate(20_000, 2, start=500, length=1, readout=readout)
    excited = x[:, 1] > 0
    assert abs(excited[y == 0].mean() - 0.1) < 0.01
    assert abs(excited[y == 1].mean() - 0.7) < 0.015
    assert abs(y.mean() - 0.5) < 0.01


def test_the_noise_has_its_width_and_the_converter_clips():
    x, _ = simulate(2000, 3, start=0, length=20)
    unit = 2**13 / 32.0
    assert abs(x.astype(float).std() / unit - Readout().noise) < 0.05
    x, _ = simulate(2000, 3, start=0, length=20, readout=Readout(adc_bits=8, full_scale=4.0))
    assert (x.min(), x.max()) == (-128, 127)


def test_one_seed_is_one_experiment_whatever_the_window_and_the_shots():
    whole, y = simulate(1500, 7, start=0, length=770)
    window, same = simulate(1200, 7, start=100, length=50)
    np.testing.assert_array_equal(window, whole[:1200, 200:300])
    np.testing.assert_array_equal(same, y[:1200])
    assert not np.array_equal(simulate(1200, 8, start=100, length=50)[0], window)


@pytest.mark.parametrize(("start", "length"), [(-1, 10), (0, 0), (400, 371)])
def test_a_window_outside_the_trace_is_refused(start, length):
    with pytest.raises(DataError, match=rf"traces of 770 samples; the window start={start}, length={length} ends at"):
        simulate(10, 0, start=start, length=length)


def test_no_shots_are_refused():
    with pytest.raises(DataError, match=r"qubit-readout cannot simulate shots=0; set data\.shots to 1 or more"):
        simulate(0, 0)


def test_20000_shots_take_less_than_3_seconds_of_one_core():
    start = time.process_time()
    simulate(20_000, 0)
    assert time.process_time() - start < 3


def test_the_data_set_is_split_scaled_and_described():
    config = DataConfig(name="qubit-readout", shots=2000, window=WindowConfig(start=200, length=50), seed=4)
    data = load(config)
    assert (data.task, data.n_outputs, data.input_shape) == ("binary", 1, (100,))
    assert (len(data.train), len(data.validation), len(data.test())) == (1300, 300, 400)
    assert data.feature_names[:3] == ("I200", "Q200", "I201")
    assert data.provenance.seed == 4
    assert "simulated by weft" in data.provenance.source
    assert data.provenance.notes[0] == "samples 200 to 249 of 770"
    np.testing.assert_allclose(data.train.x.std(axis=0), 1, rtol=1e-5)
    assert load(config).provenance.sha256 == data.provenance.sha256
    assert load(config.model_copy(update={"seed": 5})).provenance.sha256 != data.provenance.sha256


def matched_filter_accuracy(start, length, shots=12_000):
    """Project on the known difference of the two fields and cut where the two classes are told apart best."""
    readout = Readout()
    x, y = simulate(shots, 0, start=start, length=length)
    time_ns = SAMPLE_NS * np.arange(start, start + length)
    difference = np.exp(1j * readout.rotation_rad) * (readout.field(time_ns, 1) - readout.field(time_ns, 0))
    score = x.astype(np.float32) @ difference.astype(np.complex64).view(np.float32)
    return max(float(((score > cut) == y).mean()) for cut in np.quantile(score, np.linspace(0.4, 0.6, 101)))


def test_a_matched_filter_loses_accuracy_in_shorter_and_in_later_windows():
    best = matched_filter_accuracy(100, 400)
    assert abs(best - 0.965) < 0.006
    assert best > matched_filter_accuracy(100, 200) + 0.01 > matched_filter_accuracy(100, 100) + 0.03
    assert best > matched_filter_accuracy(370, 400) + 0.01


@pytest.mark.slow
def test_a_small_network_reaches_96_percent_and_less_in_shorter_and_later_windows():
    from weft._backend import set_backend

    set_backend()
    import keras

    def accuracy(start, length, initialisation=0):
        data = load(DataConfig(name="qubit-readout", window=WindowConfig(start=start, length=length)))
        keras.utils.set_random_seed(initialisation)
        layers = [keras.layers.Input(data.input_shape), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        steps = 15 * -(-len(data.train) // 512)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
        model.compile(keras.optimizers.Adam(rate), keras.losses.BinaryCrossentropy(from_logits=True))
        model.fit(data.train.x, data.train.y.astype(np.float32), batch_size=512, epochs=15, verbose=0)
        test = data.test()
        return float(((model.predict(test.x, batch_size=4096, verbose=0)[:, 0] > 0) == test.y).mean())

    best = np.mean([accuracy(100, 400, i) for i in range(3)])
    assert abs(best - 0.960) < 0.003
    assert accuracy(100, 100) < accuracy(100, 200) < best - 0.01
    assert accuracy(370, 400) < accuracy(200, 400) < best - 0.003
