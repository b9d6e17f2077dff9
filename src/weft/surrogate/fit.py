"""Fit the readout to a corpus, and compare it with the other predictors on designs that were held out.

Designs are held out by family, by depth, by width and by bits: a predictor is fitted to all others, and asked about
designs that are unlike them. What the learnt model is enabled for is decided here, by that table, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from weft.cost.calibration import Calibration, Range
from weft.cost.learned import Fitted, Learned, Row, Spread, place
from weft.cost.readout import FEATURES, MOST_TABLES, difficulty, fit, tables, vector
from weft.errors import DataError
from weft.surrogate.corpus import Record

QUANTITIES = {"lut": "solver", "ff": "registers"}
"""What is predicted, and the feature that is the compiler's own count of it."""

SPLITS: dict[str, Callable[[Record], object]] = {
    "family": lambda record: record.family,
    "depth": lambda record: record.depth,
    "width": lambda record: int(np.searchsorted((12, 24, 40), record.width)),
    "bits": lambda record: int(np.searchsorted((1.3, 1.7, 2.2), record.bits)),
}
"""By what designs are held out together."""

FEWEST = 40
"""With fewer designs there is nothing to hold out."""

COVERAGE = 0.9

Predict = Callable[[Record], Range]
Predictor = Callable[[Sequence[Record], str], Predict]


def train(records: Sequence[Record]) -> Learned:
    """Fit the readout of each quantity, and decide by validation which of them are enabled.

    Raises:
        DataError: The corpus is too small, or of several versions of the tools.
    """
    records = usable(records)
    table, better = validate(records)
    counted = np.array([vector(record.features) for record in records])
    known = [column.any() for column in counted.T]
    quantities = {}
    for quantity in QUANTITIES:
        weights = fit(counted, _measured(records, quantity), quantity)
        quantities[quantity] = Fitted(
            enabled=better[quantity],
            weights={name: float(w) for name, w, seen in zip(FEATURES, weights, known, strict=True) if seen},
            spread=_errors(records, quantity),
            count=_line(records, quantity),
        )
    return Learned(
        tools=records[0].tools,
        designs=len(records),
        quantities=quantities,
        domain=[place(row).round(4).tolist() for row in counted],
        table=table,
    )


def usable(records: Sequence[Record]) -> list[Record]:
    """Return the designs that are mainly additions and of whose sizes none is 0: errors are relative.

    Raises:
        DataError: They are too few, or of several versions of the tools.
    """
    found = [record for record in records if tables(record.features) <= MOST_TABLES and min(_sizes(record)) > 0]
    if len(found) < FEWEST:
        raise DataError(
            f"the corpus has {len(found)} designs of additions with LUT and registers, and {FEWEST} are needed; make "
            "more by `weft surrogate build`"
        )
    tools = {tuple(sorted(record.tools.items())) for record in found}
    if len(tools) > 1:
        raise DataError(f"the corpus was made by several versions of the tools, {sorted(tools)}; build it anew")
    return found


def _sizes(record: Record) -> list[float]:
    counted = [record.features[name] for name in QUANTITIES.values()]
    return [record.ebops, *counted, *(record.measured[name] for name in QUANTITIES)]


def validate(records: Sequence[Record]) -> tuple[list[Row], dict[str, bool]]:
    """Hold designs out, and return how each predictor did, and for which quantities the learnt one is the best.

    It is the best where, on every split, its mean error is below that of each other by more than the standard error of
    the difference.
    """
    table, better = [], {}
    for quantity in QUANTITIES:
        better[quantity] = True
        for split, group_of in SPLITS.items():
            errors = {}
            for name, predictor in PREDICTORS.items():
                found = _predictions(records, quantity, group_of, predictor)
                errors[name] = np.abs(np.array([one.value for one in found]) / _measured(records, quantity) - 1)
                table.append(_row(quantity, split, name, found, _measured(records, quantity)))
            for name in errors.keys() - {"learned"}:
                gain = errors[name] - errors["learned"]
                better[quantity] &= bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
    return table, better


def ebops(records: Sequence[Record], quantity: str) -> Predict:
    """Fit a line in the logarithms through live EBOPs."""
    line = Calibration.of((record.ebops, record.measured[quantity]) for record in records)
    return lambda record: line.range(record.ebops, COVERAGE)


def adder_graph(records: Sequence[Record], quantity: str) -> Predict:
    """Take the compiler's own count, and fit its interval only."""
    counts, line = QUANTITIES[quantity], _line(records, quantity)

    def predict(record: Record) -> Range:
        found = line.range(record.features[counts], difficulty(record.features), COVERAGE)
        return found._replace(value=record.features[counts])

    return predict


def learned(records: Sequence[Record], quantity: str) -> Predict:
    """Fit the readout; its interval is that of designs that were held out among those given."""
    weights = _weights(records, quantity)
    spread = _errors(records, quantity)

    def predict(record: Record) -> Range:
        return spread.range(float(vector(record.features) @ weights), difficulty(record.features), COVERAGE)

    return predict


PREDICTORS: dict[str, Predictor] = {
    "ebops": ebops,
    "adder_graph": adder_graph,
    "learned": learned,
}


def _line(records: Sequence[Record], quantity: str) -> Spread:
    """Return the map from the compiler's own count to what synthesis found."""
    measured = _measured(records, quantity)
    counts = np.array([record.features[QUANTITIES[quantity]] for record in records])
    line = Calibration.of(zip(counts, measured, strict=True))
    errors = np.log(measured) - line.slope * np.log(counts) - line.offset
    return Spread.of(errors, _difficulties(records), line.slope, line.offset)


def _errors(records: Sequence[Record], quantity: str) -> Spread:
    """Return the errors of the readout on families that were held out; on single designs where there is one family."""
    predicted = np.empty(len(records))
    families = _groups(records, SPLITS["family"])
    for inside in families if len(families) > 1 else np.eye(len(records), dtype=bool):
        weights = _weights([record for record, held in zip(records, inside, strict=True) if not held], quantity)
        for i in np.flatnonzero(inside).tolist():
            predicted[i] = max(vector(records[i].features) @ weights, 1.0)
    return Spread.of(np.log(_measured(records, quantity) / predicted), _difficulties(records))


def _predictions(
    records: Sequence[Record], quantity: str, group_of: Callable[[Record], object], predictor: Predictor
) -> list[Range]:
    found: dict[int, Range] = {}
    for inside in _groups(records, group_of):
        predict = predictor([record for record, held in zip(records, inside, strict=True) if not held], quantity)
        found.update((i, predict(records[i])) for i in np.flatnonzero(inside).tolist())
    return [found[i] for i in range(len(records))]


def _groups(records: Sequence[Record], group_of: Callable[[Record], object]) -> list[NDArray[np.bool_]]:
    groups = [group_of(record) for record in records]
    return [np.array([one == group for one in groups]) for group in dict.fromkeys(groups)]


def _weights(records: Sequence[Record], quantity: str) -> NDArray[np.float64]:
    return fit(np.array([vector(record.features) for record in records]), _measured(records, quantity), quantity)


def _difficulties(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([difficulty(record.features) for record in records])


def _measured(records: Sequence[Record], quantity: str) -> NDArray[np.float64]:
    return np.array([record.measured[quantity] for record in records])


def _row(quantity: str, split: str, predictor: str, found: Sequence[Range], measured: NDArray[np.float64]) -> Row:
    from scipy.stats import spearmanr

    values = np.array([one.value for one in found])
    errors = np.abs(values / measured - 1)
    ranges = [(one.low, m, one.high) for one, m in zip(found, measured, strict=True)]
    known = [(low, m, high) for low, m, high in ranges if low is not None and high is not None]
    inside = [low <= m <= high for low, m, high in known]
    widths = [(high - low) / (high + low) for low, _, high in known]
    return Row(
        quantity=quantity,
        split=split,
        predictor=predictor,
        designs=len(values),
        mape=float(errors.mean()),
        stderr=float(errors.std(ddof=1) / np.sqrt(len(errors))),
        median=float(np.median(errors)),
        p90=float(np.quantile(errors, 0.9)),
        worst=float(errors.max()),
        spearman=float(spearmanr(values, measured).statistic),
        covered=float(np.mean(inside)) if inside else float("nan"),
        half_width=float(np.median(widths)) if widths else float("nan"),
    )
