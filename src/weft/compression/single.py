"""One recipe on one network: what precedes it (a factorisation, a teacher), and which module it is.

`fixed` and `imp` train several networks that do not depend on each other, one for each precision and fold. `parts`
counts them; a call for one part alone leaves its checkpoints where the whole call finds them, so that parts can run
side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.compression import budget, fit_recipe, fixed, hgq, imp
from weft.compression.outcome import Outcome
from weft.compression.training import Material
from weft.config.compress import Step
from weft.config.stages import RecipeConfig
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    from weft.compression.network import Network

RECIPES: dict[str, Callable[..., Outcome]] = {
    "hgq": hgq.run,
    "fixed": fixed.run,
    "imp": imp.run,
    "fitcompress": fit_recipe.run,
    "budget": budget.run,
}
_PARTS = {"fixed": fixed.parts, "imp": imp.parts}


def parts(config: Any) -> int:
    """Return how many trainings of a recipe can run side by side."""
    count = _PARTS.get(config.recipe)
    return 1 if count is None else count(config)


def run_single(
    network: Network,
    material: Material,
    config: Step,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
    part: int | None = None,
) -> tuple[Network, Outcome]:
    """Run one recipe; return the network as it was prepared for it, and what came of it.

    With `part`, in [0, `parts(config)`), that part alone is trained, and there is nothing in the outcome.
    """
    if isinstance(config, RecipeConfig):
        network = network.prepared(config)
        if config.distil is not None and config.distil.teacher is not None:
            material = replace(material, teacher=None)  # it is in the file that the recipe names
    only = {} if part is None else {"part": part}
    return network, RECIPES[config.recipe](network, material, config, seed, directory, progress, **only)
