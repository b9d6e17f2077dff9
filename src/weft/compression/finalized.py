"""A model that refuses to train, in memory and after reloading, in a file that loads without weft all the same.

The file names Keras' functional model as the class, and weft's beside it as the name that it is registered under. Keras
looks for the registered name first: where weft was imported, before Keras or after it, `keras.models.load_model` gives
a `Finalized`. Elsewhere it gives a functional model, whose `fit` runs and moves nothing.
"""

from __future__ import annotations

from typing import Any, NoReturn

import keras
from keras.src.models.functional import Functional

from weft.errors import ConfigError


@keras.saving.register_keras_serializable(package="weft", name="Finalized")
class Finalized(Functional):
    """A functional model of frozen layers whose `fit`, `train_on_batch` and `model(x, training=True)` are errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trainable = False

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Make the model of a configuration; the layers of HGQ2 need not be known to Keras yet."""
        import hgq.layers  # noqa: F401 - registers them

        return super().from_config(config, custom_objects=custom_objects)

    def fit(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise self._refusal("fit")

    def train_on_batch(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise self._refusal("train_on_batch")

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs of inputs.

        Raises:
            ConfigError: `training` is true.
        """
        if training:
            raise self._refusal("a call with training=True")
        return super().call(inputs, training=training, mask=mask, **kwargs)

    def _refusal(self, what: str) -> ConfigError:
        error = ConfigError(
            f"{what} was asked of '{self.name}', which is finalised: its masks and ranges are fixed, and it cannot be "
            "trained; train the model that it came from, and finalise that again"
        )
        error._keras_call_info_injected = True  # type: ignore[attr-defined] # or Keras writes its own text around it
        return error


Finalized.__module__, Finalized.__name__, Finalized.__qualname__ = Functional.__module__, "Functional", "Functional"
