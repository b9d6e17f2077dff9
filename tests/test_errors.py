"""The page of error messages is current; and messages that no other test matches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from weft.config import loads
from weft.errors import ConfigError
from weft.types import Quantity

ROOT = Path(__file__).parents[1]


def test_the_page_of_messages_is_current():
    done = subprocess.run([sys.executable, ROOT / "tools" / "errors.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


HEAD = "version: 1\nname: a\ndata: {name: jets-hlf}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compress: {recipe: fitcompress, search: {goal: {bytes: 9}}, rewind: every_round}",
         "has no place here: the search"),
        ("compress: {recipe: hgq, quantize_from: finetune, finetune_epochs: 1}",
         "must be pretrain or train: widths are"),
        ("compress: {recipe: fixed, distil: {}, loss: huber}",
         "must be auto beside distil, which has losses of its own"),
        ("compress: {recipe: fixed, distil: {alpha: 0}}",
         "0 without features leaves the teacher nothing to say; raise it"),
        ("compress: {recipe: fixed, epochs: 0, prune: dst}",
         "finds its masks in training, and epochs: 0 leaves it none"),
        ("compress: {recipe: fixed, prune: {method: pdp, n: 1}}", "n and m go together; got n=1, m=None"),
        ("compress: {recipe: fixed, prune: {method: pdp, n: 4, m: 4}}",
         "n must be smaller than m, or nothing is pruned"),
        ("compress: {recipe: fixed, prune: {method: mdmm, count: 3, sparsity: 0.9}}",
         "needs either sparsity or count; got sparsity=0.9"),
        ("compress: {recipe: fixed, prune: {method: mdmm, patterns: 3}}",
         "patterns means nothing to metric: unstructured"),
        ("select: {rule: weighted, weights: {lut: 0}}", "are all 0, so that nothing counts; give one of them more"),
        ("tracking: {uri: 'http://a'}", "is set, but mlflow is false, so nothing would be tracked; set mlflow: true"),
        ("space: {blocks: [{type: particles, count: 2, sets: {a: []}}]}", "lists no feature, or one twice"),
        ("space: {blocks: [{type: particles, count: 2, features: [some]}]}", "'some' is no name in sets"),
        ("space: {blocks: [{type: custom, builder: nothing}]}", "a builder is written 'module:function', as in"),
        ("search: {baselines: [{blocks: [{type: mlp_mixer, places: [2], features: [2, 3]}]}]}",
         "needs as many places as features; got 1 and 2"),
    ],
)  # fmt: skip
def test_a_section_says_what_is_wrong_with_it(text, message):
    with pytest.raises(ConfigError, match=message):
        loads(HEAD + text)


def test_a_name_is_a_slug():
    with pytest.raises(ConfigError, match=r"a name starts with a letter or digit and holds only .*; try 'my-run'"):
        loads("version: 1\nname: my run\ndata: {name: jets-hlf}\n")


def test_a_missing_number_has_a_reason():
    with pytest.raises(ValidationError, match="a quantity without a value needs a reason"):
        Quantity(value=None, unit="count", stage="predicted", source="nobody")
