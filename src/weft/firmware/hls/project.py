"""HLS projects: what hls4ml writes of a finalised model. This is the one module that knows hls4ml (Apache-2.0).

Every type in the project follows from the quantisers of the model (hls4ml's `bit_exact` pass), never from a default
width. hls4ml's fall-backs for layers that it does not know are left off: they compute something else in silence.
`hls_project.json` beside the sources says what a user of the project must know.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from weft import atomic
from weft.config import find_part
from weft.config.hls import HlsConfig
from weft.errors import ConfigError, RunError, ToolNotFoundError, UnsupportedError
from weft.firmware._description import described
from weft.firmware.hls.corrections import correct
from weft.firmware.hls.refusals import objection

if TYPE_CHECKING:
    import keras

DESCRIPTION, LOG, TOP = "hls_project.json", "hls4ml.log", "model"

_SCHEMA = 1
_NAMES = {"vitis": "Vitis", "vivado": "Vivado", "quartus": "Quartus", "oneapi": "oneAPI", "catapult": "Catapult",
          "libero": "Libero"}  # fmt: skip
_OLDEST = (1, 3)
_AMD = ("xcup", "xcu", "xc7")
_EXAMPLES = {"quartus": "Arria10", "oneapi": "Agilex7", "libero": "MPF300"}
_NAME, _NOT_IN_NAMES = re.compile(r"[A-Za-z_]\w*", re.ASCII), re.compile(r"\W", re.ASCII)
_TAKEN = {"input", "model", "float", "double", "int", "char", "bool", "auto", "const", "static", "return"}
_LIBERO_HOME = "SMARTHLS"
"""Where SmartHLS is, in a Libero project that was written where it is not installed; its Makefile is to be edited."""


class Tap(NamedTuple):
    """Where the C++ holds what a layer of the model puts out.

    Attributes:
        layer: The layer, by the model's own name.
        variable: The variable; empty for the project's output.
        cpp_type: What it is an array, or a stream, of.
        size: Number of values.
        format: Their type, in the words of hls4ml: `fixed<width,integer,rounding,overflow>`, or `ufixed<...>`.
    """

    layer: str
    variable: str
    cpp_type: str
    size: int
    format: str


@dataclass(frozen=True)
class HlsProject:
    """An HLS project on disk.

    Attributes:
        directory: Where it is.
        backend: The HLS compiler that it is for, as in `firmware.hls.backend`.
        strategy: How its products are made.
        io: `parallel` or `stream`.
        part: The device, in the words of the compiler.
        clock_period_ns: The clock asked for.
        n_in: Values of one input.
        n_out: Values of one output.
        compiler: hls4ml and its version.
        taps: Where the values of layers are, in order.
    """

    directory: Path
    backend: str
    strategy: str
    io: str
    part: str
    clock_period_ns: float
    n_in: int
    n_out: int
    compiler: str
    taps: tuple[Tap, ...] = ()

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Open a project that `emit` wrote.

        Raises:
            RunError: The directory holds none, or a damaged one.
        """
        directory = Path(directory)
        with described(directory / DESCRIPTION, _SCHEMA, "HLS project", "run 'weft hls' again") as data:
            return cls(directory, **{**data, "taps": tuple(Tap(*tap) for tap in data.get("taps", ()))})

    def describe(self) -> dict[str, Any]:
        """Return everything but the directory and the taps, as `hls.json` holds it."""
        return {name: value for name, value in vars(self).items() if name not in ("directory", "taps")}


def find(strategy: str = "latency") -> str:
    """Return the version of hls4ml.

    Raises:
        ToolNotFoundError: hls4ml, or what the strategy needs beside it, is missing.
    """
    remedy = "pip install 'weft[hls4ml]', or set firmware.hls: null"
    try:
        found = version("hls4ml")
    except PackageNotFoundError as error:
        raise ToolNotFoundError(
            f"an HLS project needs the Python package 'hls4ml', which is missing; {remedy}"
        ) from error
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < _OLDEST:
        raise ToolNotFoundError(
            f"an HLS project needs hls4ml {'.'.join(map(str, _OLDEST))} or newer, and the Python package is {found}: "
            f"what older ones get wrong is not known; {remedy}"
        )
    if strategy == "distributed_arithmetic" and importlib.util.find_spec("da4ml") is None:
        raise ToolNotFoundError(
            f"strategy distributed_arithmetic of hls4ml {found} needs the Python package 'da4ml', which is missing; "
            f"{remedy}"
        )
    return found


def part_for(config: HlsConfig, target_part: str) -> str:
    """Return the part that a project is written for.

    Raises:
        ConfigError: The backend compiles for other makers' parts than that of the target.
    """
    if config.part is not None:
        return config.part
    if config.backend in _EXAMPLES:
        raise ConfigError(
            f"hls4ml's {config.backend} backend does not compile for '{target_part}' of target.part; "
            f"set firmware.hls.part to a part that it knows, such as {_EXAMPLES[config.backend]}"
        )
    if find_part(target_part).family not in _AMD:
        raise ConfigError(
            f"hls4ml's {config.backend} backend compiles for AMD's parts, and target.part is '{target_part}'; "
            "set firmware.hls.part, or leave firmware.hls out"
        )
    return target_part


def emit(
    model: keras.Model, directory: Path | str, config: HlsConfig, target_part: str, clock_period_ns: float
) -> HlsProject:
    """Write the HLS project of a finalised model, in place of a project that is there.

    Args:
        model: A finalised model of one input and one output.
        directory: Where to write.
        config: Backend, strategy and the rest.
        target_part: The part, unless `config` names one.
        clock_period_ns: The clock to ask for.

    Raises:
        ToolNotFoundError: hls4ml is missing.
        ConfigError: The part is none of the backend's.
        UnsupportedError: hls4ml cannot do this model in this way, or would get it wrong; the message says why.
        RunError: `directory` holds something else than an HLS project.
    """
    directory, compiler = Path(directory), f"hls4ml {find(config.strategy)}"
    part = part_for(config, target_part)
    how = f"by {compiler}, backend {config.backend}, strategy {config.strategy}, io {config.io}"
    reason = objection(model, config)
    if reason is not None:
        raise UnsupportedError(f"will not write an HLS project of '{model.name}' {how}: {reason}")
    if directory.exists() and any(directory.iterdir()) and not (directory / DESCRIPTION).exists():
        raise RunError(f"will not write an HLS project over {directory}, which holds other files; name another one")
    n_in, n_out = (math.prod(tensor.shape[1:]) for tensor in (model.inputs[0], model.outputs[0]))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        place = Path(scratch) / "project"
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with _names_for_cpp(model) as names:
                    graph = _convert(model, names, place, config, part, clock_period_ns)
                    _write(graph)
                    taps = _taps(graph, model, names)
        except Exception as error:
            layers = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in model.layers)
            raise UnsupportedError(
                f"cannot write an HLS project of '{model.name}' {how}: {type(error).__name__}: {error}; "
                f"its layers are {layers}"
            ) from error
        _make_movable(place)
        atomic.write_text(place / LOG, said.getvalue())
        project = HlsProject(place, config.backend, config.strategy, config.io, part, clock_period_ns, n_in, n_out,
                             compiler)  # fmt: skip
        atomic.write_json(place / DESCRIPTION, {"schema": _SCHEMA, **project.describe(), "taps": taps})
        if directory.exists():
            shutil.rmtree(directory)
        place.rename(directory)
    return HlsProject.open(directory)


@contextlib.contextmanager
def _names_for_cpp(model: keras.Model) -> Iterator[dict[str, str]]:
    """Rename layers while a block runs whose names are none in C++, or taken; yield all names, by the layers' own."""
    names: dict[str, str] = {}
    for own in (layer.name for layer in model.layers):
        new = own if _NAME.fullmatch(own) and own not in _TAKEN else f"layer_{_NOT_IN_NAMES.sub('_', own)}"
        while new in names.values():
            new += "_"
        names[own] = new
    layers = {layer: layer.name for layer in model.layers}
    try:
        for layer, own in layers.items():
            layer.name = names[own]
        yield names
    finally:
        for layer, own in layers.items():
            layer.name = own


def _convert(
    model: keras.Model, names: Mapping[str, str], place: Path, config: HlsConfig, part: str, clock_period_ns: float
) -> Any:
    """Return hls4ml's graph of a model, whose layers have `names`, by those that the configuration knows."""
    from hls4ml.converters import convert_from_keras_model

    correct()
    several = isinstance(config.reuse_factor, dict)
    options: dict[str, Any] = {"smarthls_path": _libero_home()} if config.backend == "libero" else {}
    by_layer = config.reuse_factor if isinstance(config.reuse_factor, dict) else {}
    return convert_from_keras_model(
        model,
        output_dir=str(place),
        project_name=TOP,
        backend=_NAMES[config.backend],
        io_type=f"io_{config.io}",
        part=part,
        clock_period=clock_period_ns,
        hls_config={
            "Model": {
                "Precision": "fixed<16,6>",  # hls4ml asks for one; bit_exact replaces it everywhere
                "ReuseFactor": 1 if several else config.reuse_factor,
                "Strategy": config.strategy,
            },
            "LayerName": {names[name]: {"ReuseFactor": factor} for name, factor in by_layer.items()},
        },
        bit_exact=True,
        allow_da_fallback=False,
        **options,
    )


def _write(graph: Any) -> None:
    """Write the files of hls4ml's graph.

    The description that hls4ml writes beside them is to hold no Keras model: weft has its own, and what hls4ml 1.3 puts
    there for oneAPI is the model of an earlier project. Its wheel lacks a script of the Libero backend, which is the
    last that this step writes and which SmartHLS does not read: its Makefile is there by then.
    """
    graph.config.config["KerasModel"] = None
    writer = graph.config.backend.writer
    written = writer.write_build_script

    def script(one: Any) -> None:
        try:
            written(one)
        except FileNotFoundError as error:
            if graph.config.backend.name != "Libero" or "build_lib.sh" not in str(error):
                raise

    writer.write_build_script = script
    try:
        graph.write()
    finally:
        del writer.write_build_script


def _taps(graph: Any, model: keras.Model, names: Mapping[str, str]) -> list[Tap]:
    """Return where the values of layers are in the C++ of hls4ml's graph of a model, whose layers have their `names`.

    hls4ml makes two layers of one with an activation; the second holds the values. A concatenation is left out: its
    parts may have lost more bits than its own type says, those that the next layer does not read.
    """
    own = {name: layer for layer, name in names.items()}
    activations = {layer.name: getattr(getattr(layer, "activation", None), "__name__", "") for layer in model.layers}
    by_name = {f"{name}_{function}": own[name] for name, function in activations.items()} | own
    outputs = {variable.name for variable in graph.get_output_variables()}
    found: dict[str, Tap] = {}
    for node in graph.get_layers():
        if node.name in by_name and node.class_name != "Concatenate" and node.get_attr("function_cpp"):
            values, layer = node.get_output_variable(), by_name[node.name]
            name = "" if values.name in outputs else values.name
            found[layer] = Tap(layer, name, values.type.name, math.prod(values.shape), str(values.type.precision))
    return list(found.values())


def _libero_home() -> Path:
    found = shutil.which("shls")
    return Path(found).parent.parent if found else Path(_LIBERO_HOME)


def _make_movable(place: Path) -> None:
    """Let the project's own description name its directory from inside."""
    for path in place.glob("*.yml"):
        path.write_text(path.read_text().replace(str(place), "."))
