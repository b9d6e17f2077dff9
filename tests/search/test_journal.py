import itertools
import os

import pytest
from optuna.trial import TrialState

from tests.conftest import fill, small_file_system
from weft.errors import RunError
from weft.search.journal import Storage, repair
from weft.search.results import read
from weft.search.tables import write_tables

from .helpers import run, tables


@pytest.fixture
def journal(tmp_path):
    run(tmp_path)
    return tmp_path / "study.journal"


def test_the_journal_is_read_by_optuna_alone(journal):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="search", storage=storage, sampler=optuna.samplers.RandomSampler())
    assert len(study.trials) == 11
    front = {trial.number for trial in study.best_trials}
    assert front == {t.number - 1 for t in with_duplicates(read(journal.parent)) if t.number > 0}


def with_duplicates(results):
    front = {trial.number for trial in results.front()}
    return [trial for trial in results.trials if trial.number in front or trial.duplicate_of in front]


def test_no_lock_file_is_left_and_a_foreign_one_does_not_block(journal):
    assert sorted(path.name for path in journal.parent.iterdir() if "journal" in path.name) == ["study.journal"]
    (journal.parent / "study.journal.lock").symlink_to(journal)  # as Optuna leaves it after a kill
    run(journal.parent, trials=13)


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_torn_last_line_is_removed_with_a_warning(journal, cut, caplog):
    before = tables(journal.parent)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    read(journal.parent)  # a reader does not mind
    assert journal.read_bytes() == whole[:-cut]
    run(journal.parent)
    assert f"{journal}: removed " in caplog.text and "bytes of damaged operations" in caplog.text
    assert tables(journal.parent) == before


def test_zeros_at_the_end_are_removed(journal):
    before = tables(journal.parent)
    with open(journal, "ab") as handle:
        handle.write(b"\0" * 512)
    run(journal.parent)
    assert tables(journal.parent) == before


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b'{"op_co\n', b"[1]\n", b"7\n"])
def test_damage_in_the_middle_is_an_error_that_names_the_line(journal, damage):
    before = tables(journal.parent)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[40] = damage
    journal.write_bytes(b"".join(lines))
    message = rf"study.journal is damaged in line 41 of {len(lines)}, .*restore the file .*repair\(.*salvage=True\)"
    for use in (run, read):
        with pytest.raises(RunError, match=message):
            use(journal.parent)
    repair(journal, salvage=True)
    assert journal.with_name("study.journal.damaged").read_bytes() == b"".join(lines)
    assert journal.read_bytes() == b"".join(lines[:40])
    run(journal.parent)
    assert tables(journal.parent) == before


def test_a_sound_or_absent_journal_is_left_alone(journal, tmp_path):
    whole = journal.read_bytes()
    repair(journal, salvage=True)
    assert journal.read_bytes() == whole
    repair(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_directory_without_a_search_is_told_so(tmp_path):
    with pytest.raises(RunError, match=rf"{tmp_path} holds no search; 'weft search"):
        read(tmp_path)
    (tmp_path / "study.journal").touch()
    with pytest.raises(RunError, match="holds no search"):
        read(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KB, of which tests may fill the rest."""
    with small_file_system(tmp_path / "disk", 256) as place:
        yield place


@pytest.mark.parametrize("free", [0, 4096, 12288, 20480, 40960])
def test_a_search_on_a_full_disk_stops_clearly_and_goes_on_when_there_is_space(small_disk, tmp_path, free):
    run(tmp_path / "whole", folds=2, trials=16)
    fill(small_disk, free)
    with pytest.raises(RunError, match=r"could not write .*No space left on device; free space .* what is finished is"):
        run(small_disk / "run", folds=2, trials=16)
    (small_disk / "filler").unlink()
    assert not [path for path in small_disk.rglob("*.tmp")]
    run(small_disk / "run", folds=2, trials=16)
    assert tables(small_disk / "run") == tables(tmp_path / "whole")


def test_tables_stay_whole_on_a_full_disk(small_disk):
    results = run(small_disk / "run").results
    before = tables(small_disk / "run")
    fill(small_disk)
    with pytest.raises(RunError, match=r"could not write .*trials.csv: No space left on device"):
        write_tables(small_disk / "run", results)
    assert tables(small_disk / "run") == before


def test_what_the_writer_keeps_in_memory_is_what_a_reader_finds(tmp_path, monkeypatch):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from weft.search import study

    storages = []
    monkeypatch.setattr(study, "Storage", lambda journal: storages.append(Storage(journal)) or storages[-1])
    run(tmp_path, trials=6)
    run(tmp_path, trials=14)
    writer, reader = storages[-1], JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    for number in (0, 1):
        assert writer.get_study_user_attrs(number) == reader.get_study_user_attrs(number)
        for states in (None, (TrialState.WAITING,), (TrialState.COMPLETE,)):
            found, expected = (one.get_all_trials(number, deepcopy=False, states=states) for one in (writer, reader))
            assert found == expected
    assert len(writer.get_all_trials(0)) == 13


def test_every_result_is_on_the_disk_before_anything_else_is_done(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    run(tmp_path, folds=2, trials=8)
    lines = (tmp_path / "study.journal").read_bytes().splitlines(keepends=True)
    ends = list(itertools.accumulate(map(len, lines)))
    results = [end for end, line in zip(ends, lines, strict=True) if b'"fold ' in line]
    assert len(results) >= 12 and set(results) <= set(synced) and len(synced) < len(lines)
