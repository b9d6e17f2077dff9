"""Answers are short, and say what they left out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from weft.mcp.answers import LARGEST, MEANING, Comparison, ConfigAnswer, DesignAnswer, Number, short

NUMBER = Number(name="lut", value=1, unit="count", stage="solver", source="alkaid")


def test_the_longest_lists_and_texts_are_cut_and_counted():
    problems = [f"problem number {i} of many" for i in range(900)]
    long = ConfigAnswer(config="x", valid=False, problems=problems, yaml="y" * 9000, next_step="go")
    found = short(long, "validate again")
    assert isinstance(found, ConfigAnswer)
    assert len(found.model_dump_json()) <= LARGEST
    assert found.problems == problems[: len(found.problems)]
    assert found.cut == (
        f"left out: {900 - len(found.problems)} of problems, {9000 - len(found.yaml)} of yaml; validate again"
    )


def test_designs_are_left_out_whole_and_never_without_their_numbers():
    designs = [DesignAnswer(design=f"d{i}", network="n", verification="exact", numbers=[NUMBER] * 9) for i in range(40)]
    found = short(Comparison(runs=["1"], designs=designs, meaning={}, next_step="go"), "the report")
    assert isinstance(found, Comparison)
    assert 0 < len(found.designs) < 40
    assert all(len(design.numbers) == 9 for design in found.designs)
    assert found.cut == f"left out: {40 - len(found.designs)} of designs; the report"


def test_a_short_answer_is_left_as_it_is():
    answer = ConfigAnswer(config="x", valid=True, problems=[], yaml="y", next_step="go")
    assert short(answer, "nowhere") == answer


def test_a_number_has_no_default_for_what_it_is():
    for missing in ("unit", "stage", "source"):
        given = {key: value for key, value in NUMBER.model_dump().items() if key != missing}
        with pytest.raises(ValidationError, match=missing):
            Number.model_validate(given)
    assert set(MEANING) >= {"predicted", "solver", "hls_report", "synthesis", "post_route"}
