"""The test bench of C/RTL co-simulation: the rows it reads, and what the RTL put out for them.

The tool calls a co-simulation passed when hls4ml's test bench came to its end, which never looks at a value. So the
values that it logs are compared here: with equality, to the six digits that the test bench prints.
"""

from __future__ import annotations

import numpy as np

from weft import atomic
from weft.errors import ToolError, VerificationError
from weft.firmware.hls.project import HlsProject

PLACE, INPUTS, OUTPUTS, RESULTS = (
    "tb_data",
    "tb_input_features.dat",
    "tb_output_predictions.dat",
    "rtl_cosim_results.log",
)

ROWS = 100
"""So many rows are simulated: one may take the RTL's simulator a second."""


def some_rows(x: np.ndarray) -> np.ndarray:
    """Return at most `ROWS` rows of x, from its beginning to its end."""
    return x[np.unique(np.linspace(0, len(x) - 1, ROWS).astype(int))]


def write_bench(project: HlsProject, x: np.ndarray, expected: np.ndarray) -> None:
    """Write what the test bench of a project reads, and remove what an earlier simulation left.

    Args:
        project: The project.
        x: Inputs, (n, ...) float32.
        expected: What it should put out, (n, n_out) float64.
    """
    place = project.directory / PLACE
    place.mkdir(exist_ok=True)
    (place / RESULTS).unlink(missing_ok=True)
    for name, rows in ((INPUTS, x), (OUTPUTS, expected)):
        lines = [" ".join(f"{value:.17g}" for value in row) for row in rows.reshape(len(rows), -1).tolist()]
        atomic.write_text(place / name, "\n".join([*lines, ""]))


def check_outputs(project: HlsProject, expected: np.ndarray) -> None:
    """Compare what the RTL put out with what it should.

    Raises:
        VerificationError: A value differs.
        ToolError: The log is missing, or is not of all rows.
    """
    path = project.directory / PLACE / RESULTS
    try:
        values = [[float(value) for value in line.split()] for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ToolError(f"cannot read what the co-simulation put out in {path}: {error}; see vendor.log") from error
    if [len(row) for row in values] != [project.n_out] * len(expected):
        raise ToolError(
            f"the co-simulation of {project.directory} put out {len(values)} rows in {path}, not {len(expected)} of "
            f"{project.n_out} values; see vendor.log"
        )
    found, printed = np.array(values), np.array([[float(f"{value:.6g}") for value in row] for row in expected.tolist()])
    wrong = (found != expected) & (found != printed)
    if wrong.any():
        row, output = np.argwhere(wrong)[0].tolist()
        raise VerificationError(
            f"the RTL of {project.directory} differs from its C++ in {int(wrong.sum())} of {wrong.size} outputs: "
            f"in row {row}, output {output} is {found[row, output]:g} and not {expected[row, output]:g}; report it to "
            "the maker of the tool, or take another firmware.hls.strategy"
        )
