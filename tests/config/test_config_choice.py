"""A choice is written in several ways, means one thing, and survives JSON, pickle and YAML."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from weft.config import Categorical, Choice, Range, one_of

INT, FLOAT, WORD = (TypeAdapter(Choice[kind]) for kind in (int, float, str))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (8, Categorical(values=(8,))),
        ([8], Categorical(values=(8,))),
        ([4, 8, 16], Categorical(values=(4, 8, 16))),
        ([4, 64, "log"], Range(low=4, high=64, log=True)),
        ([4, 64, "lin"], Range(low=4, high=64)),
        ({"low": 4, "high": 64, "step": 4}, Range(low=4, high=64, step=4)),
        ({"values": [4, 8]}, Categorical(values=(4, 8))),
        (one_of(4, 8), Categorical(values=(4, 8))),
        (Range(low=1, high=2), Range(low=1, high=2)),
    ],
)
def test_every_way_of_writing_a_choice_means_the_same(written, meant):
    assert INT.validate_python(written) == meant


def test_whole_numbers_become_floats_where_floats_are_chosen():
    (zero, _) = FLOAT.validate_python([0, 0.5]).values
    assert isinstance(zero, float)


def test_words_are_chosen_by_name_even_if_the_third_is_log():
    assert WORD.validate_python(["a", "b", "log"]).values == ("a", "b", "log")


def test_only_a_single_value_is_fixed():
    assert one_of(3).fixed
    assert not one_of(3, 4).fixed
    assert not Range(low=1, high=2).fixed


def test_bounds_are_the_smallest_and_the_largest():
    assert one_of(8, 2, 4).bounds == (2, 8)
    assert Range(low=1, high=5).bounds == (1, 5)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], "at least 1 item"),
        ([4, 4], r"a value is listed twice in \[4, 4\]; list each value once"),
        ([8, 4, "log"], "a range needs low < high; got low=8, high=4"),
        ([0, 4, "log"], "a logarithmic range needs low > 0; got low=0"),
        ({"low": 1, "high": 4, "step": 9}, r"step must lie between 0 and high - low = 3 .* got step=9"),
        ({"low": 1, "high": 4, "step": 1, "log": True}, r"needs log: false; got step=1, log=true"),
        ([True], "valid integer"),
        ([1.5], "valid integer"),
        (["8"], "valid integer"),
        ({"low": 1}, "high"),
        ({"low": 1, "high": 2, "base": 2}, "Extra inputs"),
    ],
)
def test_what_is_no_choice_is_refused(written, message):
    with pytest.raises(ValidationError, match=message):
        INT.validate_python(written)


def test_a_range_of_words_is_refused():
    with pytest.raises(ValidationError, match="a range needs numbers, got 'a' and 'b'; list the words"):
        WORD.validate_python({"low": "a", "high": "b"})


numbers = st.floats(-1e6, 1e6, allow_nan=False)
choices = st.one_of(
    st.lists(numbers, min_size=1, max_size=4, unique=True).map(lambda v: Categorical(values=tuple(v))),
    st.tuples(numbers, st.floats(1e-3, 10)).map(lambda t: Range(low=t[0], high=t[0] + t[1])),
    st.floats(1e-9, 1e3).map(lambda v: Range(low=v, high=2 * v, log=True)),
    st.just(Range(low=0.0, high=1.0, step=0.25)),
)


@given(choices)
def test_a_choice_survives_the_short_form_json_and_pickle(choice):
    assert FLOAT.validate_python(FLOAT.dump_python(choice)) == choice
    assert FLOAT.validate_json(FLOAT.dump_json(choice)) == choice
    assert type(choice).model_validate_json(choice.model_dump_json()) == choice
    assert pickle.loads(pickle.dumps(choice)) == choice
