"""Resources: what is too long for an answer. Files of runs by name, the schema, the documentation, parts and boards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

import weft
from weft.errors import AccessError, WeftError
from weft.mcp.desk import Desk
from weft.mcp.sandbox import NAME

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

RUN_FILES = {
    "config": ("config.yaml", "application/yaml"),
    "config.resolved": ("config.resolved.yaml", "application/yaml"),
    "summary": ("summary.json", "application/json"),
    "environment": ("environment.json", "application/json"),
    "log": ("log.jsonl", "application/jsonl"),
}
"""`run://NAME/KEY` to the file of the run directory, and its type."""

T = TypeVar("T")

_LARGEST_TEXT = 400_000
_LARGEST_IMAGE = 120_000


def add(server: MCPServer[Any], desk: Desk) -> None:
    """Put the resources on a server."""

    def run_file(key: str) -> Callable[[str], str]:
        def read(run: str) -> str:
            return _asked(desk, lambda: _text(desk, desk.run(run).path / RUN_FILES[key][0]))

        return read

    for key, (name, kind) in RUN_FILES.items():
        server.resource(f"run://{{run}}/{key}", name=f"run {key}", description=f"{name} of a run.", mime_type=kind)(
            run_file(key)
        )

    def table(run: str, front: bool) -> str:
        from weft.search.results import read
        from weft.search.tables import sourced

        return _asked(desk, lambda: desk.sandbox.hide(sourced(read(desk.run(run).path), front)[:_LARGEST_TEXT]))

    @server.resource("run://{run}/pareto.csv", name="run pareto.csv", mime_type="text/csv")
    def pareto(run: str) -> str:
        """The front of a run's search; each number with its unit, stage and source."""
        return table(run, front=True)

    @server.resource("run://{run}/trials.csv", name="run trials.csv", mime_type="text/csv")
    def trials(run: str) -> str:
        """All trials of a run's search; each number with its unit, stage and source."""
        return table(run, front=False)

    @server.resource("run://{run}/report.md", name="run report", mime_type="text/markdown")
    def report(run: str) -> str:
        """Every number of a run's designs with its stage and source, as a table."""
        from weft.cli._show import comparison_as_markdown
        from weft.run.compare import compare

        return _asked(desk, lambda: desk.sandbox.hide(comparison_as_markdown(compare(desk.run(run)))))

    @server.resource("run://{run}/verify.json", name="run verification", mime_type="application/json")
    def verification(run: str) -> str:
        """How the verification of each design of a run ended."""
        return _asked(
            desk,
            lambda: desk.sandbox.hide(
                json.dumps({one.id: one.read("verification.json") for one in desk.run(run).designs()}, indent=1)
            ),
        )

    @server.resource("run://{run}/figures", name="run figures", mime_type="application/json")
    def figures(run: str) -> str:
        """The names of a run's figures, for run://{run}/figures/{name}."""
        return _asked(desk, lambda: json.dumps(sorted(path.stem for path in _figures(desk, run).glob("*.png"))))

    @server.resource("run://{run}/figures/{name}", name="run figure", mime_type="image/png")
    def figure(run: str, name: str) -> bytes:
        """One figure of a run's report, PNG."""

        def read() -> bytes:
            path = _figures(desk, run) / f"{name}.png"
            if not NAME.fullmatch(name) or not path.is_file():
                raise AccessError(f"run '{run}' has no figure '{name[:80]}'; run://{run}/figures lists them")
            if path.stat().st_size > _LARGEST_IMAGE:
                raise AccessError(f"figure '{name}' is larger than {_LARGEST_IMAGE} bytes; report.html shows it")
            return path.read_bytes()

        return _asked(desk, read)

    @server.resource("job://{job}/log", name="job log", mime_type="text/plain")
    def log(job: str) -> str:
        """The end of a job's log."""
        return _asked(desk, lambda: desk.sandbox.hide("\n".join(desk.jobs.log(job, 400))))

    @server.resource("schema://config", name="experiment schema", mime_type="application/json")
    def schema() -> str:
        """The JSON Schema of experiment files."""
        from weft.config import schema as of_experiments

        return json.dumps(of_experiments())

    @server.resource("boards://{name}", name="board or part", mime_type="application/json")
    def board(name: str) -> str:
        """The capacities of an FPGA part, or of the part on a board."""
        from dataclasses import asdict

        from weft.config.parts import find_part, part_name

        return _asked(desk, lambda: json.dumps({"part": part_name(name), **asdict(find_part(name))}))

    @server.resource("docs://{page}", name="documentation", mime_type="text/markdown")
    def page(page: str) -> str:
        """One page of weft's documentation; docs://index lists them."""

        def read() -> str:
            pages = _pages()
            if page == "index":
                return "\n".join(f"- docs://{name}" for name in pages)
            if page not in pages:
                raise AccessError(f"there is no page '{page[:80]}'; docs://index lists them")
            return pages[page].read_text("utf-8")

        return _asked(desk, read)

    _ = pareto, trials, report, verification, figures, figure, log, schema, board, page


def _asked(desk: Desk, read: Callable[[], T]) -> T:
    try:
        return read()
    except WeftError as error:
        raise ResourceNotFoundError(desk.sandbox.hide(str(error))) from error
    except OSError as error:
        raise ResourceError(f"the system refused: {error.strerror}") from error


def _text(desk: Desk, path: Path) -> str:
    if not path.is_file():
        raise AccessError(f"the run has no {path.name} yet; its stage has not run")
    data = path.read_bytes()
    text = desk.sandbox.hide(data[-_LARGEST_TEXT:].decode("utf-8", "replace"))
    return text if len(data) <= _LARGEST_TEXT else f"[the last {_LARGEST_TEXT} of {len(data)} bytes]\n{text}"


def _figures(desk: Desk, run: str) -> Path:
    return desk.run(run).path / "figures"


def _pages() -> dict[str, Path]:
    """Return the pages of the documentation by name, as in `howto.slurm`: of the package, or of the checkout."""
    source = Path(weft.__file__)
    place = next((one for one in (source.parent / "docs", source.parents[2] / "docs") if one.is_dir()), None)
    if place is None:
        return {}
    pages = {path.relative_to(place).with_suffix(""): path for path in sorted(place.glob("**/*.md"))}
    return {".".join(name.parts): path for name, path in pages.items() if name.parts[0][0] != "_"}
