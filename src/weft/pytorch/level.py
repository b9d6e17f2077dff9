"""A PyTorch network in a file, of `torch.export.save` or `torch.jit.save`, as the first level of a verification.

Such a file is a program, and is run. A pickled module or state_dict is not read at all, and of an exported program no
part that only unpickling could read. That keeps accidents out, and no malice: give files that you trust.

A network of `weft.to_torch` computes in float64 what the finalised model does, so it has to be equal. A float network
that was converted and then quantised cannot be: how far it agrees is told apart from what is equal.
"""

from __future__ import annotations

import logging
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import ConfigError, DataError, ShapeError, ToolNotFoundError

if TYPE_CHECKING:
    import torch

_ROWS = 4096
_REMEDY = (
    "give a file of torch.export.save (.pt2) or torch.jit.save; a pickled module is not read: it could run anything"
)


class TorchLevel:
    """A network of PyTorch that a file holds.

    Attributes:
        name: `torch`.
        exact: Whether it is fixed-point, as `weft.to_torch` makes it: no parameters, and numbers in float64.
    """

    name = "torch"

    def __init__(self, path: Path | str) -> None:
        """Read the file.

        Raises:
            ToolNotFoundError: torch is missing.
            ConfigError: The file is none of the two kinds, or its network takes several inputs.
        """
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise ToolNotFoundError(
                "--torch needs the Python package 'torch', which is missing; pip install 'weft[torch]'"
            ) from error
        self._path = Path(path)
        self._network, self._rows, tensors, self._dtype = _read(self._path)
        n_parameters, kinds = tensors
        self.exact = n_parameters == 0 and "torch.float64" in kinds

    def run(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs for inputs (n, ...) float32: (n, n_out) float64.

        Raises:
            ShapeError: The network does not take such rows, or gives several outputs.
            DataError: It gives NaN or infinity.
        """
        import torch

        size = self._rows or _ROWS
        found: list[np.ndarray] = []
        for start in range(0, len(x), size):
            rows = x[start : start + size]
            n = len(rows)
            if self._rows is not None:  # a program of so many rows and no others
                rows = np.concatenate([rows, np.repeat(rows[-1:], self._rows - n, axis=0)])
            try:
                with torch.no_grad():
                    y = self._network(torch.from_numpy(np.ascontiguousarray(rows)).to(self._dtype))
            except Exception as error:
                raise ShapeError(
                    f"the network of {self._path} does not take rows of shape {x.shape[1:]}: {type(error).__name__}: "
                    f"{str(error).splitlines()[0] if str(error) else ''}; it reads the same array as the model"
                ) from error
            y = y[0] if isinstance(y, tuple | list) and len(y) == 1 else y
            if not isinstance(y, torch.Tensor):
                raise ShapeError(f"the network of {self._path} gives {type(y).__name__}, not one tensor of outputs")
            found.append(y.detach().double().reshape(len(rows), -1).numpy()[:n])
        outputs = np.concatenate(found)
        if not np.isfinite(outputs).all():
            raise DataError(f"the network of {self._path} gives NaN or infinity, which no firmware has; see its inputs")
        return outputs


def _read(path: Path) -> tuple[Any, int | None, tuple[int, set[str]], torch.dtype]:
    """Return a network, how many rows it takes (None for any), its parameters and types of tensors, what it reads."""
    import torch

    try:
        names = zipfile.ZipFile(path).namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"cannot read a PyTorch network from {path}: {error}; {_REMEDY}") from error
    scripted = any(name.endswith("/constants.pkl") for name in names)
    exported = any(name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names)
    if not (scripted or exported) or any("custom_obj" in name for name in names):
        raise ConfigError(f"{path} is no program of PyTorch, or holds pickled objects; {_REMEDY}")
    try:
        with _weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated from torch 2.13 on
            if scripted:
                network = torch.jit.load(path, map_location="cpu").eval()
                tensors = [*network.parameters(), *network.buffers()]
                return network, None, (len(list(network.parameters())), _kinds(tensors)), torch.float32
            with path.open("rb") as file:
                program = torch.export.load(file)
            network = program.module()
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"cannot read a PyTorch network from {path}: {type(error).__name__}: {said}; {_REMEDY}"
        ) from error
    user = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(user) != 1:
        raise ConfigError(f"the network of {path} takes {len(user)} inputs, and firmware has one: concatenate them")
    value = user[0].meta["val"]
    rows = value.shape[0] if isinstance(value.shape[0], int) else None
    tensors = list(program.state_dict.values())
    return network, rows, (len(program.graph_signature.parameters), _kinds(tensors)), value.dtype


def _kinds(tensors: Sequence[torch.Tensor]) -> set[str]:
    return {str(tensor.dtype) for tensor in tensors}


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch read tensors, and unpickle nothing else, and not log what the error says already."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before, loggers = os.environ.get(name), [logging.getLogger(one) for one in ("torch.export", "torch._export")]
    levels = [one.level for one in loggers]
    os.environ[name] = "1"
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
