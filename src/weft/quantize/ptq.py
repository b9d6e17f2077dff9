"""Quantisation after training (PTQ): fixed point for a trained model, from its weights and some rows, without training.

Ranges of weights come from the weights, those of activations from the rows. Each value is rounded to the nearest of its
format; widths of eight bits and more rarely need training after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weft.config.numbers import FixedNumbers, LayerSettings
from weft.errors import ConfigError
from weft.quantize.calibrate import calibrate

if TYPE_CHECKING:
    import keras


def quantize_after_training(
    model: keras.Model,
    x: Any,
    numbers: FixedNumbers | None = None,
    layers: Mapping[str, LayerSettings] | None = None,
    *,
    keep_float: Sequence[str] = (),
) -> keras.Model:
    """Return a trained float model in fixed point; the model itself is not changed.

    Args:
        model: A Keras model.
        x: Rows for the ranges of activations, (n, ...) float32, or one such array for each input; never the test split.
        numbers: The widths; 8 bits throughout if None.
        layers: What single layers do differently, by name or pattern.
        keep_float: Layers that stay in float, by name or pattern.

    Raises:
        ConfigError: Widths are to be learned, which needs training.
        UnsupportedError: The model holds a layer without a fixed-point counterpart.
        DataError: There are no rows.
    """
    from weft.quantize.convert import convert

    numbers = FixedNumbers() if numbers is None else numbers
    if not isinstance(numbers, FixedNumbers):
        raise ConfigError(
            f"cannot quantise after training with numbers of mode '{numbers.mode}', whose widths are learned or float; "
            "use FixedNumbers, or compress the model with training"
        )
    quantized = convert(model, numbers, layers or {}, keep_float=keep_float)
    calibrate(quantized, x)
    return quantized
