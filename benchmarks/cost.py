"""How well the adder graph's counts, EBOPs and the learned model tell what synthesis finds; writes docs/calibration.md.

The corpus holds designs that were drawn and designs that were trained, each compiled, written as Verilog and
synthesised by Yosys for UltraScale+ (`weft surrogate build` makes it, about two hours). From it come the errors of the
raw counts by size, and what each predictor says of designs held out: whole families, depths, widths, bits.

    python benchmarks/cost.py [--corpus DIR] [--write]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _measure import emit, machine, put

from weft.cost.learned import Row
from weft.cost.readout import MOST_TABLES, tables
from weft.surrogate.corpus import SHIPPED, Record, read
from weft.surrogate.fit import QUANTITIES, usable, validate

DOCUMENT = Path(__file__).parents[1] / "docs" / "calibration.md"
BEGIN, END = "<!-- written by benchmarks/cost.py -->", "<!-- end of the tables -->"
SIZES = {"50 to 500 LUT": (0, 500), "500 to 2 000 LUT": (500, 2000), "2 000 to 30 000 LUT": (2000, np.inf)}


def by_size(records: Sequence[Record]) -> list[str]:
    """Return the table of the compiler's own counts."""
    from scipy.stats import spearmanr

    lines = [
        "| quantity | designs | n | MAPE | bias | worst | Spearman |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    plain = usable(records)
    trained = [r for r in plain if not r.family.startswith("drawn")]
    groups = {
        "all of additions": plain,
        "of them trained": trained,
        "of these 50 to 10 000 LUT": [r for r in trained if 50 <= r.measured["lut"] <= 10_000],
        "of them drawn": [r for r in plain if r.family.startswith("drawn")],
        **{name: [r for r in plain if low <= r.measured["lut"] < high] for name, (low, high) in SIZES.items()},
        "more than a tenth tables (tanh)": [r for r in records if tables(r.features) > MOST_TABLES],
    }
    for quantity, count in QUANTITIES.items():
        for title, group in groups.items():
            if len(group) < 3:
                continue
            counted = np.array([r.features[count] for r in group])
            found = np.array([r.measured[quantity] for r in group])
            relative, order = counted / found - 1, float(spearmanr(counted, found).statistic)
            lines.append(
                f"| {quantity.upper()} | {title} | {len(group)} | {np.abs(relative).mean():.1%} "
                f"| {relative.mean():+.1%} | {np.abs(relative).max():.1%} | {order:.4f} |"
            )
    return lines


def held_out(table: Sequence[Row]) -> list[str]:
    """Return the table of predictors on designs that were held out."""
    lines = [
        "| quantity | held out | predictor | n | MAPE | median | p90 | worst | Spearman | inside 90 % | half-width |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in table:
        emit(**row.model_dump())
        lines.append(
            f"| {row.quantity.upper()} | {row.split} | `{row.predictor}` | {row.designs} "
            f"| {row.mape:.1%} ± {row.stderr:.1%} | {row.median:.1%} | {row.p90:.1%} | {row.worst:.1%} "
            f"| {row.spearman:.4f} | {row.covered:.1%} | {row.half_width:.1%} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="directory of `weft surrogate build`; by default weft's own corpus")
    parser.add_argument("--write", action="store_true", help="write the tables into the document")
    options = parser.parse_args()
    emit(benchmark="cost", **machine())
    records = read(sorted(options.corpus.glob("*.jsonl")) if options.corpus else [SHIPPED])
    table, better = validate(usable(records))
    enabled = ", ".join(f"`{name}`" for name, is_better in better.items() if is_better) or "nothing"
    text = "\n".join([*by_size(records), "", *held_out(table), "", f"The learned model is enabled for {enabled}."])
    print(text)
    if options.write:
        put(DOCUMENT, BEGIN, END, text)


if __name__ == "__main__":
    main()
