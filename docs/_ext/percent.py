"""Tutorials are Python files in the percent format; here they are run, and become pages that show what they printed.

Each file runs in a process and an empty directory of its own, as `python FILE` would. A cell that fails fails the
build. For a quick look `WEFT_DOCS_RUN` names the ones that are run, such as `own_data,extend`, or `none`.

    python docs/_ext/percent.py docs/tutorials/own_data.py      # what the build does: the cells' outputs as JSON
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Output = dict[str, str]
"""What a cell printed (`text`), and its figures, as one text of SVG (`svg`)."""


def cells(text: str) -> list[tuple[str, str]]:
    """Return the cells of a percent file as pairs: `markdown` or `code`, and the source."""
    import jupytext

    return [(cell.cell_type, cell.source) for cell in jupytext.reads(text, fmt="py:percent").cells]


def run(path: Path) -> list[Output]:
    """Run the code cells of a file one after the other in this process and directory; return what each put out."""
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    text, found = path.read_text(), list[Output]()
    for kind, source in cells(text):
        if kind == "code":
            before = text[: text.index(source)].count("\n")  # so that a traceback names the line of the file
            with _printed() as printed:
                exec(compile("\n" * before + source, str(path), "exec"), space)
            found.append({"text": printed[0], "svg": _figures()})
    return found


@contextlib.contextmanager
def _printed() -> Any:
    """Collect what this process and its children write to stdout."""
    found = [""]
    sys.stdout.flush()
    with tempfile.TemporaryFile("w+") as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield found
        except BaseException:
            sys.stdout.flush()
            file.seek(0)
            sys.stderr.write(file.read())  # what the cell printed until it failed
            raise
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            found[0] = file.read()


def _figures() -> str:
    """Return the open figures as SVG, and close them."""
    plt = sys.modules.get("matplotlib.pyplot")
    found = []
    for number in plt.get_fignums() if plt else []:
        held = io.StringIO()
        plt.figure(number).savefig(held, format="svg", bbox_inches="tight")
        found.append(held.getvalue()[held.getvalue().index("<svg") :])
        plt.close(number)
    return "\n".join(found)


def outputs(path: Path) -> list[Output]:
    """Return what the code cells of a file put out, run in a fresh process and directory."""
    from sphinx.errors import ExtensionError

    here = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "agg",
        "COLUMNS": "120",
    }
    with tempfile.TemporaryDirectory(prefix="weft-tutorial-") as folder:
        command = [sys.executable, str(Path(__file__).resolve()), str(path.resolve())]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ExtensionError(f"{path} fails:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def page(text: str, shown: list[Output] | None, name: str) -> str:
    """Return the MyST text of a tutorial; `shown` is None where it was not run."""
    parts, results = [], iter(shown or [])
    for kind, source in cells(text):
        if kind == "markdown":
            parts.append(source)
            continue
        parts.append(f"````{{code-block}} python\n{source}\n````")
        result = next(results, {"text": "", "svg": ""})
        if result["text"].strip():
            parts.append(f"````{{code-block}} text\n:class: output\n\n{result['text'].rstrip()}\n````")
        if result["svg"]:
            parts.append(f"````{{raw}} html\n<div class='figure'>{result['svg']}</div>\n````")
    title, _, rest = parts[0].partition("\n")
    when = "not run for this build" if shown is None else "run when the page was built"
    note = f"*This page is the program {{download}}`{name}`, {when}.*"
    return "\n\n".join([title, note, rest.strip(), *parts[1:]])


def setup(app: Any) -> dict[str, bool]:
    """Make Sphinx read `.py` files as tutorials."""
    from myst_parser.parsers.sphinx_ import MystParser
    from sphinx.util import logging

    log = logging.getLogger(__name__)

    class PercentParser(MystParser):
        """Run a tutorial, and read it as MyST."""

        supported = ("percent",)

        def parse(self, inputstring: str, document: Any) -> None:
            path, began = Path(document["source"]), time.monotonic()
            chosen = os.environ.get("WEFT_DOCS_RUN", "")
            shown = outputs(path) if not chosen or path.stem in chosen.split(",") else None
            if shown is not None:
                log.info(f"{path.name} ran in {time.monotonic() - began:.0f} s")
            super().parse(page(inputstring, shown, path.name), document)

    app.add_source_suffix(".py", "percent")
    app.add_source_parser(PercentParser)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    file = Path(sys.argv[1]).resolve()
    result = run(file)
    sys.stdout.write(json.dumps(result))
