"""Read a `.keras` file, whatever of Keras, HGQ2 and weft its layers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.errors import ConfigError


def read_model(path: str | Path) -> Any:
    """Read a Keras model as it is, float, quantised or finalised.

    Raises:
        ConfigError: The file is no Keras model.
    """
    import keras

    import weft.quantize.convert
    import weft.quantize.fixed
    import weft.quantize.held
    import weft.quantize.switch  # noqa: F401 - with these, all that a model can hold is registered

    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read as a Keras model: {reason}; it must be a .keras file, "
            "as model.save('name.keras') writes it"
        ) from error
