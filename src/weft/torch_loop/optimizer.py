"""What a rewind has to know of an optimizer of PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from weft.errors import ConfigError


class Moments:
    """The state that a `torch.optim` optimizer keeps of its parameters; rates and schedules stay the user's.

    Args:
        optimizer: The optimizer.
        decays: Whether the recipe asks for its own weight decay.

    Raises:
        ConfigError: The recipe's weights decay in a way that PyTorch's optimizers do not have.
    """

    def __init__(self, optimizer: Any, decays: bool = False) -> None:
        if decays:
            raise ConfigError(
                f"the recipe has a section weight_decay, and the optimizer is PyTorch's {type(optimizer).__name__}, "
                "which does not decay weights in a p-norm; leave the section out, and use torch.optim.AdamW"
            )
        self._optimizer = optimizer

    def saved(self) -> dict[str, Any]:
        """Return a copy of the state."""
        return copy.deepcopy(self._optimizer.state_dict()["state"])

    def restore(self, state: dict[str, Any]) -> None:
        """Take a copy back."""
        now = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**now, "state": copy.deepcopy(state)})

    def forget(self, parameters: Iterable[Any]) -> None:
        """Begin anew with some parameters."""
        for parameter in parameters:
            self._optimizer.state.pop(parameter, None)


def is_torch(optimizer: Any) -> bool:
    """Say whether an optimizer is one of PyTorch."""
    return any(kind.__module__.startswith("torch.optim") for kind in type(optimizer).__mro__)
