"""Runs without training: a stand-in for the commands leaves what they would."""

import json
import os
import re
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from rgbx._lock import locked
from rgbx.study.commands import RunError, carry_out
from rgbx.study.grid import Progress, duration, run_all
from rgbx.study.runs import (
    ABSENT,
    AT_WORK,
    CHANGED,
    DAMAGED,
    DONE,
    FAILED,
    FORMAT,
    STARTED,
    last_line,
    move_aside,
    read_state,
    state_now,
    write_note,
)
from rgbx.study.scores import gather
from rgbx.study.work import Outcome, Task


def execute_all(runs, commands, jobs=1, lines=None):
    """As tools/study.py does: only what is not done."""
    todo = [run for run in runs if read_state(run).kind != DONE]
    progress = Progress(len(runs), len(runs) - len(todo), jobs, (lines if lines is not None else []).append)
    tasks = [Task(run, "base.py", ("--data-root", "here"), failed_before=True) for run in todo]
    execute = partial(Task.__call__, commands=commands)
    return run_all(tasks, execute, jobs=jobs, progress=progress, stop=lambda: None)


def test_runs_train_then_test_in_the_order_of_the_grid(declare, make_runs, fake_commands):
    runs = make_runs(declare(method_seeds={"c": (5,)}, seeds=(0, 1)))
    commands, lines = fake_commands(runs), []
    assert execute_all(runs, commands, lines=lines) == []
    order = [("a", 0), ("b", 0), ("c", 5), ("a", 1), ("b", 1)]
    assert commands.calls == [(name, *run) for run in order for name in ("train", "test")]
    assert [read_state(run).kind for run in runs] == [DONE] * 5
    assert re.fullmatch(r"\[1/5\] a, seed 0: mIoU 0\.250 \(\d+ s\); about \d+ s left", lines[0])
    assert re.fullmatch(r"\[5/5\] b, seed 1: mIoU 0\.250 \(\d+ s\)", lines[-1])


def test_commands_get_the_overrides_and_the_subsets(declare, make_runs, fake_commands):
    runs = make_runs(declare(methods={"a": {"model.x": {"y": ("b,c", None)}}}, seeds=(3,)))
    commands = fake_commands(runs)
    execute_all(runs, commands)
    folder = runs[0].folder
    options = ["--data-root", "here", "--cfg-options", "model.x={'y': ('b,c', None)}", "randomness.seed=3"]
    places = ["--work-dir", f"{folder}/test", "--json", f"{folder}/results.json"]
    assert commands.arguments == [
        "base.py",
        str(folder),
        *places,
        "--modalities",
        "rgb+depth",
        "rgb",
        "depth",
        *options,
    ]
    log = (folder / "log.txt").read_text()
    assert f"$ rgbx train base.py --work-dir {folder} --resume --data-root here --cfg-options" in log


def test_finished_runs_are_left_alone(declare, make_runs, fake_commands):
    runs = make_runs(declare())
    execute_all(runs, fake_commands(runs))
    again = fake_commands(runs)
    execute_all(runs, again)
    assert again.calls == []


def test_a_failure_stops_no_other_run_and_is_tried_again(declare, make_runs, fake_commands):
    runs = make_runs(declare(seeds=(0,)))
    failures = {("train", "b", 0): (2, "error: /some/where/weights.pth: no such file"), ("test", "c", 0): (-9, "")}
    commands, lines = fake_commands(runs, failures), []
    assert [run.method for run in execute_all(runs, commands, lines=lines)] == ["b", "c"]
    assert ("test", "b", 0) not in commands.calls
    states = [read_state(run) for run in runs]
    assert [state.kind for state in states] == [DONE, FAILED, FAILED]
    assert states[1].notes == ("train ended with exit code 2: error: weights.pth: no such file",)
    assert states[2].notes == ("test was ended by a signal (Killed): starting",)
    assert lines[1].startswith("[2/3] b, seed 0: failed: train ended with exit code 2")

    again = fake_commands(runs)
    assert execute_all(runs, again) == []
    assert again.calls == [("train", "b", 0), ("test", "b", 0), ("train", "c", 0), ("test", "c", 0)]
    assert read_state(runs[1]).notes == ()


def test_a_test_without_its_result_is_a_failure(declare, make_runs, fake_commands):
    """As when the config changes between training and testing."""
    (run,) = make_runs(declare(methods={"a": {}}, seeds=(0,)))
    (other,) = make_runs(declare(methods={"a": {}}, seeds=(0,)), text="edited")
    with pytest.raises(RunError, match="the config changed while the run went on"):
        carry_out(run, fake_commands([other]), config="base.py", common=[])


def test_an_interrupted_run_goes_on(declare, make_runs, fake_commands):
    (run,) = make_runs(declare(methods={"a": {}}, seeds=(0,)))
    assert read_state(run).kind == ABSENT

    def interrupted(name, arguments, log):
        (run.folder / "epoch_1.pth").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(run, interrupted, config="base.py", common=[])
    assert read_state(run).kind == STARTED
    assert execute_all([run], fake_commands([run])) == []
    assert read_state(run).kind == DONE


def test_another_config_is_noticed(declare, make_runs, fake_commands):
    study = declare(methods={"a": {}, "b": {}}, seeds=(0,))
    before, now = make_runs(study), make_runs(study, text="edited")
    execute_all(before, fake_commands(before))
    state = read_state(now[0])
    assert (state.kind, state.notes) == (CHANGED, ("text: '' → 'edited'",))
    assert now[0].score(state) is None

    (before[1].folder / "run.json").unlink()  # the result file alone says it too
    assert read_state(now[1]).kind == CHANGED
    assert read_state(before[1]).kind == DONE

    kept = move_aside(now[0])
    assert (kept / "results.json").is_file() and kept.name == "seed_0.changed_1"
    assert read_state(now[0]).kind == ABSENT


def test_a_class_that_lies_elsewhere_by_now_is_no_change(declare, make_runs, fake_commands):
    """As in folders of an earlier version; the result carries the hash of then."""
    study = declare(methods={"a": {}}, seeds=(0,))
    (before,), (now,), (other,) = (
        make_runs(study, text=name)
        for name in ("rgbx.engine.optim.Wrap", "rgbx.train.optim.Wrap", "rgbx.train.optim.Other")
    )
    execute_all([before], fake_commands([before]))
    assert before.sha256 != now.sha256
    assert (read_state(now).kind, read_state(other).kind) == (DONE, CHANGED)


def test_an_epoch_of_another_config_is_noticed_but_a_failed_start_is_not(declare, make_runs):
    study = declare(methods={"a": {}}, seeds=(0,))
    (before,), (now,) = make_runs(study), make_runs(study, text="edited")
    write_note(before, seconds=3.0, failure="train ended with exit code 2: error: misspelt")
    assert read_state(now).kind == FAILED
    (now.folder / "epoch_1.pth").touch()
    assert read_state(now).kind == CHANGED


def test_a_further_subset_is_tested_anew(declare, make_runs, fake_commands):
    values = {"methods": {"a": {}}, "seeds": (0,)}
    (run,) = make_runs(declare(**values, modalities=("rgb+depth",)))
    execute_all([run], fake_commands([run]))
    (more,) = make_runs(declare(**values, modalities=("rgb+depth", "rgb")))
    assert read_state(more).kind == STARTED
    execute_all([more], fake_commands([more]))
    assert read_state(more).kind == DONE


def test_damaged_files_are_named(declare, make_runs, fake_commands):
    (run,) = make_runs(declare(methods={"a": {}}, seeds=(0,)))
    execute_all([run], fake_commands([run]))
    note = run.folder / "run.json"
    fields = {"seconds": "long", "commits": [1], "config": {"a": 1}, "failure": 3, "sha256": None}
    wrong = [(json.dumps({"format": FORMAT, name: value}), f"field '{name}' is ") for name, value in fields.items()]
    whole = {path: path.read_text() for path in (note, run.results)}
    for path, text, message in (
        (note, "{", "damaged"),
        (note, "[]", "damaged"),
        (note, '{"format": "x"}', "'format' is 'x', expected"),
        *((note, *found) for found in wrong),
        (run.results, whole[run.results][:-40], "not valid JSON.*; remove the file to have the run tested anew"),
        (run.results, "\0" * 200, "NUL character"),
    ):
        path.write_text(text)
        state = read_state(run)
        assert state.kind == DAMAGED and state.result is None
        assert re.search(rf"{path.name}.*{message}", state.notes[0]), state.notes
        path.write_text(whole[path])
    assert read_state(run).kind == DONE
    run.results.unlink()
    run.results.mkdir()
    assert read_state(run).notes == (
        f"result file {run.results}: expected a file, found a folder; remove the file to have the run tested anew",
    )


def test_jobs_run_side_by_side(declare, make_runs, fake_commands):
    """Two at a time: each run waits until another is there, and never sees a third."""
    runs = make_runs(declare(seeds=(0, 1), methods={"a": {}, "b": {}}))
    barrier, inside, most = threading.Barrier(2), [], []

    def execute(task):
        inside.append(task)
        barrier.wait(timeout=20)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(task)
        return Outcome(failure="no")

    progress, tasks = Progress(4, 0, 2, lambda line: None), [Task(run, "base.py") for run in runs]
    assert run_all(tasks, execute, jobs=2, progress=progress, stop=lambda: None) and len(progress.durations) == 4
    assert max(most) <= 2 and len(most) == 4


def test_interruption_stops_the_children_and_what_was_not_begun(declare, make_runs):
    tasks = [Task(run, "base.py") for run in make_runs(declare())]
    begun, stopped = [], threading.Event()

    def execute(task):
        begun.append(task)
        if len(begun) == 2:
            raise KeyboardInterrupt
        if len(begun) > 2:
            assert stopped.wait(timeout=20)
        return Outcome(failure="no")

    with pytest.raises(KeyboardInterrupt):
        run_all(tasks, execute, jobs=1, progress=Progress(9, 0, 1, lambda line: None), stop=stopped.set)
    assert stopped.is_set()
    assert len(begun) <= 3


def test_time_left():
    progress = Progress(10, 2, 2, lambda line: None)
    progress.durations, progress.ended = [60.0, 120.0], 4
    assert progress.left() == 90 * 6 / 2
    progress.ended = 9
    assert progress.left() == 90
    assert [duration(seconds) for seconds in (4.4, 89, 90, 600, 6000)] == ["4 s", "89 s", "2 min", "10 min", "1.7 h"]


def test_a_run_is_carried_out_by_one_call(declare, make_runs, fake_commands):
    """Also where it was held, finished, or failed by another since the study began."""
    runs = make_runs(declare(seeds=(0,)))
    commands, tasks, lines = fake_commands(runs), [Task(run, "base.py") for run in runs], []
    with runs[0].taken():
        assert (state_now(runs[0]).kind, read_state(runs[0]).kind) == (AT_WORK, ABSENT)
        Task(runs[1], "base.py")(commands)
        write_note(runs[2], seconds=1.0, failure="no room")
        commands.calls.clear()
        progress = Progress(3, 0, 1, lines.append)
        execute = partial(Task.__call__, commands=commands)
        assert run_all(tasks, execute, jobs=1, progress=progress, stop=lambda: None) == [runs[2]]
    assert commands.calls == [] and state_now(runs[0]).kind == ABSENT
    assert re.fullmatch(rf"a, seed 0: at work: process {os.getpid()} on \S+ since 20[\d: -]+; left to it", lines[0])
    assert lines[1] == "[1/2] b, seed 0: mIoU 0.250 (in another call)"
    assert lines[2].startswith("[2/2] c, seed 0: failed: no room (in another call)")
    assert Task(runs[2], "base.py", failed_before=True)(commands).failure is None


def test_two_studies_do_not_share_a_folder(tmp_path):
    with (
        locked(tmp_path / "work", "another study"),
        pytest.raises(ValueError, match="is still at work"),
        locked(tmp_path / "work", "another study"),
    ):
        pass
    with locked(tmp_path / "work", "another study"):
        pass


def test_last_line(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    start = log.stat().st_size
    assert last_line(log, start) == "it printed nothing"
    with log.open("a") as file:
        file.write("bar 1\rbar 2 of '/a/b c/d.png' in ~/x/y.txt\n\n  \n")
    assert last_line(log, start) == "bar 2 of 'b c/d.png' in y.txt"
    log.write_text("x" * 500)
    assert len(last_line(log)) == 200


def test_time_adds_up_over_interruptions(declare, make_runs, fake_commands):
    (run,) = make_runs(declare(methods={"a": {}}, seeds=(0,)))
    write_note(run, seconds=100.0)
    execute_all([run], fake_commands([run]))
    assert json.loads((run.folder / "run.json").read_text())["seconds"] == pytest.approx(100, abs=5)
    assert read_state(run).seconds >= 100


def test_time_is_noted_while_a_run_goes_on(declare, make_runs, fake_commands, monkeypatch):
    """So that a study that is killed loses 30 s of it at most."""
    (run,) = make_runs(declare(methods={"a": {}}, seeds=(0,)))
    monkeypatch.setattr("rgbx.study.commands.BEAT", 0.01)
    write_note(run, seconds=100.0, commits=["before"])
    whole, noted = fake_commands([run]), []

    def call(name, arguments, log):
        end = time.monotonic() + 20
        while (state := read_state(run)).seconds < 100.05:
            assert time.monotonic() < end
            time.sleep(0.01)
        noted.append(state)
        return whole(name, arguments, log)

    carry_out(run, call, config="base.py", common=[])
    assert [state.kind for state in noted] == [STARTED, STARTED] and noted[0].commits[0] == "before"
    assert read_state(run).seconds >= noted[1].seconds >= noted[0].seconds
    assert not [thread for thread in threading.enumerate() if "beat" in thread.name]


def test_commits_of_a_run_are_kept(declare, make_runs, fake_commands, monkeypatch):
    """Interrupted under one commit, finished under another; a run without a known commit says so beside others."""
    study = declare(methods={"a": {}, "b": {}}, seeds=(0,))
    runs = make_runs(study)
    commits = iter(["aaa", "bbb+changes", None])
    monkeypatch.setattr("rgbx.study.commands.find_commit", lambda: next(commits))
    with pytest.raises(RunError):
        carry_out(runs[0], fake_commands(runs, {("train", "a", 0): (1, "no")}), config="base.py", common=[])
    for run in runs:
        carry_out(run, fake_commands(runs), config="base.py", common=[])
    states = {run: read_state(run) for run in runs}
    assert [state.commits for state in states.values()] == [("aaa", "bbb+changes"), ()]
    assert gather(study, states, {}).commits == ["aaa", "bbb+changes", "unknown"]
    alone = {run: replace(state, commits=()) for run, state in states.items()}
    assert gather(study, alone, {}).commits == []
