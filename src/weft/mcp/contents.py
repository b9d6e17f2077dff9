"""What a file may hold: numbers and words. Objects that run code when read, and ways to other files, are refused.

Called on files that lie in the write root already, so that what is checked is what is read.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from weft.errors import AccessError

DATA = (".npz", ".npy", ".h5", ".hdf5", ".csv", ".tsv", ".txt", ".parquet", ".pq", ".arff")
"""Endings of data files; no format among them can hold code once the checks below are passed."""

MODELS = (".keras",)
CONFIGS = (".yaml", ".yml")

_UNPACKED = 64 << 30
_RATIO = 2000
"""The largest archive, unpacked, in bytes, and how much smaller packing may have made it."""

_KERAS = re.compile(
    r"(keras\.(src\.)?(layers|activations|initializers|regularizers|constraints|dtype_policies|models|ops|quantizers|"
    r"losses|metrics|optimizers)|hgq|weft)(\..+)?"
)
_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
_TOP = {"DTypePolicy", "DTypePolicyMap", "Functional", "Sequential", "Model"}
_PLAIN = {"__keras_tensor__", "__tensor__", "__numpy__", "__tuple__", "__ellipsis__", "slice", "__bytes__"}


def check(path: Path, shown: str) -> None:
    """Refuse a file that is not what its ending says, or that holds more than numbers and words.

    Args:
        path: The file.
        shown: Its name in messages.

    Raises:
        AccessError: says what it holds.
    """
    checks: dict[str, Callable[[Path, str], None]] = {
        ".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5, ".keras": _keras,
    }  # fmt: skip
    test = checks.get(path.suffix.lower())
    if test is None:
        return
    try:
        test(path, shown)
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        KeyError,
        RecursionError,
        NotImplementedError,
    ) as error:
        if isinstance(error, AccessError):
            raise
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise AccessError(f"{shown} is no sound {path.suffix} file ({reason}); write it again") from error


def _npy(path: Path, shown: str) -> None:
    with path.open("rb") as file:
        _array(file, shown, shown)


def _npz(path: Path, shown: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in _members(archive, path, shown):
            if not member.filename.endswith(".npy"):
                raise AccessError(
                    f"{shown} holds '{member.filename[:80]}', which is no array; write it with numpy.savez"
                )
            with archive.open(member) as file:
                _array(file, member.filename, shown)


def _array(file: IO[bytes], name: str, shown: str) -> None:
    import numpy as np

    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        _, _, dtype = read(file)
    except (ValueError, KeyError, SyntaxError, EOFError) as error:
        raise AccessError(f"'{name[:80]}' of {shown} is no NumPy array; a pickle is never read") from error
    if dtype.hasobject:
        raise AccessError(f"'{name[:80]}' of {shown} holds pickled objects, which run code when read; save numbers")


def _members(archive: zipfile.ZipFile, path: Path, shown: str) -> list[zipfile.ZipInfo]:
    """Return the members of an archive, whose names and sizes are harmless."""
    members = archive.infolist()
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
            raise AccessError(f"{shown} holds a member '{member.filename[:80]}', whose name leads out of the archive")
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise AccessError(f"{shown} holds a link, '{member.filename[:80]}'")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise AccessError(f"{shown} holds two members of one name; write it again")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _UNPACKED or unpacked > _RATIO * max(path.stat().st_size, 1):
        raise AccessError(f"{shown} unpacks to {unpacked} bytes, far more than it is; that is no data")
    return members


def _hdf5(path: Path, shown: str) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        _group(file, shown)


def _group(file: Any, shown: str) -> None:
    """Refuse every way out of an HDF5 file: external links, values in other files, virtual data sets."""
    import h5py

    def visit(name: str, link: Any) -> str | None:
        if isinstance(link, h5py.ExternalLink):
            return f"'{name[:80]}' is a link to another file; copy its data in"
        item: Any = file[name] if isinstance(link, h5py.HardLink) else None
        if hasattr(item, "is_virtual") and (item.external or item.is_virtual):  # a data set
            return f"the values of '{name[:80]}' lie in other files; copy them in"
        return None

    found = file.visititems_links(visit)  # ends at the first that is not None
    if found is not None:
        raise AccessError(f"{shown}: {found}")


def _keras(path: Path, shown: str) -> None:
    import h5py

    known = {"config.json", "metadata.json", "model.weights.h5"}
    with zipfile.ZipFile(path) as archive:
        names = {member.filename for member in _members(archive, path, shown)}
        if names - known or "config.json" not in names:
            strange = ", ".join(sorted(names - known))[:80] or "no config.json"
            raise AccessError(f"{shown} is no plain Keras model: it holds {strange}; write it with model.save")
        for config, module, name, registered in _objects(json.loads(archive.read("config.json"))):
            _known_object(config, module, name, registered, shown)
        if "model.weights.h5" in names:
            with archive.open("model.weights.h5") as weights, h5py.File(weights, "r") as file:
                _group(file, shown)


def _objects(value: Any) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    if isinstance(value, dict):
        config = cast(dict[str, Any], value)
        if "class_name" in config:
            yield config, str(config.get("module") or ""), str(config["class_name"]), str(config.get("registered_name"))
        for inner in config.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _objects(inner)


def _known_object(config: dict[str, Any], module: str, name: str, registered: str, shown: str) -> None:
    if name in _CODE or registered.rpartition(">")[2] in _CODE:
        raise AccessError(f"{shown} holds a {name}, which runs code of its own; use a layer of Keras, HGQ2 or weft")
    own = registered in ("None", "", name) or registered.startswith(("hgq>", "weft>"))
    plain = name in _PLAIN and not module
    built_in = name == "function" and module == "builtins" and isinstance(config.get("config"), str)
    if not ((own and (_KERAS.fullmatch(module) or (module == "keras" and name in _TOP))) or plain or built_in):
        raise AccessError(f"{shown} holds '{module[:60]}:{name[:60]}', which is no class of Keras, HGQ2 or weft")
