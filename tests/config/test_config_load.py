"""Every mistake in an experiment file is answered: where it is, what was found, what would do."""

import re
from pathlib import Path

import pytest

from weft.config import Experiment, dump, load, loads, source_text
from weft.errors import ConfigError

HEAD = "version: 1\nname: a\ndata: {name: jets-hlf}\n"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "e.yaml", overrides)
    return str(caught.value).splitlines()


def test_a_short_file_has_every_default():
    experiment = loads(HEAD)
    assert experiment == Experiment.model_validate({"version": 1, "name": "a", "data": {"name": "jets-hlf"}})
    assert experiment.search.trials == 100
    assert experiment.compress.recipe == "hgq"


def test_all_problems_are_reported_at_once_in_the_order_of_the_file_with_overrides_last():
    text = (
        "version: 1\n"
        "name: a\n"
        "data:\n"
        "  name: jets-hl\n"
        "serch: {}\n"
        "search:\n"
        "  trials: many\n"
        "  trails: 5\n"
        "target: {part: xcvu13q}\n"
    )
    assert problems(text, "search.seed=-1") == [
        "e.yaml:4: data.name: unknown data set 'jets-hl'; did you mean 'jets-hlf'? (known: jets-hlf, "
        "jets-constituents, qubit-readout, openml:<number>; your own data go under 'files')",
        "e.yaml:5: serch: unknown key; did you mean 'search'?",
        "e.yaml:7: search.trials: must be a whole number; got 'many'",
        "e.yaml:8: search.trails: unknown key; did you mean 'trials'?",
        "e.yaml:9: target.part: unknown part 'xcvu13q'; did you mean 'xcvu13p'?",
        "override 'search.seed=-1': search.seed: must be >= 0; got -1",
    ]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        # unknown keys
        ("search: {trails: 5}", "search.trails: unknown key; did you mean 'trials'?"),
        ("search: {Trials: 5}", "search.Trials: unknown key; did you mean 'trials'?"),
        ("trials: 5", "trials: unknown key; it belongs to 'search'"),
        ("search: {qqq: 5}", "search.qqq: unknown key; no key here has a similar name"),
        ("space: {blocks: [{type: mlp, droput: 0}]}", "space.blocks.0.droput: unknown key; did you mean 'dropout'?"),
        ("compress: {recipe: imp, beta: 1}", "compress.beta: unknown key; it belongs to recipe: hgq"),
        ("compress: {recipe: imp, round: 1}", "compress.round: unknown key; did you mean 'rounds'?"),
        ("compress: {beta: {from: 1, too: 2, to: 2}}", "compress.beta.too: unknown key; did you mean 'to'?"),
        ("target: {budget: {luts: 1}}", "target.budget.luts: unknown key; did you mean 'lut'?"),
        (
            "space: {quantization: {beta: {values: [1.0], step: 2}}}",
            "space.quantization.beta.step: unknown key; it does not go with the other keys here",
        ),
        ("1: 2", "1: must be text, as every key; got 1"),
        # kinds of values
        ("search: {epochs: 2.5}", "search.epochs: must be a whole number; got 2.5"),
        ("search: {epochs: true}", "search.epochs: must be a whole number; got true"),
        ("search: {epochs: '5'}", "search.epochs: must be a whole number; got '5'"),
        ("tracking: {mlflow: yes}", "tracking.mlflow: must be true or false; got 'yes'"),
        ("target: {clock_period_ns: fast}", "target.clock_period_ns: must be a number; got 'fast'"),
        ("target: {clock_period_ns: .nan}", "target.clock_period_ns: must be a finite number; got nan"),
        ("target: {part: 5}", "target.part: must be text; got 5"),
        ("search:", "search: must be a mapping; got nothing (the key has no value)"),
        ("search: [1]", "search: must be a mapping; got [1]"),
        ("compress: [1]", "compress: must be a mapping; got [1]"),
        ("search: {constraints: 5}", "search.constraints: must be a mapping; got 5"),
        ("search: {objectives: lut}", "search.objectives: must be a list; got 'lut'"),
        ("search: {objectives: []}", "search.objectives: needs at least 1 entry; got []"),
        # bounds and words
        ("search: {epochs: 0}", "search.epochs: must be >= 1; got 0"),
        ("target: {clock_period_ns: 0}", "target.clock_period_ns: must be > 0.0; got 0"),
        ("compress: {recipe: imp, fraction: 1.0}", "compress.fraction: must be < 1.0; got 1.0"),
        ("space: {quantization: {bits0: 33}}", "space.quantization.bits0: must be <= 12; got 33"),
        (
            "search: {workers: 0}",
            "search.workers: must be a whole number >= 1, 'auto', 'dask://HOST:PORT' or a cluster; got 0",
        ),
        (
            "search: {workers: all}",
            "search.workers: must be a whole number >= 1, 'auto', 'dask://HOST:PORT' or a cluster; got 'all'",
        ),
        (
            "search: {sampler: nsga}",
            "search.sampler: must be 'grid', 'random', 'tpe', 'cmaes', 'gp', 'nsga2', 'nsga3', 'qmc' or 'bruteforce'; "
            "got 'nsga'; did you mean 'nsga3'?",
        ),
        (
            "space: {blocks: [{activation: [relu, rleu]}]}",
            "space.blocks.0.activation.1: must be 'relu', 'tanh', 'sigmoid', 'leaky_relu' or 'none'; got 'rleu'; "
            "did you mean 'relu'?",
        ),
        # variants
        (
            "compress: {recipe: fixd}",
            "compress.recipe: must be one of none, hgq, fixed, imp, fitcompress, budget, steps, several, ap, "
            "autosparse, cs, dst, fit, hgq-dst, lottery, mdmm, pdp, pdp-nm, ptq, qat, wanda, wanda-ptq; got 'fixd'; "
            "did you mean 'fixed'?",
        ),
        (
            "search: {schedule: cosin}",
            "search.schedule.name: must be one of 'constant', 'cosine', 'restarts', 'plateau'; got 'cosin'; "
            "did you mean 'cosine'?",
        ),
        (
            "search: {schedule: {patience: 3}}",
            "search.schedule.name: is missing; write one of 'constant', 'cosine', 'restarts', 'plateau'",
        ),
        ("search: {schedule: restarts}", "search.schedule.period_epochs: is missing; it has no default"),
        ("compress: {beta: [1, 2]}", "compress.beta: must be a single value or a mapping; got [1, 2]"),
        ("compress: {beta: {from: 1}}", "compress.beta.to: is missing; it has no default"),
        ("compress: {beta: low}", "compress.beta: must be a number; got 'low'"),
    ],
)
def test_a_mistake_is_answered_in_the_words_of_the_file(section, expected):
    assert problems(HEAD + section) == [f"e.yaml:4: {expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "e.yaml:1: is empty; an experiment needs at least version, name and data"),
        ("# only a comment\n", "e.yaml:1: is empty; an experiment needs at least version, name and data"),
        ("- a", "e.yaml:1: must be a mapping with the keys version, name, data, ...; got ['a']"),
        ("jets", "e.yaml:1: must be a mapping with the keys version, name, data, ...; got 'jets'"),
        ("version: 1\nversion: 1", "e.yaml:2: the key 'version' is already on line 1; keep one of them"),
        (HEAD + "search: {trials: 5", "e.yaml:4: cannot be read as YAML: while parsing a flow mapping"),
        (HEAD.replace("name: a", "name: my jets"), "e.yaml:2: name: a name starts with a letter or digit"),
        (HEAD.replace("name: a", "name: ../a"), "e.yaml:2: name: .* got '../a'; try 'a'"),
        (HEAD.replace("name: a", "name: ''"), "e.yaml:2: name: a name starts with .* got ''$"),
        ("version: 1\nname: a", "e.yaml:1: data: is missing; it has no default"),
    ],
)
def test_a_text_that_is_no_experiment_is_refused(text, expected):
    (found,) = problems(text)
    assert re.match(expected if ".*" in expected else re.escape(expected), found)


def test_a_missing_version_does_not_hide_the_other_problems():
    assert problems("name: a\ndata: {name: jets-hlf}\nserch: 1") == [
        "e.yaml:1: version: is missing; write 'version: 1' as the first line",
        "e.yaml:3: serch: unknown key; did you mean 'search'?",
    ]
    assert problems(HEAD.replace("version: 1\n", "")) == [
        "e.yaml:1: version: is missing; write 'version: 1' as the first line"
    ]


def test_a_yaml_bomb_gives_short_messages():
    lines = ["b0: &b0 [x]", *(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 12))]
    text = HEAD + "\n".join(lines) + "\nsearch: {trials: *b11, constraints: {lut: *b11}}\n"
    assert all(len(line) < 400 for line in problems(text))


def test_numbers_may_be_written_as_in_other_yaml_1_2_readers():
    search = "search: {trials: 1e3, timeout_minutes: 1e1}\n"
    experiment = loads(HEAD + search + "space: {optimizer: {learning_rate: [1e-3, 2e-3]}}")
    assert experiment.search.trials == 1000
    assert experiment.search.timeout_minutes == 10.0
    assert experiment.space.optimizer.learning_rate.values == (1e-3, 2e-3)


def test_a_bare_word_stands_for_a_variant_with_its_defaults():
    experiment = loads(HEAD + "compress: none\nsearch: {schedule: cosine}\nspace: {quantization: float}")
    assert experiment.compress.recipe == "none"
    assert experiment.search.schedule.name == "cosine"
    assert experiment.space.quantization.mode == "float"


def test_merge_keys_work():
    text = HEAD + "search: &s {trials: 7}\n"
    assert loads(text).search.trials == 7
    merged = "version: 1\nname: a\ndata: {name: jets-hlf, rows: &r {train: 5}}\nsearch: {<<: {trials: 7}, epochs: 2}\n"
    assert loads(merged).search.trials == 7


# -- overrides


def test_overrides_change_and_add_values():
    text = HEAD + "space: {blocks: [{type: mlp, depth: [2, 3]}]}"
    experiment = loads(
        text,
        overrides=[
            "search.trials=5",
            "space.blocks.0.depth=[1, 4]",
            "target.budget.lut=1e4",
            "compress.recipe=none",
            "search.constraints.lut=<= 100",
            "data.rows.train=200",
            "data.rows.train=100",
            "search.early_stopping=",
        ],
    )
    assert experiment.search.trials == 5
    assert experiment.space.blocks[0].depth.values == (1, 4)
    assert experiment.target.budget.lut == 10_000
    assert experiment.compress.recipe == "none"
    assert experiment.search.constraints == {"lut": "<= 100"}
    assert experiment.data.rows.train == 100
    assert experiment.search.early_stopping is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trials", "must be KEY=VALUE with a dotted key, as in search.trials=5"),
        ("=5", "must be KEY=VALUE with a dotted key, as in search.trials=5"),
        ("search..trials=5", "must be KEY=VALUE with a dotted key, as in search.trials=5"),
        ("search.trials=[", "the value cannot be read as YAML: while parsing a flow node"),
        ("search.trials={a: 1, a: 2}", "the value the key 'a' is already on line 1; keep one of them"),
        ("data.name.x=5", "data.name is 'jets-hlf', which has no part 'x'; set data.name itself"),
        ("space.blocks.1.depth=5", "space.blocks is a list with the positions 0 to 0; got '1'"),
        ("space.blocks.x.depth=5", "space.blocks is a list with the positions 0 to 0; got 'x'"),
        ("search.baselines.0=5", "search.baselines is a list with no entries; got '0'"),
        ("search.trails=5", "search.trails: unknown key; did you mean 'trials'?"),
        ("serch.trials=5", "serch: unknown key; did you mean 'search'?"),
        ("search.schedule.factor=2", "search.schedule.name: is missing; write one of 'constant', 'cosine'"),
        ("version=2", "version: this weft reads files up to version 1; got 2; upgrade weft"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(override, message):
    (found,) = problems(HEAD + "space: {blocks: [{type: mlp}]}\nsearch: {baselines: []}", override)
    assert found.startswith(f"override '{override}': {message}")


# -- files and presets


def write(folder: Path, text: str, name: str = "e.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_relative_data_files_start_from_the_folder_of_the_file(tmp_path):
    files = "files: {train: {x: x.npy, y: ../y.npy}, validation: /data/v.npz, test: sub/t.h5}"
    experiment = load(write(tmp_path, HEAD.replace("name: jets-hlf", files)))
    found = experiment.data.files
    assert found.train.x == tmp_path / "x.npy"
    assert found.train.y == tmp_path / "../y.npy"
    assert found.validation == Path("/data/v.npz")
    assert found.test == tmp_path / "sub/t.h5"
    assert found.all is None


def test_a_home_folder_is_found_and_an_unknown_user_is_left_to_the_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    text = HEAD.replace("name: jets-hlf", "files: {train: ~/x.npz, test: ~nobody-at-all/x.npz}")
    files = load(write(tmp_path, text)).data.files
    assert files.train == Path("/home/someone/x.npz")
    assert files.test == tmp_path / "~nobody-at-all/x.npz"


def test_relative_data_files_of_a_preset_start_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = load("jets-demo", ["data={files: {all: x.csv}}"])
    assert experiment.data.files.all == tmp_path / "x.csv"


def test_loads_leaves_paths_alone():
    assert loads(HEAD.replace("name: jets-hlf", "files: {all: x.csv}")).data.files.all == Path("x.csv")


def test_a_file_of_layers_is_read_from_the_folder_of_the_experiment_and_stored_with_it(tmp_path, monkeypatch):
    (tmp_path / "layers.yaml").write_text("a:\n  weight: {bits: 3}\n'b*':\n  prune: false\n")
    (tmp_path / "e.yaml").write_text(HEAD + "compress: {recipe: dst, layers: layers.yaml}\n")
    found = load(tmp_path / "e.yaml")
    assert found.compress.layers["a"].weight.bits == 3
    monkeypatch.chdir(tmp_path)
    assert found == load("e.yaml") == loads(dump(found)) == loads((tmp_path / "e.yaml").read_text())
    tuned = "tune: {parameters: {compress.layers.a.weight.bits: [2, 3]}}\n"
    assert loads(HEAD + "compress: {recipe: dst, layers: layers.yaml}\n" + tuned).tune is not None


def test_problems_of_a_file_of_layers_name_it_with_its_line_and_layer(tmp_path):
    file, layers = tmp_path / "e.yaml", tmp_path / "layers.yaml"
    layers.write_text("a:\n  weight: {bits: 99}\nb:\n  wieght: {}\n")
    file.write_text(HEAD + "compress:\n  recipe: fixed\n  layers: layers.yaml\nserch: {}\n")

    def lines(*overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(file, overrides)
        return str(caught.value).splitlines()

    assert lines() == [
        f"{file}:6: compress.layers: {layers}:2: a.weight.bits: must be <= 24; got 99",
        f"{file}:6: compress.layers: {layers}:4: b.wieght: unknown key; did you mean 'weight'?",
        f"{file}:7: serch: unknown key; did you mean 'search'?",
    ]
    (_, missing) = lines("compress.layers=nowhere.yaml")
    assert missing.startswith("override 'compress.layers=nowhere.yaml': compress.layers: cannot read the layers'")
    assert "nowhere.yaml': [Errno 2] No such file or directory" in missing
    assert missing.endswith("; 'weft init-layers MODEL' writes such a file")
    assert lines("compress.layers=3")[1].endswith("compress.layers: must be a mapping; got 3")


def test_a_file_goes_before_a_preset_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, HEAD, "jets-demo")
    assert load("jets-demo").name == "a"


def test_a_folder_does_not_hide_the_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jets-demo").mkdir()
    assert load("jets-demo").name == "jets-demo"


def test_a_missing_file_names_the_nearest_file_or_preset(tmp_path, monkeypatch):
    write(tmp_path, HEAD, "mine.yaml")
    with pytest.raises(ConfigError, match=r"cannot find '.*mien.yaml': .*; did you mean '.*mine.yaml'\?"):
        load(tmp_path / "mien.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot find 'min.yaml': .*; did you mean 'mine.yaml'\?"):
        load("min.yaml")
    with pytest.raises(ConfigError, match=r"cannot find 'jets-dem': there is no such .*; did you mean 'jets-demo'\?"):
        load("jets-dem")
    with pytest.raises(ConfigError, match=r"cannot find 'zzz': .* \(presets: jets-constituents, .*qubit-readout, .*\)"):
        load("zzz")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read '.*': it is a folder; name the YAML file in it"):
        load(tmp_path)


def test_a_file_that_is_no_utf8_text_is_refused(tmp_path):
    (tmp_path / "e.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot read '.*e.yaml': .*it must be a readable UTF-8 text file"):
        load(tmp_path / "e.yaml")


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "e.yaml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert load(tmp_path / "e.yaml").name == "a"


def test_problems_of_a_file_and_of_a_preset_name_it(tmp_path):
    path = write(tmp_path, HEAD + "serch: 1")
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}:4: serch: unknown key"):
        load(path)
    with pytest.raises(ConfigError, match=r"^preset jets-demo:\d+: compress.bits0: unknown key"):
        load("jets-demo", ["compress.recipe=fixed"])


def test_the_source_text_is_what_was_written(tmp_path):
    assert source_text(write(tmp_path, HEAD)) == HEAD
    assert source_text("jets-demo").startswith("# ")
    with pytest.raises(ConfigError, match="cannot find 'zzz'"):
        source_text("zzz")
