"""The page for torch users runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "pytorch.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text().split("\n## Your own training loop")[0], re.M | re.S)
    assert len(blocks) == 4
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    sentence, numbers = capsys.readouterr().out.strip().splitlines()[-2:]
    assert re.fullmatch(r"keras = adder_graph = rtl on \d+ inputs, bit for bit.*", sentence)
    lut, cycles = map(float, numbers.split())
    assert lut > 0 and cycles > 0
    assert (tmp_path / "tagger" / "src").is_dir() and (tmp_path / "tagger.pt").exists()
