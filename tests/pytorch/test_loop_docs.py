"""The section "Your own training loop" of docs/pytorch.md runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the loop is one of PyTorch"),
]


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    page = (Path(__file__).parents[2] / "docs" / "pytorch.md").read_text("utf-8")
    section = page.split("## Your own training loop")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.S)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/pytorch.md", "exec"), known)
    assert capsys.readouterr().out.splitlines()[-1].startswith("train 2")
    assert not known["final"].trainable_variables
    assert all(parameter.grad is not None for parameter in known["tagger"].norm.parameters())
    assert known["tagger"].hidden.get_parameter("kernel").grad.any()
