"""What a user's example says of a module: the rows with which it is looked at, and whether they fit."""

from __future__ import annotations

import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from weft.errors import ConfigError, DataError, ShapeError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import nn

ROWS = 13
"""Rows with which a module is looked at: a number that no axis of a network is likely to have."""


def arguments_of(module: nn.Module, example: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of an example by the names of `forward`'s arguments.

    Args:
        module: The module.
        example: One tensor, several in a tuple or list, or a dictionary by name; the first axis counts rows.

    Raises:
        ConfigError: It holds no tensors, or others than `forward` takes.
        UnsupportedError: `forward` takes any number of inputs, which have no names.
        ShapeError: A tensor has no axis that counts rows.
    """
    import numpy as np
    import torch

    if not isinstance(example, Mapping | Sequence):
        example = (example,)
    given = list(example.values()) if isinstance(example, Mapping) else list(example)
    given = [torch.from_numpy(one) if isinstance(one, np.ndarray) else one for one in given]
    wrong = next((one for one in given if not isinstance(one, torch.Tensor)), None)
    if not given or wrong is not None:
        raise ConfigError(
            f"example_input holds {'nothing' if not given else 'a ' + type(wrong).__name__}; give a tensor of some "
            "rows, (n, ...), or a tuple of them for several inputs"
        )
    signature = inspect.signature(module.forward)
    try:
        if isinstance(example, Mapping):
            bound = signature.bind(**dict(zip(example, given, strict=True)))
        else:
            bound = signature.bind(*given)
    except TypeError as error:
        raise ConfigError(
            f"example_input holds {len(given)} tensors, and {type(module).__name__}.forward takes {signature}: {error}"
        ) from error
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL and parameter.name in bound.arguments:
            raise UnsupportedError(
                f"{type(module).__name__}.forward takes {signature}, and the inputs in *{parameter.name} have no "
                "names; write forward with one argument for each"
            )
    if any(one.ndim == 0 for one in given):
        raise ShapeError("example_input holds a tensor without axes; its first axis must count rows, as in (n, ...)")
    found: dict[str, torch.Tensor] = {}
    for name, value in bound.arguments.items():
        parts = value if isinstance(value, tuple) else (value,)
        found |= {name if len(parts) == 1 else f"{name}_{i}": one for i, one in enumerate(parts)}
    return found


def check_types(module: nn.Module, arguments: Mapping[str, torch.Tensor]) -> None:
    """Refuse what is not computed in float32.

    Raises:
        DataError: An input holds neither float32 nor whole numbers.
        UnsupportedError: A weight has another type.
    """
    import torch

    for name, value in arguments.items():
        if value.is_complex() or (value.is_floating_point() and value.dtype != torch.float32):
            raise DataError(
                f"example_input '{name}' is of {value.dtype}; give float32 (x.float()), and complex numbers as two "
                "features"
            )
    for name, value in module.named_parameters():
        if value.dtype != torch.float32:
            raise UnsupportedError(f"parameter '{name}' is of {value.dtype}; convert the module first: module.float()")


def random_rows(arguments: Mapping[str, torch.Tensor], seed: int, n: int = ROWS) -> dict[str, torch.Tensor]:
    """Return random rows of the same kind: numbers of the same spread, or whole numbers drawn from the example's."""
    import torch

    draw = torch.Generator().manual_seed(seed)

    def rows(one: torch.Tensor) -> torch.Tensor:
        one = one.detach().cpu()
        shape = (n, *one.shape[1:])
        if not one.is_floating_point():
            return one.flatten()[torch.randint(one.numel(), shape, generator=draw)]
        spread = float(one.std()) if one.numel() > 1 else 1.0
        return torch.randn(shape, generator=draw) * (spread if spread > 0 else 1.0)

    return {name: rows(value) for name, value in arguments.items()}


def run(module: nn.Module, arguments: Mapping[str, torch.Tensor], shapes: Mapping[str, Any]) -> Any:
    """Return what a module computes of rows.

    Raises:
        ShapeError: It cannot take rows of this shape; the message names the place in its tree.
        DataError: It computes with whole numbers or truth values as if they were float32.
    """
    import torch

    inside: list[str] = []
    hooks = []
    for path, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(lambda *_, path=path: inside.append(path)))
        hooks.append(part.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        with torch.no_grad(), quiet():
            return module(**arguments)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        place = inside[-1] if inside else ""
        part = module.get_submodule(place)
        whole = [f"'{name}' is of {one.dtype}" for name, one in arguments.items() if not one.is_floating_point()]
        if whole and re.search(r"\bdtype|Long|Int|Bool", str(error)):
            raise DataError(
                f"example_input {', '.join(whole)}, and '{place or type(module).__name__}' ({type(part).__name__}) "
                f"computes with it: {_first_line(error)}; give float32 (x.float())"
            ) from error
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ShapeError(
            f"the module cannot take rows like example_input ({given}; the first axis counts rows): "
            f"'{place or type(module).__name__}' ({type(part).__name__}) says: {_first_line(error)}; give an example "
            "of the shape that the module reads, with the axis of the batch first"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what torch warns of while a module is looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Leave out what torch.export logs and prints, too: graphs of what it could not do. It raises the reason."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
