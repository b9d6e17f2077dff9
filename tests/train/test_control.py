"""Schedules and controllers: their values, and that they continue after a restart."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config import Experiment
from weft.train.control import (
    BETA_RANGE,
    Constant,
    Cosine,
    LogRamp,
    Plateau,
    Restarts,
    TargetEbops,
    learning_rate,
)


def test_cosine_starts_at_the_peak_and_ends_at_the_final_fraction():
    control = Cosine(2.0, 10, final_fraction=0.1)
    assert control.values(0, 4)[0] == pytest.approx(2.0)
    assert control.values(10, 1)[0] == pytest.approx(0.2)
    assert control.values(5, 1)[0] == pytest.approx(0.5 * (2.0 + 0.2))


def test_warm_up_rises_from_a_first_small_step_to_the_peak():
    control = Cosine(1.0, 10, warmup_epochs=2)
    first = np.concatenate([control.values(epoch, 5) for epoch in (0, 1)])
    np.testing.assert_allclose(first, np.arange(1, 11) / 10, rtol=1e-6)


def test_restarts_come_after_growing_periods():
    control = Restarts(1.0, period_epochs=2, factor=2.0)
    peaks = [epoch for epoch in range(14) if control.values(epoch, 3)[0] == 1.0]
    assert peaks == [0, 2, 6]


def test_log_ramp_multiplies_by_the_same_factor_each_epoch():
    control = LogRamp(1e-7, 1e-4, 3)
    starts = [control.values(epoch, 1)[0] for epoch in range(3)]
    np.testing.assert_allclose(starts, [1e-7, 1e-6, 1e-5], rtol=1e-5)


def test_plateau_lowers_the_rate_after_patience_and_not_below_its_floor():
    control = Plateau(1.0, factor=0.5, patience=2, min_fraction=0.2)
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9):
        control.update({"loss": loss})
        rates.append(float(control.values(0, 1)[0]))
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2])


@pytest.mark.parametrize("make", [lambda: Plateau(1.0, 0.5, 2, 0.01), lambda: TargetEbops(1000, 1e-6, 9)])
@given(
    logs=st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 10**6)), min_size=2, max_size=12), cut=st.integers(0, 11)
)
def test_a_control_restored_from_json_goes_on_as_if_it_had_not_stopped(make, logs, cut):
    whole, first = make(), make()
    for i, (loss, ebops) in enumerate(logs):
        if i == cut:
            second = make()
            second.restore(json.loads(json.dumps(first.state())))
            first = second
        for control in (whole, first):
            control.update({"loss": loss, "ebops": ebops})
        np.testing.assert_array_equal(whole.values(i, 3), first.values(i, 3))


@given(st.floats(200, 50_000), st.floats(1e-8, 1e-5))
def test_the_controller_settles_at_its_target(target, start):
    control, log_ebops = TargetEbops(target, start, 300), math.log10(80_000)
    for epoch in range(300):
        beta = float(control.values(epoch, 1)[0])
        settled = 5.0 - 0.6 * (math.log10(beta) + 6.0)  # EBOPs fall with β, and take their time
        log_ebops += 0.15 * (settled - log_ebops)
        control.update({"ebops": 10.0**log_ebops})
    assert 10.0**log_ebops == pytest.approx(target, rel=0.02)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_beta_stays_within_its_bounds(history):
    control = TargetEbops(1000, 1e-6, 9)
    for ebops in history:
        control.update({"ebops": ebops})
        assert BETA_RANGE[0] * 0.999 <= control.values(0, 1)[0] <= BETA_RANGE[1] * 1.001


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        ("constant", Constant),
        ("cosine", Cosine),
        ({"name": "restarts", "period_epochs": 2}, Restarts),
        ("plateau", Plateau),
    ],
)
def test_every_configured_schedule_has_a_control(schedule, kind):
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "search": {"schedule": schedule}}
    config = Experiment.model_validate(raw).search
    control = learning_rate(config.schedule, 0.5, config.epochs)
    assert isinstance(control, kind)
    assert control.values(0, 2).dtype == np.float32
