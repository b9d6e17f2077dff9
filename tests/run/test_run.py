"""The whole way on a user's own file: what a finished run holds, and what happens when it is not let to finish."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.run.conftest import assert_same, environment, weft, write_experiment
from weft.errors import RunError
from weft.run import Run

WEFT = [sys.executable, "-m", "weft"]


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_the_summary_has_the_keys_that_other_programs_read(finished):
    summary = summary_of(finished)
    assert summary["schema"] == 1
    assert summary["status"] == "finished"
    assert summary["data"]["n_train"] + summary["data"]["n_validation"] + summary["data"]["n_test"] == 900
    assert summary["search"]["trials"] == 4
    assert summary["designs"]
    for design in summary["designs"]:
        assert design["metrics"]["accuracy"]["split"] == "test"
        assert 0.4 < design["metrics"]["accuracy"]["value"] <= 1
        assert design["verification"]["status"] == "exact"
        assert design["verification"]["mismatches"] == 0
        assert design["verification"]["samples"] >= 500
        assert design["verification"]["levels"] == ["keras", "adder_graph", "rtl"]
        assert design["cost"]["lut"]["stage"] == "synthesis"
        assert design["cost"]["lut"]["source"].startswith("yosys 0.70")
        assert design["estimates"]["lut"]["stage"] == "solver"
        assert design["cost"]["lut_fraction"]["stage"] == "synthesis"
        assert design["cost"]["lut_fraction"]["value"] == design["cost"]["lut"]["value"] / 1_728_000
        assert design["cost"]["avg_resource"]["stage"] == "synthesis"
        assert design["cost"]["latency_ns"]["value"] == 4.0 * design["cost"]["latency_cycles"]["value"]
        for quantity in design["cost"].values():
            assert {"value", "unit", "stage", "source"} <= quantity.keys()
    assert json.loads((finished.parent / "stdout.json").read_text()) == summary


def test_the_run_holds_what_the_documentation_says(finished):
    for name in (
        "config.yaml", "config.resolved.yaml", "environment.json", "log.jsonl", "study.journal", "trials.csv",
        "pareto.csv", "summary.json", "report.html",
    ):  # fmt: skip
        assert (finished / name).stat().st_size > 0
    for design in (finished / "designs").iterdir():
        for name in ("architecture.json", "model.keras", "metrics.json", "cost.json", "trail.csv", "verification.json"):
            assert (design / name).stat().st_size > 0
        assert list((design / "firmware" / "src").glob("*.v"))
    assert not list(finished.rglob(".*.tmp"))


def test_progress_off_a_terminal_is_json_lines_on_stderr(finished):
    lines = [json.loads(line) for line in (finished.parent / "stderr.txt").read_text().splitlines()]
    assert [line["stage"] for line in lines if line.get("state") == "ends"] == [
        "data", "search", "compress", "firmware", "report",
    ]  # fmt: skip
    assert any(line.get("eta_seconds") is not None for line in lines)


def test_the_test_split_is_opened_only_after_everything_is_decided(finished):
    """Predictions on test rows exist; nothing of search or compression has seen them."""
    with open(finished / "trials.csv") as lines:
        searched = [float(row["accuracy"]) for row in csv.DictReader(lines) if row["accuracy"]]
    n_validation = summary_of(finished)["data"]["n_validation"]
    assert all(abs(a * n_validation - round(a * n_validation)) < 1e-6 for a in searched)


def test_a_finished_run_is_not_run_again(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("designs/*/*.json")}
    again = weft("run", finished)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.glob("designs/*/*.json")} == before


def start(experiment: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [*WEFT, "run", str(experiment), "--out", str(run)]
    return subprocess.Popen(
        command, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def wait_for(run: Path, moment: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has come to a moment: a stage that has begun, or a file that is there."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        log = run / "log.jsonl"
        if (log.exists() and f'"name": "{moment}", "state": "begins"' in log.read_text()) or list(run.glob(moment)):
            return
        time.sleep(0.02)
    pytest.fail(f"{moment} did not come; the run ended with {process.poll()}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_a_run_killed_again_and_again_ends_as_if_it_had_never_been(finished, tmp_path):
    experiment, run = write_experiment(tmp_path), tmp_path / "run"
    rng = np.random.default_rng(5)
    for moment in ("trials/*/fold0/weights.npz", "compress", "compress/*/checkpoint.npz", "firmware"):
        process = start(experiment, run)
        wait_for(run, moment, process)
        time.sleep(float(rng.uniform(0.0, 1.0)))
        kill_group(process)
    done = weft("run", experiment, "--out", run)
    assert done.returncode == 0, done.stderr
    assert_same(run, finished)
    assert summary_of(run)["status"] == "finished"


def searched(finished: Path, place: Path) -> Path:
    """Copy a finished run as it was after its search."""
    run = Path(shutil.copytree(finished, place))
    for name in ("designs", "compress"):
        shutil.rmtree(run / name)
    return run


def test_ctrl_c_leaves_a_run_that_the_same_command_resumes(finished, tmp_path):
    run = searched(finished, tmp_path / "run")
    (run / "log.jsonl").unlink()
    process = subprocess.Popen(
        [*WEFT, "run", str(run)], env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    wait_for(run, "compress", process)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "nothing finished is lost: the same command goes on from here" in error
    assert "Traceback" not in error
    assert summary_of(run)["status"] == "interrupted"
    done = weft("run", finished.parent / "experiment.yaml", "--out", run, "--set", "search.workers=1")
    assert done.returncode == 0, done.stderr
    assert_same(run, finished)


def test_a_second_process_on_a_run_is_told_who_works_there(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from weft.lock import RunLock\n"
         f"with RunLock({str(run)!r}): print('held', flush=True); time.sleep(60)"],
        env=environment(), stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    second = weft("run", run)
    assert second.returncode == 2
    assert f"in use by process {holder.pid}" in second.stderr
    assert f"process {holder.pid} on" in weft("status", run).stdout
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert weft("run", run).returncode == 0


def test_a_full_disk_is_named_and_the_run_resumes_when_there_is_space(finished, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        run = searched(finished, place / "run")
        used = sum(path.stat().st_blocks * 512 for path in run.rglob("*"))
        subprocess.run(["mount", "-o", f"remount,size={used + 60_000}", str(place)], check=True)
        full = weft("run", run)
        assert full.returncode != 0
        assert "No space left on device" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        done = weft("run", run)
        assert done.returncode == 0, done.stderr
        assert_same(run, finished)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_design_that_computes_something_else_fails_the_run_with_its_name(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    design = sorted((run / "designs").iterdir())[0]
    (design / "verification.json").unlink()
    modules = sorted((design / "firmware" / "src").glob("logic*.v"))
    source = next(path for path in reversed(modules) if "shift_adder" in path.read_text())
    source.write_text(_one_adder_less(source.read_text()))
    failed = weft("verify", run)
    assert failed.returncode == 4, failed.stderr
    assert design.name in failed.stderr
    assert "rtl" in failed.stderr
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"


def _one_adder_less(text: str) -> str:
    """Turn the last addition of a generated module into a subtraction, or the other way round."""
    before, found, flag, after = re.fullmatch(r"(.*)(shift_adder #\([^)]*,)([01])(\) op_.*)", text, re.DOTALL).groups()
    return f"{before}{found}{1 - int(flag)}{after}"


def test_a_budget_that_no_design_meets_ends_with_exit_code_five_after_the_report(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    resolved = run / "config.resolved.yaml"
    text = resolved.read_text()
    assert "lut: null" in text
    resolved.write_text(text.replace("lut: null", "lut: 3"))
    over = weft("run", run)
    assert over.returncode == 5, over.stderr
    assert "no design meets the budget of the target" in over.stderr
    assert "lut" in over.stderr
    assert "3" in over.stderr


def test_data_that_changed_since_the_run_began_are_refused(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    experiment = write_experiment(tmp_path)
    (tmp_path / "events.csv").write_text((tmp_path / "events.csv").read_text().replace("up", "upp"))
    resolved = run / "config.resolved.yaml"
    resolved.write_text(re.sub(r"/\S*/events\.csv", str(tmp_path / "events.csv"), resolved.read_text()))
    changed = weft("run", run)
    assert changed.returncode == 2, changed.stderr
    assert "changed since it was begun" in changed.stderr
    assert experiment.exists()


def test_stages_out_of_order_say_which_comes_first(finished, tmp_path):
    run = searched(finished, tmp_path / "run")
    (run / "selection.json").unlink(missing_ok=True)
    done = weft("compress", run)
    assert done.returncode == 2
    assert f"{run} has no selection.json; run 'weft select {run}' first" in " ".join(done.stderr.split())
    built = shutil.copytree(finished, tmp_path / "built")
    for path in built.glob("designs/*/cost.json"):
        path.unlink()
    done = weft("verify", built)
    assert done.returncode == 2
    assert f"{built} has designs without firmware; run 'weft build {built}' first" in " ".join(done.stderr.split())


def test_a_chosen_trial_without_weights_is_named(finished, tmp_path):
    from weft.run.stages import _compress_job
    from weft.search.results import read

    run = Run(shutil.copytree(finished, tmp_path / "run"))
    results = read(run.path)
    trial = next(iter(results.evaluated))
    bare = replace(results, trials=tuple(replace(one, weights=()) for one in results.trials))
    with pytest.raises(RunError, match=rf"trial {trial.number} has no weights in .*; search again in a new directory"):
        _compress_job(run, bare, trial.number)
