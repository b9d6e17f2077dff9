"""A compressed module under DistributedDataParallel, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

import weft
from tests.pytorch.test_loop_module import DST, in_train_stage, network, same, train

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the loop is one of PyTorch"),
]


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_one_process_trains_as_without_it(one_process):
    torch.set_num_threads(1)
    plain, inside = in_train_stage(network(DST)), in_train_stage(network(DST))
    shared = torch.nn.parallel.DistributedDataParallel(inside)
    assert weft.Stages(shared, inside.keras_model.weft_recipe).model is inside.keras_model
    assert train(shared, 3) == train(plain, 3)
    same(inside.state_dict(), plain.state_dict())


@pytest.mark.slow
def test_two_processes_end_with_the_same_parameters(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": f"{root / 'src'}:{root}"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.pytorch.loop_ddp", str(rank), "2", str(tmp_path / "store")],
            env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    found: list[dict[str, Any]] = []
    for process in started:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        found.append(json.loads(out.splitlines()[-1]))
    assert found[0]["digest"] == found[1]["digest"]
    assert found[0]["thresholds"] == found[1]["thresholds"]
