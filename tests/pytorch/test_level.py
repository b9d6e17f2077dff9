"""A PyTorch network in a file as a level of verification: what is read, what is run, what is refused."""

from __future__ import annotations

import io
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import weft
from tests.firmware.models import mlp, randomised, samples
from tests.firmware.test_verify import wide_model
from weft.adder_graph import AdderGraph
from weft.compression.finalize import finalize
from weft.errors import ConfigError, DataError, ShapeError, ToolNotFoundError
from weft.firmware.verify import verify
from weft.pytorch.level import TorchLevel

X = samples(23, 3)


def scripted(network, path, how=lambda one: torch.jit.script(one)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(how(network), path)
    return path


def exported(network, path, n=5, n_in=3, **options):
    program = torch.export.export(network, (torch.zeros(n, n_in),), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of views among the buffers
        torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def model():
    return finalize(randomised(mlp(3, (4, 2))), samples(200, 3))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("kind", ["script", "trace", "export", "any number of rows"])
def test_files_of_every_kind_compute_what_the_network_does(network, tmp_path, kind):
    path = tmp_path / "network.pt2"
    if kind in ("script", "trace"):
        scripted(
            network, path, torch.jit.script if kind == "script" else lambda n: torch.jit.trace(n, torch.zeros(5, 3))
        )
    else:
        exported(network, path, dynamic_shapes=({0: torch.export.Dim("n")},) if kind != "export" else None)
    level = TorchLevel(path)
    found = level.run(X)
    assert found.dtype == np.float64 and not level.exact
    np.testing.assert_allclose(found, network(torch.from_numpy(X)).detach().numpy(), rtol=1e-6)


def test_a_network_of_to_torch_is_exact_in_either_file(model, tmp_path):
    frozen = weft.to_torch(model)
    for path in (scripted(frozen, tmp_path / "a.pt"), exported(frozen, tmp_path / "b.pt2", 50)):
        level = TorchLevel(path)
        assert level.exact
        np.testing.assert_array_equal(level.run(X), AdderGraph.from_model(model).predict(X))


def test_an_exact_network_is_equal_also_where_keras_rounds_in_float32(tmp_path):
    wide = finalize(wide_model(), samples(200, 4))
    level = TorchLevel(exported(weft.to_torch(wide), tmp_path / "wide.pt2", 50, 4))
    found = verify(wide, AdderGraph.from_model(wide), None, samples(300, 4), origin=level, seek=False)
    assert found.status == "exact" and found.levels == ("torch", "keras", "adder_graph")
    assert found.float32_mismatches > 0


def test_a_float_network_that_is_equal_by_chance_is_said_to_be_equal_on_these_inputs(model, tmp_path):
    level = TorchLevel(exported(weft.to_torch(model), tmp_path / "x.pt2"))
    level.exact = False
    found = verify(model, AdderGraph.from_model(model), None, X, origin=level, exhaustive_bits=0)
    assert found.sentence.endswith("; torch and keras are equal on 23 real inputs") and found.agreement is not None


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_what_is_no_program_is_refused_and_nothing_in_it_runs(network, tmp_path):
    mark = tmp_path / "it ran"
    torch.save(Hostile(mark), tmp_path / "module.pt")
    torch.save(network.state_dict(), tmp_path / "state.pt")
    for name in ("module.pt", "state.pt"):
        with pytest.raises(
            ConfigError, match=r"is no program of PyTorch, or holds pickled objects; give a file of torch"
        ):
            TorchLevel(tmp_path / name)
    (tmp_path / "text.pt2").write_text("none")
    for name in ("text.pt2", "missing.pt2"):
        with pytest.raises(
            ConfigError, match=r"cannot read a PyTorch network from .*; give a file of torch.export.save"
        ):
            TorchLevel(tmp_path / name)
    assert not mark.exists()


def test_an_exported_program_is_never_unpickled(network, tmp_path):
    mark, path = tmp_path / "it ran", exported(network, tmp_path / "x.pt2")
    pickled = io.BytesIO()
    torch.save(Hostile(mark), pickled)
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            hostile = name.endswith("sample_inputs/model.pt")
            bad.writestr(name, pickled.getvalue() if hostile else good.read(name))
    with pytest.raises(ConfigError, match=r"cannot read a PyTorch network from .*bad.pt2: "):
        TorchLevel(tmp_path / "bad.pt2")
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "object.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name))
        bad.writestr("x/data/constants/custom_obj_0", pickled.getvalue())
    with pytest.raises(ConfigError, match="or holds pickled objects"):
        TorchLevel(tmp_path / "object.pt2")
    assert not mark.exists()


class Two(nn.Module):
    def forward(self, x):
        return x, x


class Join(nn.Module):
    def forward(self, x, y):
        return x + y


class Log(nn.Module):
    def forward(self, x):
        return torch.log(x)


def test_networks_that_are_not_of_the_models_shape_are_named(network, tmp_path):
    with pytest.raises(ShapeError, match=r"does not take rows of shape \(4,\): .*it reads the same array as the model"):
        TorchLevel(exported(network, tmp_path / "a.pt2")).run(samples(7, 4))
    with pytest.raises(ShapeError, match=r"gives tuple, not one tensor of outputs"):
        TorchLevel(exported(Two(), tmp_path / "b.pt2")).run(X)
    torch.export.save(torch.export.export(Join(), (torch.zeros(2, 3), torch.zeros(2, 3))), tmp_path / "c.pt2")
    with pytest.raises(ConfigError, match=r"takes 2 inputs, and firmware has one: concatenate them"):
        TorchLevel(tmp_path / "c.pt2")
    with pytest.raises(DataError, match=r"gives NaN or infinity, which no firmware has"):
        TorchLevel(exported(Log(), tmp_path / "d.pt2")).run(-np.abs(X))


def test_without_torch_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ToolNotFoundError, match=r"--torch needs the Python package 'torch', which is missing; pip install"
    ):
        TorchLevel(tmp_path / "x.pt2")
