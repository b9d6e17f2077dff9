"""The bundled jets: gluon, light quark, top, W and Z jets, as 16 observables or as their hardest particles.

Simulated for weft with Pythia 8.318 (13 TeV, tune 18) and light detector smearing; anti-kt jets of R = 0.6 with
800 < pT < 1200 GeV and |eta| < 2.4, groomed by mMDT (z_cut 0.1). The 16 observables have the names and the order of the
OpenML set 42468 `hls4ml_lhc_jets_hlf`, but the jets are weft's own: results on one do not carry over to the other.
`tools/simulate_jets` is the generator.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

import numpy as np

from weft.config.data import DataConfig
from weft.data.files import read
from weft.data.roles import Rows, assign, choose_features
from weft.data.scale import Scaler
from weft.data.source import Source, sha256_of_files
from weft.errors import DataError

CONSTITUENTS = 8
"""Particles of a jet that `jets-constituents` takes unless told."""

CONSTITUENT_SCALE = (300.0, 0.2, 0.2)
"""What pT (GeV), delta eta and delta phi are divided by."""

_TEXT = "jets simulated with Pythia 8, bundled with weft"


def hlf_source(config: DataConfig) -> Source:
    """Return `jets-hlf`: 70000 training, 10000 validation and 20000 test jets with 16 observables."""
    parts, digest = _bundled("jets_hlf.npz")
    if config.features is not None:
        parts = {split: choose_features(rows, config.features) for split, rows in parts.items()}
    return Source("jets-hlf", f"16 observables of {_TEXT}", parts, digest)


def constituents_source(config: DataConfig) -> Source:
    """Return `jets-constituents`: the same jets as their 8 or 16 hardest particles, rows of shape (particles, 3).

    Particles are sorted by pT and padded with zeros. The scaling is fixed, pT / 300 GeV and angles / 0.2, so that
    padding stays zero and one particle is scaled as the next.

    Raises:
        DataError: the configuration asks for another scaling.
    """
    if config.scale != "standard":
        raise DataError(
            f"jets-constituents has a fixed scaling (pT / 300 GeV, angles / 0.2), which data.scale={config.scale} "
            f"would replace; remove data.scale"
        )
    parts, digest = _bundled("jets_constituents.npz")
    count = config.constituents or CONSTITUENTS
    names = tuple(f"{quantity}_{i}" for i in range(count) for quantity in ("pt", "deta", "dphi"))
    parts = {s: replace(rows, x=rows.x[:, :count], feature_names=names) for s, rows in parts.items()}
    if config.features is not None:
        parts = {split: choose_features(rows, config.features) for split, rows in parts.items()}
    return Source(
        "jets-constituents",
        f"the {count} hardest particles of {_TEXT}",
        parts,
        digest,
        notes=("fixed scaling: pT / 300 GeV, angles / 0.2; data.scale does not apply",),
        scaler=Scaler.fixed(np.tile(CONSTITUENT_SCALE, (count, 1))),
    )


def _bundled(name: str) -> tuple[dict[str, Rows], str]:
    with as_file(files("weft.data") / "bundled" / name) as path:
        parts = assign(read(path))
        return {split: replace(rows, where=name) for split, rows in parts.items()}, sha256_of_files([path])
