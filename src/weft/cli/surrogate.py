"""`weft surrogate`: estimators that are learnt, what they learn from, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli._app import Json, app, command, print_json

if TYPE_CHECKING:
    from weft.cost.learned import Row
    from weft.surrogate.corpus import Record

group = typer.Typer(no_args_is_help=True, help="Learnt estimators: build a corpus, train, validate, install.")
app.add_typer(group, name="surrogate")

Corpus = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of a corpus, or directories of `weft surrogate build`; by default weft's own."),
]


@partial(command, group=group)
def build(
    out: Annotated[Path, typer.Option("--out", help="Directory of the corpus; what it holds is not made again.")],
    drawn: Annotated[int, typer.Option("--drawn", min=0, help="Designs of random shapes, widths and zeros.")] = 100,
    trainings: Annotated[
        int | None, typer.Option("--trainings", min=0, help="Networks trained on jets; by default all.")
    ] = None,
    each: Annotated[int, typer.Option("--each", min=1, help="Designs of each training.")] = 10,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A run whose synthesised designs are taken, too; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make designs, compile and synthesise them with Yosys; about two hours on two cores."""
    from weft.cli._progress import bars
    from weft.surrogate import corpus

    number = len(corpus.TRAININGS) if trainings is None else min(trainings, len(corpus.TRAININGS))
    with bars("corpus") as progress:
        found = corpus.build(out, drawn, number, each, progress)
    for place in runs or ():
        taken = _designs_of(place)
        corpus.write(out / f"run-{place.resolve().name}.jsonl", taken)
        found += taken
    if as_json:
        print_json({"corpus": str(out), "designs": len(found)})
    else:
        typer.echo(f"{out}: {len(found)} designs; fit a model to them by `weft surrogate train {out} --out FILE`")


@partial(command, group=group)
def train(
    corpus: Corpus = None,
    out: Annotated[Path, typer.Option("--out", help="Where the model is written.")] = Path("learned.json"),
    as_json: Json = False,
) -> None:
    """Fit the learned cost model to a corpus; validation decides which quantities it is enabled for."""
    from weft import atomic
    from weft.surrogate.fit import train

    model = train(_records(corpus))
    atomic.write_text(out, model.model_dump_json() + "\n")
    enabled = [name for name, fitted in model.quantities.items() if fitted.enabled]
    if as_json:
        print_json({"model": str(out), "designs": model.designs, "enabled": enabled})
        return
    _show(model.table)
    typer.echo(f"{out}: fitted to {model.designs} designs, enabled for {', '.join(enabled) or 'nothing'}")
    typer.echo(f"set WEFT_LEARNED={out.resolve()} to use it")


@partial(command, group=group)
def validate(corpus: Corpus = None, as_json: Json = False) -> None:
    """Compare the learned model with EBOPs and the adder graph on designs that are held out from a corpus."""
    from weft.surrogate.fit import usable, validate

    table, better = validate(usable(_records(corpus)))
    if as_json:
        print_json({"table": [row.model_dump() for row in table], "enabled": better})
        return
    _show(table)
    for name, enabled in better.items():
        typer.echo(f"{name}: learned is {'better than both others on every split' if enabled else 'not enabled'}")


def _designs_of(place: Path) -> list[Record]:
    """Return the designs of a run that Yosys has synthesised."""
    from weft.adder_graph import AdderGraph
    from weft.quantize.files import read_model
    from weft.run import Run
    from weft.surrogate.corpus import record
    from weft.types import Quantity

    run, family, found = Run(place), f"run-{place.resolve().name}", []
    for design in run.designs():
        used = {name: Quantity.model_validate(one) for name, one in (design.read("synthesis.json") or {}).items()}
        if "lut" in used and used["lut"].source.startswith("yosys"):
            graph, clock = AdderGraph.load(design.graph), run.experiment.target.clock_period_ns
            found.append(record(family, design.id, read_model(design.model), graph, used, clock))
    return found


def _records(places: Sequence[Path] | None) -> list[Record]:
    from weft.surrogate.corpus import SHIPPED, read

    files = [
        file for place in places or [SHIPPED] for file in (sorted(place.glob("*.jsonl")) if place.is_dir() else [place])
    ]
    return read(files)


def _show(table: Sequence[Row]) -> None:
    from weft.cli import _show

    rows = [
        {
            "quantity": row.quantity,
            "held out": row.split,
            "by": row.predictor,
            "n": row.designs,
            "MAPE %": f"{100 * row.mape:.1f} ± {100 * row.stderr:.1f}",
            "p90 %": f"{100 * row.p90:.1f}",
            "Spearman": f"{row.spearman:.4f}",
            "in 90 % range": f"{100 * row.covered:.0f} % of ±{100 * row.half_width:.0f} %",
        }
        for row in table
    ]
    _show.trials(rows, list(rows[0]))


@partial(command, group=group)
def install_rule4ml(as_json: Json = False) -> None:
    """Make the environment of the cost model rule4ml, with pinned versions; about 3.5 GB, below WEFT_CACHE."""
    from weft.cost.rule4ml import install

    found = install()
    if as_json:
        print_json({"python": str(found)})
    else:
        typer.echo(f"rule4ml is installed: {found}")
