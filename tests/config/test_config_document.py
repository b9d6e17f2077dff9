"""YAML is read by the rules of version 1.2, every key knows its line, and nothing but data comes out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.document import DocumentError, parse, write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("-2e+2", -200),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e5", 100_000),
        ("1.0e5", 1e5),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("10_000", 10_000),
        ("-.inf", -math.inf),
        ("true", True),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ("~", None),
        ("", None),
    ],
)
def test_plain_words_follow_yaml_1_2(text, value):
    found = parse(text).data
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read():
    assert math.isnan(parse(".nan").data)


TEXT = """\
# a comment
name: a
space:
  blocks:
    - type: mlp

      depth: [1,
              2]
    - {type: mlp,
       depth: 3}
shared: &shared {x: 1}
merged:
  <<: *shared
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("space",), 3),
        (("space", "blocks", 0), 5),
        (("space", "blocks", 0, "depth"), 7),
        (("space", "blocks", 0, "depth", 1), 8),
        (("space", "blocks", 1, "depth"), 10),
        (("space", "blocks", 1, "units"), 9),
        (("space", "blocks", 7), 4),
        (("merged", "x"), 11),
        (("nothing",), 1),
        ((), 1),
    ],
)
def test_a_path_has_the_line_of_its_longest_part_in_the_text(path, line):
    assert parse(TEXT).line(path) == line


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1\nc: 2", 3, "cannot be read as YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2", 2, "cannot be read as YAML: .*cannot start any token"),
        ("a: 1\nb: *x", 2, "found undefined alias 'x'"),
        ("a: 1\n---\nb: 2", 2, "expected a single document"),
        ("a:\n  !!python/object/apply:os.system ['true']", 2, "YAML tags are not accepted, found '.*os.system'"),
        ("a: !!int '3'", 1, "YAML tags are not accepted"),
        ("a: 1\nb: \x01", 2, r"it holds the character U\+0001"),
        ("a: 1\n? [1]\n: 2", 2, "unhashable key"),
        ("a: " + "9" * 5000, 1, "the number has 5000 digits"),
        ("[" * 3000, 1, "it is nested too deeply"),
    ],
)
def test_a_text_that_is_no_plain_yaml_is_refused_with_its_line(text, line, message):
    with pytest.raises(DocumentError, match=message) as caught:
        parse(text)
    assert [at for at, _ in caught.value.found] == [line]


def test_every_repeated_key_is_found():
    with pytest.raises(DocumentError) as caught:
        parse("a: 1\nb: {c: 1, d: 2}\na: 2\ne:\n  - {f: 1,\n     f: 2}\n")
    assert caught.value.found == [
        (3, "the key 'a' is already on line 1; keep one of them"),
        (6, "the key 'f' is already on line 5; keep one of them"),
    ]


def test_a_list_that_holds_itself_ends_the_search_for_repeated_keys():
    data = parse("a: &a [*a]").data
    assert data["a"][0] is data["a"]


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    ["1e5", "1e-3", "yes", "010", "null", "~", "true", "0x1", "<<", "=", "1_0", "2024-01-01", ".inf", "", " a", "a: b"]
)
data = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(data)
def test_written_data_reads_back_with_the_same_types(value):
    found = parse(write(value)).data
    assert found == value
    assert repr(found) == repr(value)
