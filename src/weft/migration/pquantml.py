"""PQuantML's configuration (github.com/cern-nextgen/PQuantML, 0.1) as section `compress`, and `tune` where it has one.

Its formats are (k, i, f): sign bit, integer bits without the sign, fractional bits. weft counts the sign in both, as
`ap_fixed` does: total_bits = k + i + f, integer_bits = k + i. Source: Niemi et al., "PQuantML", arXiv:2603.26595.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from weft.migration._source import Source

KEYS = (
    "pruning_parameters",
    "quantization_parameters",
    "training_parameters",
    "fitcompress_parameters",
    "hpo_parameters",
)

Raw = dict[str, Any]

_SHARES = {"layerwise": "tensor", "channelwise": "row", "weightwise": "weight"}
_GRANULARITY = {"per_tensor": "tensor", "per_channel": "channel", "per_weight": "weight"}
_REWIND = {"never": "never", "every-round": "every_round", "post-training-stage": "after_training"}
_METRICS = {
    "UnstructuredSparsity": "unstructured",
    "StructuredSparsity": "structured",
    "PACAPatternSparsity": "paca",
    "PACAPattern": "paca",
}
_CONSTRAINTS = {"Equality": "equal", "LessThanOrEqual": "less", "GreaterThanOrEqual": "greater"}
_FIELDS: dict[str, dict[str, str]] = {
    "ap": {"threshold": "threshold", "t_delta": "t_delta", "t_start_collecting_batch": "t_start"},
    "autosparse": {"alpha": "alpha", "alpha_reset_epoch": "alpha_reset_epoch", "threshold_init": "threshold_init"},
    "cs": {"final_temp": "final_temperature", "threshold_init": "mask_init", "threshold_decay": "l1"},
    "dst": {"alpha": "alpha", "max_pruning_pct": "max_pruned"},
    "mdmm": {"target_sparsity": "sparsity", "damping": "damping", "constraint_lr": "constraint_lr"},
    "pdp": {"sparsity": "sparsity", "epsilon": "epsilon", "temperature": "temperature"},
    "wanda": {"sparsity": "sparsity", "t_delta": "t_delta", "t_start_collecting_batch": "t_start"},
}
"""By method: its parameters that are the same thing under another name."""

_TUNED = {
    "learning_rate": "compress.learning_rate",
    "batch_size": "compress.batch_size",
    "epochs": "compress.epochs",
    "fine_tuning_epochs": "compress.finetune_epochs",
    "pretraining_epochs": "compress.pretrain_epochs",
    "sparsity": "compress.prune.sparsity",
    "target_sparsity": "compress.prune.sparsity",
    "alpha": "compress.prune.alpha",
    "threshold": "compress.prune.threshold",
    "hgq_beta": "compress.beta",
    "hgq_gamma": "compress.gamma",
}
_SAMPLERS = {
    "RandomSampler": "random", "GridSampler": "grid", "TPESampler": "tpe", "CmaEsSampler": "cmaes",
    "NSGAIISampler": "nsga2", "NSGAIIISampler": "nsga3", "GPSampler": "gp", "QMCSampler": "qmc",
}  # fmt: skip


def convert(source: Source, own_data: bool) -> Raw:
    """Return the section `compress`, the name, and `tune` where parameters are searched; it names no data."""
    fit = source.take("fitcompress_parameters", "enable_fitcompress", default=False)
    compress: Raw
    if fit:
        compress = {"recipe": "fitcompress", "search": _fitcompress(source)}
        source.take("pruning_parameters", "pruning_method")
        if skip := source.take("pruning_parameters", "disable_pruning_for_layers"):
            compress["search"]["skip"] = skip
        source.take("pruning_parameters", "enable_pruning")
        _quantization(source, compress, searched=True)
    else:
        source.take("fitcompress_parameters")  # switched off
        compress = _quantization(source, {}, searched=False)
        prune = _pruning(source)
        if prune:
            compress["prune"] = prune
    _training(source, compress)
    made: Raw = {"compress": compress}
    name = source.take("hpo_parameters", "model_name")
    if name:
        made["name"] = str(name).replace("_", "-").replace(" ", "-")
    source.lose("'weft run --out' names a run", "hpo_parameters", "experiment_name")
    tune = _tune(source)
    if tune:
        made["tune"] = tune
    return made


def _format(source: Source, kind: str) -> tuple[int, int]:
    """Return the width and the integer bits of the default format of weights or data, both with the sign."""
    k, i, f = (
        round(source.take("quantization_parameters", f"default_{kind}_{part}", default=default))
        for part, default in (("keep_negatives", int(kind == "weight")), ("integer_bits", 0), ("fractional_bits", 7))
    )
    return k + i + f, k + i


def _quantization(source: Source, compress: Raw, searched: bool) -> Raw:
    section = "quantization_parameters"
    width, whole = _format(source, "weight")
    data_width, _ = _format(source, "data")
    granularity = source.take(section, "granularity", default="per_tensor")
    learned = source.take(section, "use_high_granularity_quantization", default=False)
    beta, gamma = source.take(section, "hgq_beta", default=1e-5), source.take(section, "hgq_gamma", default=3e-4)
    source.take(section, "hgq_heterogeneous")  # read by no code of PQuantML
    source.take(section, "dynamic_data_quantization")
    known = _GRANULARITY.get(granularity)
    if known is None:
        source.lost.append(f"{section}.granularity = {granularity}: it is none of {', '.join(_GRANULARITY)}")
        known = "tensor"
    if searched:
        compress["granularity"] = known
    elif learned:
        compress.update(recipe="hgq", beta=beta, gamma=gamma, bits0=max(1, min(12, width - 1)))
        source.note(f"{section}.granularity = {granularity}: with learned widths weft has one width a weight")
    else:
        precision: Raw = {"total_bits": width}
        if known == "tensor":
            precision["integer_bits"] = whole
        compress.update(recipe="fixed", precisions=[precision], granularity=known)
    source.note("activations: their range is fitted to the data; PQuantML's default is unsigned, in [0, 1)")
    rules: Raw = {}
    if not learned and not searched:
        compress["io_bits"] = data_width
        weight, values = _modes(source, "parameters"), _modes(source, "data")
        if data_width != width:
            values["bits"] = data_width
        if source.take(section, "quantize_output", default=False):
            rules["output"] = {"bits": data_width}
        rules = {**({"weight": weight} if weight else {}), **({"input": values} if values else {}), **rules}
    else:
        for key in ("overflow_mode_parameters", "overflow_mode_data", "round_mode"):
            source.lose("learned and searched widths have modes of their own", section, key)
        if source.take(section, "use_symmetric_quantization"):
            source.lost.append(f"{section}.use_symmetric_quantization: learned and searched widths have their own")
        source.take(section, "quantize_output")
    source.take(section, "round_mode")
    layers = _layers(source)
    if rules:
        layers = {"*": rules, **layers}
    if layers and not searched:
        compress["layers"] = layers
    if source.take(section, "quantize_input", default=True) is False:
        source.lost.append(
            f"{section}.quantize_input = False: every input of a layer is quantised, or it is no firmware"
        )
    if source.take(section, "enable_quantization", default=True) is False:
        source.lost.append(f"{section}.enable_quantization = False: every recipe ends in fixed point")
    if source.take(section, "use_real_tanh", default=False) is False:
        source.note("tanh: computed by a table; PQuantML's default is straight lines: layers.NAME.hard: true has them")
    if source.take(section, "use_relu_multiplier", default=False):
        source.note("use_relu_multiplier: set layers.NAME.multiplier: true at each ReLU")
    return compress


def _modes(source: Source, kind: str) -> Raw:
    """Return the overflow mode of parameters or data, and the rounding, where they are given."""
    section = "quantization_parameters"
    overflow, rounding = source.take(section, f"overflow_mode_{kind}"), source.take(section, "round_mode")
    symmetric = source.take(section, "use_symmetric_quantization", default=False)
    found: Raw = {}
    if overflow:
        found["overflow_mode"] = "SAT_SYM" if symmetric and overflow == "SAT" else overflow
    if rounding:
        found["round_mode"] = rounding
    return found


def _layers(source: Source) -> Raw:
    section = "quantization_parameters"
    found: Raw = {}
    given: dict[str, dict[str, Any]] = source.take(section, "layer_specific") or {}
    for name, settings in given.items():
        mine: Raw = {}
        parts: dict[str, Raw] = {key: value for key, value in settings.items() if isinstance(value, dict)}
        flat = {key: value for key, value in settings.items() if key not in parts}
        if {"integer_bits", "fractional_bits"} <= flat.keys():
            parts["weight"] = {key: flat.pop(key) for key in ("integer_bits", "fractional_bits")}
        for part, one in parts.items():
            where = f"{section}.layer_specific.{name}.{part}"
            if part not in ("weight", "bias", "input", "output") or one.get("quantize", True) is False:
                source.lost.append(f"{where} = {dict(one)}: weft quantises weight, bias, input and output, always")
                continue
            k = round(one.get("keep_negatives", 1))
            i, f = round(one.get("integer_bits", 0)), round(one.get("fractional_bits", 7))
            mine[part] = {"bits": k + i + f, "integer_bits": k + i, "signed": bool(k)}
            extra = set(one) - {"keep_negatives", "integer_bits", "fractional_bits", "quantize"}
            source.lost += [f"{where}.{key} = {one[key]}: weft has no such setting" for key in sorted(extra)]
        source.lost += [
            f"{section}.layer_specific.{name}.{key} = {v}: weft has no such setting" for key, v in flat.items()
        ]
        if mine:
            found[name] = mine
    if found:
        source.note("layers: names are those of PQuantML's model; 'weft init-layers MODEL' lists yours")
    return found


def _pruning(source: Source) -> Raw | None:
    section = "pruning_parameters"
    method = source.take(section, "pruning_method")
    enabled = source.take(section, "enable_pruning", default=True)
    skip = source.take(section, "disable_pruning_for_layers", default=[])
    if not enabled or method is None:
        source.take(section)
        return None
    if method not in _FIELDS:
        source.lost.append(f"{section}.pruning_method = {method}: weft has no such method here")
        source.take(section)
        return None
    prune: Raw = {"method": method}
    for theirs, mine in _FIELDS[method].items():
        if (value := source.take(section, theirs)) is not None:
            prune[mine] = value
    if skip:
        prune["skip"] = skip
    if method in ("autosparse", "dst"):
        kind = source.take(section, "threshold_type")
        if kind in _SHARES:
            prune["granularity"] = _SHARES[kind]
        elif kind is not None:
            source.lost.append(f"{section}.threshold_type = {kind}: it is none of {', '.join(_SHARES)}")
    if method != "cs":
        source.take(section, "threshold_decay")  # PQuantML reads it for cs alone
    if method == "dst":
        source.take(section, "threshold_init")  # PQuantML does not read it
    if method == "autosparse":
        source.take(section, "autotune_epochs")  # PQuantML does not read it
    if method in ("ap", "wanda") and "t_start" in prune:
        source.note(f"prune.t_start = {prune['t_start']}: batches; PQuantML counts epochs, contrary to its name")
    if method == "mdmm":
        _mdmm(source, prune)
    if method in ("pdp", "wanda"):
        _groups(source, prune)
    return prune


def _mdmm(source: Source, prune: Raw) -> None:
    section = "pruning_parameters"
    metric = source.take(section, "metric_type", default="UnstructuredSparsity")
    if metric == "FPGAAwareSparsity":
        prune["metric"] = str(source.take(section, "target_resource", default="DSP")).lower()
        prune["reuse_factor"] = source.take(section, "rf", default=1)
        width = source.take(section, "precision", default=16)
        source.take(section, "bram_width")
        if prune["metric"] == "bram":
            prune["weight_bits"] = width
    elif metric in _METRICS:
        prune["metric"] = _METRICS[metric]
        if prune["metric"] == "unstructured":
            source.take(section, "rf")
        if prune["metric"] == "paca":
            prune["patterns"] = source.take(section, "num_patterns_to_keep", default=16)
    else:
        source.lost.append(f"{section}.metric_type = {metric}: it is none of {', '.join(_METRICS)}")
    kind = source.take(section, "constraint_type", default="Equality")
    if kind in _CONSTRAINTS:
        prune["constraint"] = _CONSTRAINTS[kind]
    else:
        source.lost.append(f"{section}.constraint_type = {kind}: it is none of {', '.join(_CONSTRAINTS)}")
    if not source.take(section, "target_value"):
        source.take(section, "target_value")
    source.lose("weft measures what counts as zero against each kernel's magnitude", section, "epsilon")
    source.lose("weft scales the constraint by itself", section, "scale")
    source.lose("weft's multipliers follow their own learning rate", section, "use_grad")


def _groups(source: Source, prune: Raw) -> None:
    section = "pruning_parameters"
    removed, of = source.take(section, "N"), source.take(section, "M")
    if removed and of:
        prune.pop("sparsity", None)
        prune["n"], prune["m"] = of - removed, of
        source.note(f"prune.n = {of - removed}: what is kept of {of}; PQuantML removes N = {removed}")
    if prune["method"] == "pdp":
        if source.take(section, "structured_pruning", default=False):
            prune["granularity"] = "row"
    else:
        whole = source.take(section, "calculate_pruning_budget", default=True)
        prune["budget"] = "global" if whole and "n" not in prune else "uniform"


def _fitcompress(source: Source) -> Raw:
    section = "fitcompress_parameters"
    goal = source.take(section, "compression_goal", default=0.1)
    source.note(f"goal.bops_ratio = {goal}: of bit operations, as the paper has it; the code compares bytes of weights")
    widths = [round(bits) + 1 for bits in source.take(section, "quantization_schedule", default=[7, 4, 3, 2])]
    source.note("weight_bits: one more than quantization_schedule, since weft counts the sign")
    search: Raw = {"goal": {"bops_ratio": goal}, "weight_bits": [bits for bits in widths if bits >= 2]}
    if not source.take(section, "optimize_quantization", default=True):
        search["weight_bits"] = search["weight_bits"][:1]
    start = source.take(section, "pruning_schedule", "start", default=0)
    end = source.take(section, "pruning_schedule", "end", default=-3)
    steps = source.take(section, "pruning_schedule", "steps", default=40)
    if start:
        source.lost.append(f"{section}.pruning_schedule.start = {start}: weft's sparsity begins with 0")
    search["max_sparsity"] = round(1 - 10.0**end, 6)
    search["sparsity_steps"] = max(1, steps - 1)
    if not source.take(section, "optimize_pruning", default=False):
        search["max_sparsity"] = 0.0
    search["heuristic"] = float(source.take(section, "f_lambda", default=1))
    search["approximate"] = source.take(section, "approximate", default=True)
    if source.take(section, "greedy_astar", default=True):
        search["keep"] = 1
    source.take("pruning_parameters", "min_frac_bits")  # PQuantML does not read it
    source.take("pruning_parameters", "threshold_decay")
    return search


def _training(source: Source, compress: Raw) -> None:
    section = "training_parameters"
    fit = compress["recipe"] == "fitcompress"
    compress["epochs"] = source.take(section, "epochs", default=200)
    compress["pretrain_epochs"] = source.take(section, "pretraining_epochs", default=50)
    if fit:
        source.take(section, "pruning_first")
        for key, usual in (("fine_tuning_epochs", 0), ("rounds", 1), ("rewind", "never"), ("save_weights_epoch", -1)):
            if source.take(section, key, default=usual) not in (usual, None):
                source.lost.append(f"{section}.{key}: FITCompress trains once, with its widths and masks fixed")
    else:
        compress["finetune_epochs"] = source.take(section, "fine_tuning_epochs", default=0)
        compress["prune_first"] = source.take(section, "pruning_first", default=False)
        _rounds(source, compress)
    if (size := source.take(section, "batch_size")) is not None:
        compress["batch_size"] = size
    if (rate := source.take(section, "learning_rate")) is not None:
        compress["learning_rate"] = rate
    schedule = source.take(section, "lr_schedule")
    if schedule == "cosine":
        compress["schedule"] = "cosine"
        source.take(section, "cosine_tmax")
    elif schedule is not None:
        source.lost.append(f"{section}.lr_schedule = {schedule}: weft has constant, cosine, restarts and plateau")
    optimizer = source.take(section, "optimizer")
    if str(optimizer).lower() in ("sgd", "adam"):
        compress["optimizer"] = {"name": str(optimizer).lower()}
        momentum = source.take(section, "momentum")
        if compress["optimizer"]["name"] == "sgd" and momentum is not None:
            compress["optimizer"]["momentum"] = momentum
    elif optimizer is not None:
        source.lost.append(f"{section}.optimizer = {optimizer}: weft has adam and sgd")


def _rounds(source: Source, compress: Raw) -> None:
    section = "training_parameters"
    rounds = source.take(section, "rounds", default=1)
    rewind = source.take(section, "rewind", default="never")
    save = source.take(section, "save_weights_epoch", default=-1)
    if rounds > 1 and "prune" not in compress:
        source.lost.append(f"{section}.rounds = {rounds}: without pruning all rounds are alike")
        rounds = 1
    compress["rounds"] = rounds
    if rewind not in _REWIND:
        source.lost.append(f"{section}.rewind = {rewind}: it is none of {', '.join(_REWIND)}")
    elif compress["recipe"] == "hgq" and _REWIND[rewind] == "after_training":
        source.lost.append(f"{section}.rewind = {rewind}: learned widths would go back to where they began")
    else:
        compress["rewind"] = _REWIND[rewind]
        if rewind != "never" and save >= 0:
            compress["save_epoch"] = save
    if rewind == "never" and save > 0:
        source.note(f"{section}.save_weights_epoch = {save} says nothing where nothing rewinds")


def _tune(source: Source) -> Raw | None:
    numbers: Raw = source.take("hpo_parameters", "hyperparameter_search", "numerical") or {}
    words: Raw = source.take("hpo_parameters", "hyperparameter_search", "categorical") or {}
    sampler = source.take("hpo_parameters", "sampler", "type", default="TPESampler")
    trials = source.take("hpo_parameters", "num_trials", default=0)
    source.lose("weft's samplers have their usual settings", "hpo_parameters", "sampler", "params")
    parameters: Raw = {}
    for name, given in cast("Mapping[str, list[Any]]", {**numbers, **words}).items():
        path = _TUNED.get(name)
        if path is None:
            source.lost.append(
                f"hpo_parameters.hyperparameter_search.{name} = {given}: tune.parameters has no such path"
            )
        elif name in words:
            parameters[path] = list(given)
        else:
            low, high, *step = given
            parameters[path] = {"low": low, "high": high, **({"step": step[0]} if step and step[0] else {})}
    if not parameters:
        return None
    if sampler not in _SAMPLERS:
        source.lost.append(f"hpo_parameters.sampler.type = {sampler}: it is none of {', '.join(_SAMPLERS)}")
    return {"sampler": _SAMPLERS.get(sampler, "tpe"), "trials": max(1, trials), "parameters": parameters}
