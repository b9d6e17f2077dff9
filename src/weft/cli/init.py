"""`weft init`: a commented experiment file for the user's own data, from questions, flags or one sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.draft import Look, Request

USAGE = "weft init events.csv --label kind, or: weft init 'qubit readout on ZCU216, under 30 ns, at most 5k LUT'"


@command
def init(
    what: Annotated[str | None, typer.Argument(help="Your data file; or what you want, in one sentence.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("experiment.yaml"),
    label: Annotated[str | None, typer.Option(help="Column or array of the label.")] = None,
    tree: Annotated[str | None, typer.Option(help="Tree of a ROOT file, such as Events.")] = None,
    features: Annotated[str | None, typer.Option(help="Columns to use, separated by commas.")] = None,
    task: Annotated[str | None, typer.Option(help="classification, binary or regression.")] = None,
    part: Annotated[str | None, typer.Option(help="Part or board, such as zcu216.")] = None,
    clock_ns: Annotated[float | None, typer.Option(help="Clock period, in ns.")] = None,
    latency_ns: Annotated[float | None, typer.Option(help="Longest time from input to output, in ns.")] = None,
    lut: Annotated[int | None, typer.Option(help="Most look-up tables.")] = None,
    ff: Annotated[int | None, typer.Option(help="Most flip-flops.")] = None,
    dsp: Annotated[int | None, typer.Option(help="Most DSP slices.")] = None,
    accuracy: Annotated[float | None, typer.Option(help="Least accuracy, in (0, 1].")] = None,
    trials: Annotated[int | None, typer.Option(help="Networks that the search tries.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first run of a few minutes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write an experiment.yaml for your own file: its columns are looked at, and what is assumed is said in it."""
    from weft import atomic
    from weft.draft import draft_config

    if out.exists() and not force:
        raise ConfigError(
            f"will not write over {out}, which may be yours; add --force, or name another file with --out"
        )
    ask = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    given: dict[str, Any] = {
        "tree": tree, "label": label,
        "features": tuple(name.strip() for name in features.split(",")) if features else (),
        "task": task, "part": part, "clock_period_ns": clock_ns, "latency_ns": latency_ns, "lut": lut, "ff": ff,
        "dsp": dsp, "accuracy": accuracy, "trials": trials, "quick": quick,
    }  # fmt: skip
    asked = what is None and ask
    request = _request(_question("Data file, or what you want in one sentence", None) if asked else what, given)
    found = None
    if request.files is not None:
        request, found = _look(request, ask)
        beside = Path(os.path.relpath(found.path, out.parent)).as_posix()
        request = request.model_copy(update={"files": beside})
    if asked:
        request = _bounds(request)
    text = draft_config(request, {"data": found.notes} if found else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out, text)
    _report(request, found, out, as_json)


def _request(what: str | None, given: dict[str, Any]) -> Request:
    """Return the wishes of a file's name or a sentence, and of flags, which count more."""
    from pydantic import ValidationError

    from weft.data.files import READERS
    from weft.draft import Request, read_request

    if what is None:
        raise ConfigError(f"nothing to begin with: give a data file or a sentence, as in: {USAGE}")
    path = Path(what).expanduser()
    if path.is_dir():
        inside = [name.name for name in sorted(path.iterdir()) if name.suffix.lower() in READERS]
        raise ConfigError(
            f"{path} is a folder; name a data file in it" + (f": {', '.join(inside[:8])}" if inside else "")
        )
    is_file = path.exists() or (" " not in what and path.suffix != "")
    try:
        said = Request(files=str(path)) if is_file else read_request(what)
        flags = {name: value for name, value in given.items() if value not in (None, (), False)}
        return Request.model_validate({**said.model_dump(exclude_defaults=True), **flags})
    except ValidationError as error:
        lines = [f"--{'-'.join(map(str, one['loc'])).replace('_', '-')}: {one['msg']}" for one in error.errors()]
        raise ConfigError("; ".join(lines)) from error


def _look(request: Request, ask: bool) -> tuple[Request, Look]:
    """Look into the file, ask for the label where it cannot be told, and fill in what is open."""
    from weft.draft import look_at

    path = Path(request.files or "")
    found = look_at(path, request.label, request.features, request.task, request.tree)
    if found.label is None and found.columns:
        if not ask:
            columns = ", ".join(
                f"{c.name} ({c.kind}, {c.different} values: {', '.join(c.examples[:3])})" for c in found.columns[:12]
            )
            more = f" and {len(found.columns) - 12} more" if len(found.columns) > 12 else ""
            raise ConfigError(
                f"cannot tell which column of {path} is the label: {found.notes[-1]}; say --label NAME; it has "
                f"{columns}{more}"
            )
        for column in found.columns:
            typer.echo(f"  {column.name}: {column.kind}, {column.different} different", err=True)
        name = _question("Which column is the label", found.columns[-1].name)
        found = look_at(path, name, request.features, request.task, request.tree)
    return found.fill(request), found


def _bounds(request: Request) -> Request:
    """Ask for what a first experiment needs and was not said."""
    from weft.draft import Request, read_request

    answers: dict[str, Any] = {}
    for name, text, usual in (
        ("part", "Part or board", "xcvu13p-flga2577-2-e"),
        ("clock_period_ns", "Clock period in ns", "5"),
        ("latency_ns", "Longest latency in ns (empty: no limit)", ""),
        ("lut", "Most look-up tables (empty: no limit)", ""),
    ):
        if getattr(request, name) is None and (answer := _question(text, usual)):
            word = {"clock_period_ns": "clock {} ns", "latency_ns": "latency {} ns", "lut": "{} LUT"}.get(name, "{}")
            read = read_request(word.format(answer))
            if read.not_understood:
                raise ConfigError(
                    f"cannot read the answer '{answer}' to '{text}': {'; '.join(read.notes) or 'a number'}"
                )
            answers[name] = getattr(read, name)
    return Request.model_validate({**request.model_dump(), **answers})


def _question(text: str, usual: str | None) -> str:
    return str(typer.prompt(text, default=usual, err=True, show_default=bool(usual))).strip()


def _report(request: Request, found: Look | None, out: Path, as_json: bool) -> None:
    notes = [*(found.notes if found else ()), *request.notes]
    if as_json:
        print_json({"experiment": str(out), "not_understood": list(request.not_understood), "notes": notes})
        return
    for words in request.not_understood:
        typer.secho(f"not understood: {words}", fg="yellow", err=True)
    for note in notes:
        typer.echo(f"  {note}", err=True)
    typer.echo(f"wrote {out}; next: weft run {out}")
