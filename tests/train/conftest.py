"""Small models for the engine, built anew on each call."""

from __future__ import annotations

import pytest

from weft.blocks import MlpGenes
from weft.space.architecture import Architecture, FloatNumbers, HgqNumbers
from weft.space.model import build
from weft.train.engine import Engine
from weft.train.losses import l1_penalty, loss_for

NUMBERS = {"float": FloatNumbers(), "hgq": HgqNumbers(beta=1e-6, bits0=5)}


def architecture(mode: str, **genes) -> Architecture:
    return Architecture(
        input_shape=(6,),
        n_outputs=3,
        blocks=(MlpGenes(units=(8,), **genes),),
        numbers=NUMBERS[mode],
        learning_rate=0.01,
    )


def make_engine(mode: str, seed: int = 3, l1: float = 0.0, **genes) -> Engine:
    import keras

    model = build(architecture(mode, **genes), seed)
    return Engine(model, keras.optimizers.Adam(0.01), loss_for("auto", "classification"), l1_penalty(l1))


@pytest.fixture(scope="session")
def hgq_engine() -> Engine:
    """One compiled HGQ engine for all tests that only need some engine; `engine.state()` is its fresh start."""
    return make_engine("hgq")
