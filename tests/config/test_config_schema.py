"""The JSON Schema of the experiment file explains every key, and says what the loader accepts."""

import subprocess
import sys

from weft.config import schema


def test_every_key_of_every_section_is_described():
    found = schema()
    for name, section in {"Experiment": found, **found["$defs"]}.items():
        assert section["description"], name
        for key, field in section["properties"].items():
            shared = found["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})  # said once where both agree
            assert {**shared, **field}.get("description"), f"{name}.{key}"


def test_a_choice_is_written_as_a_value_a_list_or_a_range():
    depth = schema()["$defs"]["MlpBlock"]["properties"]["depth"]
    scalar, values, _, triple, bounds = depth["anyOf"]
    assert scalar == {"type": "integer", "minimum": 1}
    assert values["items"] == scalar
    assert triple["prefixItems"][2] == {"enum": ["log", "lin"]}
    assert set(bounds["properties"]) == {"low", "high", "log", "step"}
    assert depth["default"] == {"values": [2, 3]}


def test_a_choice_of_words_has_no_range():
    assert len(schema()["$defs"]["MlpBlock"]["properties"]["activation"]["anyOf"]) == 3


def test_objectives_and_variants_are_listed():
    found = schema()["$defs"]
    name, function = found["SearchConfig"]["properties"]["objectives"]["items"]["oneOf"]
    assert "latency_cycles" in name["anyOf"][0]["enum"] and "pattern" in name["anyOf"][1]
    assert function == {"$ref": "#/$defs/FunctionObjective"}
    assert {"enum": ["constant", "cosine", "plateau"], "type": "string"} in found["SearchConfig"]["properties"][
        "schedule"
    ]["anyOf"]
    assert "best_accuracy" in found["SelectConfig"]["properties"]["rule"]["enum"]
    assert set(found["BetaRamp"]["properties"]) == {"from", "to"}


def test_reading_a_configuration_loads_no_framework():
    code = (
        "import sys; from weft.config import load; load('jets-demo');"
        "heavy = {'jax', 'keras', 'torch', 'tensorflow', 'matplotlib', 'optuna', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
