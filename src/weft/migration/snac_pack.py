"""SNAC-Pack's search configuration (github.com/fastmachinelearning/nac-opt) as an experiment.

Its files have no schema: the keys are those of its tutorials and of `utils/search_pipeline.py`. What its code fixes and
its files do not say (Adam at 1e-3, batches of 128, two convolutions a block, three dense layers at the end) is written
out. Source: Weitz et al., "SNAC-Pack", arXiv:2605.16138.
"""

from __future__ import annotations

from typing import Any

from weft.blocks import BLOCKS
from weft.config.parts import part_name
from weft.errors import ConfigError
from weft.migration._source import Source

KEYS = ("dataset", "search", "search_space", "hls_config", "local_search", "synthesis")

Raw = dict[str, Any]

_OPENML = {"hls4ml_jets": 42468, "mnist": 554, "fashion_mnist": 40996}
_IMAGES = {"mnist": [28, 28, 1], "fashion_mnist": [28, 28, 1]}
_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "leakyrelu": "leaky_relu", "none": "none"}
_OBJECTIVES = {
    "bops": "bops",
    "avg_resource": "avg_resource",
    "clock_cycles": "latency_cycles",
    "lut_pct": "lut_fraction",
    "ff_pct": "ff_fraction",
    "dsp_pct": "dsp_fraction",
    "bram_pct": "bram_fraction",
}
_MOST_BITS = 24
_TRACE = 770


def convert(source: Source, own_data: bool) -> Raw:
    """Return the experiment as a raw mapping; with data of the user's own its section lacks them."""
    named = source.take("dataset", "name")
    made: Raw = {"name": f"snac-{named or 'search'}".replace("_", "-"), "data": _data(source, named, own_data)}
    made["space"] = _space(source, made["data"], named)
    made["search"] = _search(source, made["data"], named)
    made["select"] = _select(source)
    made["compress"] = _local_search(source, named)
    made["target"] = _target(source)
    hls = _hls(source, made["space"])
    made["firmware"] = {"hls": hls} if hls else {"synth": "yosys"}
    source.lose("'weft run --out' names the directory of a run", "output", "results_dir")
    source.lose("every precision becomes a design", "synthesis", "total_bits")
    source.lose("every precision becomes a design", "synthesis", "int_bits")
    source.lose("HLS projects stand in the run directory", "synthesis", "hls_output_dir")
    return made


def _data(source: Source, name: str | None, own: bool) -> Raw:
    data: Raw = {}
    if own:
        for key in ("data_dir", "start_location", "window_size"):
            source.lose("the data are those of --data", "dataset", key)
    elif name in _OPENML:
        data = {"openml": _OPENML[name]}
    elif name == "qubit" or source.has("search_space", "window_size_space"):
        data = {"name": "qubit-readout"}
        source.lose("weft's qubit-readout is simulated; give your traces with --data", "dataset", "data_dir")
        start = source.take("dataset", "start_location", default=100)
        length = source.take("dataset", "window_size", default=400)
        searched = source.has("search_space", "window_size_space")
        data["window"] = {"start": 0, "length": _TRACE} if searched else {"start": start, "length": length}
    else:
        if name is None:
            raise ConfigError("the file names no data set (dataset.name); give your file with --data")
        raise ConfigError(f"dataset.name: weft has no data set '{name}'; give your file with --data")
    if source.has("dataset", "subset_size"):
        rows = source.take("dataset", "subset_size")
        if rows is not None:
            data["rows"] = {"train": rows}
    if source.has("dataset", "val_subset_size"):
        data.setdefault("rows", {})["validation"] = source.take("dataset", "val_subset_size")
    if source.take("dataset", "normalize") is False:
        data["scale"] = "none"
    source.lose("weft reads images as they are", "dataset", "resize_val")
    source.lose("weft reads images as they are", "search_space", "initial_img_size")
    for key in ("flatten", "one_hot", "num_classes"):
        source.take("dataset", key)  # follows from the data
    folds = source.take("search", "n_folds", default=1)
    if folds and folds > 1:
        data["folds"] = folds
    return data


def _space(source: Source, data: Raw, name: str | None) -> Raw:
    kind = source.take("search", "model_type", default="block")
    widths = source.take("search_space", "mlp_width_space", default=[16, 32, 64])
    shared: Raw = {"activation": _activations(source), "normalization": _normalizations(source)}

    def mlp(depth: int | list[int]) -> Raw:
        return {"type": "mlp", "depth": depth, "units": widths, **shared}

    blocks: list[Raw] = []
    if source.has("search_space", "window_size_space"):
        start = source.take("search_space", "start_location_space", default=[0])
        blocks.append({"type": "window", "start": start, "length": source.take("search_space", "window_size_space")})
    depths = source.take("search_space", "mlp_num_layers_space", default=[2, 3, 4, 5])
    head = source.take("search_space", "mlp_head_num_layers", default=3)
    types = source.take("search_space", "block_types", default=["MLP"])
    places = source.take("search_space", "num_blocks", default=1)
    channels, kernels, hidden = (
        source.take(*path, default=default)
        for path, default in (
            (("search_space", "channel_space"), [4, 8]),
            (("search_space", "kernel_space"), [3]),
            (("search_space", "conv_attn", "hidden_channel_space"), [4]),
        )
    )
    for key in ("output_dim", "output_activation"):
        source.take("search_space", key)  # follows from the data; the softmax is cut, see docs/firmware.md
    if kind == "mlp":
        blocks.append(mlp(depths))
    else:
        options: dict[str, Raw] = {
            "Conv": {"type": "conv2d", "depth": 2, "filters": channels, "kernel": kernels, "pool": 1, **shared},
            "ConvAttn": {"type": "conv_attention", "filters": channels, "kernel": kernels, "hidden": hidden, **shared},
            "MLP": mlp(2),
            "None": {"type": "skip"},
        }
        unknown = [str(one) for one in types if str(one) not in options]
        if unknown:
            source.lost.append(f"search_space.block_types = {', '.join(unknown)}: weft has no such block")
        place = [options[str(one)] for one in types if str(one) in options]
        if any(one["type"].startswith("conv") for one in place) and name in _IMAGES:
            blocks.append({"type": "reshape", "shape": _IMAGES[name]})
        if [one["type"] for one in place] != ["skip"]:
            blocks += [place[0] if len(place) == 1 else {"one_of": place} for _ in range(places)]
        blocks.append(mlp(max(1, head - 1)))
        source.note(f"the {head} dense layers of the head are a last mlp, its last layer being the network's output")
    source.note(
        "quantization: trained in float and costed at 8 bits, as SNAC-Pack's search is at 32; hgq trains widths"
    )
    return {
        "blocks": blocks,
        "optimizer": {"learning_rate": 1e-3},
        "quantization": {"mode": "float", "cost_bits": 8},
    }


def _activations(source: Source) -> list[str]:
    found: list[str] = []
    for one in source.take("search_space", "act_space", default=["ReLU"]):
        known = _ACTIVATIONS.get(str(one).lower().replace("_", ""))
        if known is None:
            source.lost.append(f"search_space.act_space = {one}: weft has no such activation")
        else:
            found.append(known)
    return list(dict.fromkeys(found)) or ["relu"]


def _normalizations(source: Source) -> list[str]:
    found: list[str] = []
    for one in source.take("search_space", "norm_space", default=[None]):
        if one in (None, "None", "none", "batch"):
            found.append("batch" if one == "batch" else "none")
        else:
            source.lost.append(f"search_space.norm_space = {one}: weft has no such normalisation")
    return list(dict.fromkeys(found)) or ["none"]


def _search(source: Source, data: Raw, name: str | None) -> Raw:
    metric = "fidelity" if data.get("name") == "qubit-readout" else "accuracy"
    names = source.take("search", "objective_names", default=["performance_metric", "bops"])
    flags = source.take("search", "maximize_flags", default=[])
    objectives: list[str] = []
    for i, one in enumerate(names):
        known = metric if one in ("performance_metric", "accuracy") else _OBJECTIVES.get(one)
        if known is None:
            source.lost.append(f"search.objective_names = {one}: weft has no such objective")
            continue
        objectives.append(known)
        if i < len(flags) and bool(flags[i]) != (known == metric):
            source.lost.append(f"search.maximize_flags = {flags[i]} for {one}: weft knows the direction of {known}")
    source.take("search", "use_hardware_metrics")  # what is asked for as an objective is estimated
    if "bops" in objectives:
        source.note("bops: SNAC-Pack means three different things by it; weft's are those of arXiv:2102.11289")
    if "latency_cycles" in objectives or "avg_resource" in objectives:
        source.note("hardware: estimates are of the adder graph of each network, and not rule4ml's")
    trials = source.take("search", "n_trials", default=100)
    source.note("population: 20, as the paper has it; the code has 50, Optuna's default")
    search: Raw = {
        "sampler": "nsga2",
        "trials": trials,
        "population": max(2, min(20, trials)),
        "epochs": source.take("search", "epochs", default=5),
        "batch_size": 128,
        "objectives": objectives or [metric, "bops"],
    }
    if metric == "fidelity":
        search["metric"] = metric
    return search


def _select(source: Source) -> Raw:
    select: Raw = {"rule": "best_metric", "count": 1}
    bounds: Raw = {}
    for key, name in (("latency_budget", "latency_cycles"), ("resource_budget", "avg_resource")):
        value = source.take("search", "selection", key)
        if value is not None:
            bounds[name] = f"<= {value:g}"
    return {**select, "constraints": bounds} if bounds else select


def _local_search(source: Source, name: str | None) -> Raw:
    if not source.has("local_search"):
        return {"recipe": "none"}
    precisions: list[Raw] = []
    for pair in source.take("local_search", "precision_pairs", default=[{"total_bits": 8, "int_bits": 3}]):
        total, whole = pair["total_bits"], pair["int_bits"]
        if total > _MOST_BITS:
            source.lost.append(f"local_search.precision_pairs = {pair}: weft's numbers have up to {_MOST_BITS} bits")
            continue
        precisions.append({"total_bits": total, "integer_bits": min(whole + 1, total)})
    source.note(
        "integer_bits: one more than int_bits, since weft counts the sign, as ap_fixed does, and QKeras does not"
    )
    keep = source.take("local_search", "pruning_rate", default=0.8)
    source.note(f"fraction: {1 - keep:.4g} is removed in a round; pruning_rate = {keep} is what is kept")
    source.note("warm_start: weights of the search are kept; SNAC-Pack begins anew (warm_start: false does so)")
    compress: Raw = {
        "recipe": "imp",
        "precisions": precisions or [{"total_bits": 8}],
        "warmup_epochs": source.take("local_search", "qat_epochs", default=5),
        "rounds": source.take("local_search", "pruning_iterations", default=10),
        "epochs": source.take("local_search", "pruning_epochs", default=10),
        "fraction": round(1 - keep, 6),
        "batch_size": 128,
        "learning_rate": 1e-3,
    }
    if name == "qubit":
        compress["metric"] = "fidelity"
    return compress


def _target(source: Source) -> Raw:
    board = source.take("hls_config", "board")
    if board is None:
        return {"part": "xcvu13p-flga2577-2-e", "clock_period_ns": 5.0}
    source.note(f"part: that of the board {board}; SNAC-Pack writes its HLS project for the VU13P whatever the board")
    return {"part": part_name(board), "clock_period_ns": 5.0}


def _hls(source: Source, space: Raw) -> Raw | None:
    source.lose("every layer has its own, learnt or given formats", "hls_config", "model", "precision")
    reuse = source.take("hls_config", "model", "reuse_factor")
    strategy = source.take("hls_config", "model", "strategy")
    if reuse is None and strategy is None:
        return None
    slots = [slot.get("one_of", [slot]) for slot in space["blocks"]]
    alien = {block["type"] for blocks in slots for block in blocks if BLOCKS[block["type"]].no_hls}
    if alien:
        names = " and ".join(sorted(alien))
        source.lost.append(f"hls_config.model = {strategy}, reuse factor {reuse}: {names} becomes Verilog, and no HLS")
        return None
    return {"backend": "vivado", "strategy": str(strategy or "latency").lower(), "reuse_factor": reuse or 1}
