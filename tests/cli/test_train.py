import argparse
import errno
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.visualization import LocalVisBackend
from processes import FORKS
from small_models import LABELS, small

import rgbx.cli.train
from rgbx._digest import fault_of
from rgbx._runs import checkpoints_in
from rgbx.backbones._timm import timm
from rgbx.cli.arguments import build_parser
from rgbx.cli.train import _started_again, _uses, main, resume_hint
from rgbx.train.runner import Runner


@pytest.fixture
def work_dir(tmp_path):
    return tmp_path / "run"


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("epoch_*.pth"))


def test_trains_and_resumes(write_config, work_dir, tmp_path):
    config = str(write_config())
    assert main([config, "--work-dir", str(work_dir), "--seed", "3"]) == 0
    assert checkpoints(work_dir) == ["epoch_1.pth", "epoch_2.pth"]
    assert (work_dir / "curves.png").is_file()
    assert torch.load(work_dir / "epoch_2.pth", weights_only=True)["meta"]["seed"] == 3
    longer = ["--cfg-options", "train_cfg.max_epochs=3", "param_scheduler.0.end=3"]
    assert main([config, "--work-dir", str(work_dir), "--resume", *longer]) == 0
    assert checkpoints(work_dir) == ["epoch_2.pth", "epoch_3.pth"]
    assert main([config, "--work-dir", str(work_dir), "--resume", "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    logs = "".join(log.read_text() for log in work_dir.rglob("*.log"))
    assert "Nothing is left to train: max_epochs is 3" in logs
    assert "train_cfg.max_epochs: 2 → 3: applied" in logs and "param_scheduler.0.end: absent → 3: applied" in logs
    other = str(tmp_path / "other")
    assert (
        main(
            [
                config,
                "--work-dir",
                other,
                "--resume",
                str(work_dir / "epoch_3.pth"),
                "--cfg-options",
                "train_cfg.max_epochs=4",
            ]
        )
        == 0
    )
    assert checkpoints(tmp_path / "other") == ["epoch_4.pth"]


def test_a_damaged_checkpoint_is_passed_over_or_refused(write_config, work_dir, tmp_path, capsys):
    command = [str(write_config()), "--cfg-options", "train_cfg.max_epochs=2"]
    assert main([*command, "--work-dir", str(work_dir)]) == 0
    whole = torch.load(work_dir / "epoch_2.pth", weights_only=True)["state_dict"]
    (best,) = work_dir.glob("best_*")
    for path in (work_dir / "epoch_2.pth", best):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 8
        path.write_bytes(data)
    for asked in (["--resume", str(work_dir / "epoch_2.pth")], ["--load-from", str(work_dir)]):
        assert main([*command, "--work-dir", str(tmp_path / "other"), *asked]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "is damaged or no checkpoint: its bytes are not those that were written" in error
        assert error.endswith("; intact in its folder: epoch_1.pth")
        assert not (tmp_path / "other").exists()
    assert main([*command, "--work-dir", str(work_dir), "--resume"]) == 0
    log = "".join(path.read_text() for path in work_dir.rglob("*.log"))
    assert re.search(
        r"WARNING - checkpoint \S*epoch_2\.pth is damaged: its bytes .*; going on from \S*epoch_1\.pth", log
    )
    assert [fault_of(work_dir / name) for name in checkpoints(work_dir)] == ["", ""]  # two are kept, and intact
    again = torch.load(work_dir / "epoch_2.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(again[name], x) for name, x in whole.items())


def test_a_resumed_run_cannot_change_its_model(write_config, work_dir, capsys):
    command = [str(write_config()), "--work-dir", str(work_dir)]
    assert main(command) == 0
    assert main([*command, "--resume", "--cfg-options", "model.width=8", "optim_wrapper.optimizer.lr=1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "epoch_2.pth: model.width is absent → 8 since the run began, which a resumed run cannot follow" in error


def test_nothing_to_resume_starts(write_config, work_dir, capsys):
    assert main([str(write_config()), "--work-dir", str(work_dir), "--resume", "auto"]) == 0
    assert "Nothing to resume" in capsys.readouterr().out


def test_load_from(write_config, work_dir, tmp_path, caplog):
    config = str(write_config())
    assert main([config, "--work-dir", str(work_dir)]) == 0
    assert (
        main(
            [
                config,
                "--work-dir",
                str(tmp_path / "b"),
                "--load-from",
                str(work_dir / "epoch_2.pth"),
                "--cfg-options",
                "model.modalities=('rgb',)",
            ]
        )
        == 0
    )
    log = next((tmp_path / "b").glob("*/*.log")).read_text()
    assert re.search(r"tensors .*count\n", log)
    assert re.search(r"kept .* \d+\n", log)


def test_foreign_pretrained_files_need_trust(write_config, resnet_base, work_dir, tmp_path, capsys):
    """One flag for every file; what was loaded is in the log."""
    state = timm.create_model("resnet18").state_dict()
    state = {f"module.{name}": tensor for name, tensor in state.items() if not name.startswith("layer4.1.")}
    path = tmp_path / "foreign.pth"
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, path)
    config = write_config("train_cfg.update(max_epochs=1)", base=resnet_base)
    command = [str(config), "--work-dir", str(work_dir), "--cfg-options", f"model.pretrained={path}"]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"error: .*weight file \S+foreign\.pth holds .*\(argparse\.Namespace\).*: pass --trust", error)
    assert main([*command, "--trust"]) == 0
    log = max(work_dir.rglob("*.log")).read_text()
    assert f"pretrained weights {path} (prefix 'module.' removed): 90 of 100 tensors loaded\n" in log
    assert "layer4.1: 10 tensors not loaded; its branch starts at 0" in log


def test_only_the_first_process_describes_the_model(write_config, work_dir, monkeypatch):
    monkeypatch.setattr(Runner, "rank", 1)
    monkeypatch.setattr(rgbx.cli.train, "describe_model", lambda _: pytest.fail("it costs a forward pass"))
    assert main([str(write_config()), "--work-dir", str(work_dir)]) == 0


def test_deterministic(write_config, work_dir):
    try:
        assert main([str(write_config()), "--work-dir", str(work_dir), "--deterministic"]) == 0
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cfg-options", "modle.width=3"], "did you mean 'model'?"),
        (["--load-from", "nowhere.pth"], "checkpoint nowhere.pth: no such file"),
        (["--resume", "nowhere.pth"], "checkpoint nowhere.pth: no such file"),
        (["--resume", "a.pth", "--load-from", "b.pth"], "exclude each other"),
        (["--launcher", "pytorch"], "needs torchrun"),
        (["--cfg-options", "model.widths=[1]"], "model has no 'widths'; did you mean 'width'?"),
        (["--cfg-options", "model={'type': 'tiny.tiny_segmentor'}"], "missing 2 required positional"),
        (["--cfg-options", "optim_wrapper.dtype=float16"], "needs a CUDA device"),
        (["--cfg-options", "train_dataloader.dataset={'type': 'Nothing'}"], "Nothing"),
        (
            ["--cfg-options", "model.modalities=('rgb', 'dpth')"],
            "'dpth', but Halves gives rgb, depth; did you mean",
        ),
    ],
)
def test_mistakes_are_one_sentence(write_config, work_dir, capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("RANK", raising=False)
    assert main([str(write_config()), "--work-dir", str(work_dir), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_debugging_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("RGBX_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["nowhere.py"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modle = dict(width=3)", "unknown name 'modle' at the top level; did you mean 'model'?"),
        ("train_cfg.update(max_epoch=3)", "train_cfg has no 'max_epoch'; did you mean 'max_epochs'?"),
        ("optim_wrapper.dtpye = 'float16'", "optim_wrapper has no 'dtpye'; did you mean 'dtype'?"),
        ("model.update(num_class=3)", "model has no 'num_class'; did you mean 'num_classes'?"),
        ("param_scheduler[0].update(powr=1)", "param_scheduler.0 has no 'powr'; did you mean 'power'?"),
        ("test_cfg.update(protocol='cmx-s')", "test_cfg.protocol is 'cmx-s'; expected one of rgbx"),
        ("trian_cfg.update(max_epochs=3)", "NameError: name 'trian_cfg' is not defined; did you mean 'train_cfg'?"),
        ("optim_wrapper.optimzer.update(lr=3)", "no attribute 'optimzer'; did you mean 'optimizer'?"),
        ("x = model['numclasses']", "KeyError: 'numclasses'; did you mean 'num_classes'?"),
        ("from rgbx.datsets import FMB", "No module named 'rgbx.datsets'; did you mean 'datasets'?"),
        ("from rgbx.transforms import RandomCorp", "has no 'RandomCorp'; did you mean 'RandomCrop'?"),
        ("default_hooks.checkpoint.update(save_best='mIuO')", "did you mean 'mIoU'?"),
        ("from rgbx.models import multimodal_segmentor\nmodel = dict(type=multimodal_segmentor, "
         "modalities=('rgb', 'depth'), num_classes=3, backbone='resnet19')", "did you mean 'resnet18'?"),
        ("from rgbx.models import multimodal_segmentor\nmodel = dict(type=multimodal_segmentor, "
         "modalities=('rgb', 'dpeth'), num_classes=3, backbone='test_resnet')", "did you mean 'depth'?"),
        ("from rgbx.datasets import FolderDataset\ntrain_dataloader.dataset = dict(type=FolderDataset, root='')\n"
         "data_root = 'away'", "data root away does not exist; --data-root names"),
    ],
)  # fmt: skip
def test_mistakes_in_a_config_are_named_and_leave_nothing(write_config, work_dir, capsys, line, message):
    assert main([str(write_config(line)), "--work-dir", str(work_dir / "deep")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not work_dir.exists()


def test_a_failed_run_removes_only_what_it_made(write_config, work_dir):
    work_dir.mkdir()
    (work_dir / "20250101_000000").mkdir()
    (work_dir / "notes.txt").touch()
    broken = write_config("train_dataloader.dataset.update(modalities=('rgb', 'thermal'))")
    assert main([str(broken), "--work-dir", str(work_dir)]) == 2
    assert {path.name for path in work_dir.iterdir()} == {"20250101_000000", "notes.txt"}


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_writes_scalars_ends_before_its_folder_goes(write_config, work_dir):
    """Of its own accord TensorBoard's thread opens its file when it comes to, and tells by a traceback if it cannot."""
    line = "from mmengine.visualization import TensorboardVisBackend, Visualizer\nmodel.update(norm='bach')\n"
    line += "visualizer = dict(type=Visualizer, vis_backends=[dict(type=TensorboardVisBackend)])"
    assert main([str(write_config(line)), "--work-dir", str(work_dir)]) == 2
    assert not any("tensorboard" in type(thread).__module__ for thread in threading.enumerate())
    assert not work_dir.exists()


def test_a_work_directory_is_no_config_but_a_checkpoint(write_config, work_dir, tmp_path, capsys):
    config = str(write_config())
    assert main([config, "--work-dir", str(work_dir)]) == 0
    assert main([str(work_dir)]) == 2
    assert f"{work_dir} is a work directory, not the folder of a dataset. It was" in capsys.readouterr().err
    short = ["--cfg-options", "train_cfg.max_epochs=3"]
    assert main([config, "--resume", str(work_dir), "--work-dir", str(tmp_path / "on"), *short]) == 0
    assert checkpoints(tmp_path / "on") == ["epoch_3.pth"]
    short = ["--cfg-options", "train_cfg.max_epochs=1"]
    assert main([config, "--load-from", str(work_dir), "--work-dir", str(tmp_path / "tuned"), *short]) == 0
    assert checkpoints(tmp_path / "tuned") == ["epoch_1.pth"]


def test_errors_of_workers_are_told_without_their_traceback(write_config, work_dir, capsys):
    config = write_config(
        "train_dataloader.update(num_workers=1)\ntrain_dataloader.dataset.update(modalities=('rgb', 'thermal'))"
    )
    assert main([str(config), "--work-dir", str(work_dir)]) == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    assert "config.py: sample 'half/" in error.splitlines()[-1]
    assert "lacks 'thermal'" in error


@pytest.mark.parametrize(
    "given",
    [
        *([], ["--resume"], ["--resume", "auto"], ["--resume=a.pth"], ["--res", "a.pth"], ["--resume", "b c.pth"]),
        *(["--overwrite"], ["--over"]),
    ],
)
def test_hint_is_the_same_command_with_resume(tmp_path, monkeypatch, given):
    monkeypatch.delenv("RANK", raising=False)
    assert "start again with the same command" in resume_hint(["rgbx", "train", "c.py"], str(tmp_path))
    (tmp_path / "epoch_1.pth").touch()
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth")
    command = ["c.py", *given, "--data-root", "my data", "--launcher", "none", "--cfg-options", "a=(1, 2)", "b=3"]
    expected = "c.py --data-root 'my data' --launcher none --cfg-options 'a=(1, 2)' b=3 --resume"

    def hint(*called):
        return resume_hint([*called, *command], str(tmp_path)).partition("Resume with: ")[2]

    assert hint("python", "tools/train.py") == f"python tools/train.py {expected}"
    assert hint("/a place/rgbx", "train") == f"'/a place/rgbx' train {expected}"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert hint("python", "tools/train.py") == f"torchrun --nproc-per-node 2 tools/train.py {expected}"
    assert hint("python", "-m", "rgbx", "train") == f"torchrun --nproc-per-node 2 -m rgbx train {expected}"
    nodes = dict(WORLD_SIZE="8", GROUP_WORLD_SIZE="4", MASTER_ADDR="node1", TORCHELASTIC_RUN_ID="job7")
    for name, value in {**nodes, "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    assert resume_hint(["rgbx", "train"], str(tmp_path)).endswith(
        "Resume with, on every node: TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes 4 --nproc-per-node 2 "
        "--rdzv-backend c10d "
        "--rdzv-endpoint node1 --rdzv-id job7 --max-restarts 3 rgbx train --resume"
    )


def test_a_training_that_torchrun_starts_again_goes_on(write_config, work_dir, monkeypatch, capsys):
    """Without --resume, which the first start did not need; --overwrite would begin anew each time."""
    config = str(write_config())
    assert main([config, "--work-dir", str(work_dir), "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert main([config, "--work-dir", str(work_dir), "--overwrite"]) == 2
    assert "--overwrite would begin anew whenever torchrun restarts" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert main([config, "--work-dir", str(work_dir)]) == 0
    assert "start it as TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun" in capsys.readouterr().err
    assert sum("Resumed" in path.read_text() for path in work_dir.rglob("*.log")) == 1
    assert checkpoints(work_dir) == ["epoch_1.pth", "epoch_2.pth"]


def wait_for(path, running, seconds=60):
    start = time.monotonic()
    while not path.exists():
        assert running() and time.monotonic() - start < seconds, f"{path} did not appear"
        time.sleep(0.02)


def test_ctrl_c_and_kill(write_config, work_dir, start_tool, capsys):
    """Ctrl-C ends with a sentence and exit code 130; a kill leaves the last whole epoch, and a folder to go on in."""
    config = write_config(
        "train_cfg.update(max_epochs=100000)\n"
        "train_dataloader.update(num_workers=1, persistent_workers=True)\n"
        "default_hooks.update(checkpoint=dict(max_keep_ckpts=3))"
    )
    command = ("tools/train.py", config, "--work-dir", work_dir)
    process = start_tool(*command)
    wait_for(work_dir / "epoch_1.pth", lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert (
        error.strip()
        .splitlines()[-1]
        .endswith(f"Resume with: python tools/train.py {config} --work-dir {work_dir} --resume")
    )

    newest = max(int(re.findall(r"\d+", name)[0]) for name in checkpoints(work_dir))
    again = FORKS.Process(target=main, args=([*map(str, command[1:]), "--resume"],))
    again.start()
    wait_for(work_dir / f"epoch_{newest + 1}.pth", again.is_alive)
    kept = sorted(work_dir.rglob("*.log"))
    assert main([*map(str, command[1:]), "--overwrite"]) == 2
    error = capsys.readouterr().err.strip()
    since = r"since [\d-]{10} [\d:]{8}: "
    assert re.search(rf"{work_dir}: another training is still at work \(process {again.pid} on \S+ {since}", error)
    assert sorted(work_dir.rglob("*.log")) == kept and (work_dir / "last_checkpoint").exists()
    again.kill()
    again.join()
    for name in checkpoints(work_dir):
        torch.load(work_dir / name, weights_only=True)
    (work_dir / f".epoch_9.pth.{'f' * 32}.part").write_bytes(b"torn")  # as a kill in the midst of writing leaves it
    assert main([*map(str, command[1:]), "--resume", "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    assert not [path for path in work_dir.iterdir() if path.name.startswith(".") or path.name == "lock"]
    log = "".join(path.read_text() for path in work_dir.rglob("*.log"))
    assert f"Removed .epoch_9.pth.{'f' * 32}.part, which a process that was killed had left." in log


def leave_with_small_files(arguments, errors):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    leave(arguments, errors)


def test_a_full_disk_ends_in_a_sentence(write_config, work_dir, tmp_path, capsys, monkeypatch):
    command = [str(write_config("model.update(width=2000)")), "--work-dir", str(work_dir), "--cfg-options"]
    assert main([*command, "train_cfg.max_epochs=1"]) == 0
    before = {path: path.read_bytes() for path in checkpoints_in(work_dir)}
    (best,) = (path.name for path in before if path.name.startswith("best_"))
    intact = f"; intact in its folder: epoch_1.pth and {best}"
    process = FORKS.Process(
        target=leave_with_small_files, args=([*command, "train_cfg.max_epochs=2", "--resume"], tmp_path / "errors.txt")
    )
    process.start()
    process.join()
    assert process.exitcode == 2
    said = (tmp_path / "errors.txt").read_text()
    form = (
        rf"error: {work_dir}/epoch_2.pth: File too large: 3\d{{5}} bytes are to be written, \d+ bytes are free{intact}"
    )
    assert re.fullmatch(form, said.strip().splitlines()[-1]) and "Traceback" not in said
    assert {path: path.read_bytes() for path in checkpoints_in(work_dir)} == before
    assert not [path for path in work_dir.iterdir() if path.name.startswith(".")]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")  # as writing to an open file says it

    monkeypatch.setattr(LocalVisBackend, "add_scalars", full)
    capsys.readouterr()
    assert main([*command, "train_cfg.max_epochs=2", "--resume"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(rf"error: {work_dir}: No space left on device: \d+ bytes are free{intact}", said)


def leave_group(arguments, errors):
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which is ignored where the tests run under nohup
    leave(arguments, errors)


def leave(arguments, errors):
    with errors.open("w") as sys.stderr:
        sys.exit(main(arguments))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_request_to_end_is_followed_after_a_step(write_config, work_dir, tmp_path, number):
    """What `kill`, a closed terminal and Slurm send: the state inside the epoch is saved, and the exit code tells.

    Whoever ends a whole group of processes sends it to the workers of the loader too.
    """
    config = write_config(
        "train_cfg.update(max_epochs=100000)\ntrain_dataloader.update(num_workers=1)\n"
        "default_hooks.update(checkpoint=dict(step_interval=1, max_keep_ckpts=1))"
    )
    command = [str(config), "--work-dir", str(work_dir)]
    process = FORKS.Process(target=leave_group, args=(command, tmp_path / "errors.txt"))
    process.start()
    wait_for(work_dir / "last_checkpoint", process.is_alive)
    os.killpg(process.pid, number)
    process.join()
    assert process.exitcode == 75
    last = (work_dir / "last_checkpoint").read_text()
    said = (tmp_path / "errors.txt").read_text().strip().splitlines()[-1]
    assert re.match(rf"{number.name} asked the training to end, .*; {work_dir / last} is complete. Resume with: ", said)
    assert "Traceback" not in said and torch.load(work_dir / last, weights_only=True)["optimizer"]


def test_two_processes_and_one_writer(write_config, work_dir, start_tool):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_tool(
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        2,
        "--master-port",
        port,
        "tools/train.py",
        write_config(),
        "--work-dir",
        work_dir,
        "--launcher",
        "pytorch",
    )
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert checkpoints(work_dir) == ["epoch_1.pth", "epoch_2.pth"]
    state = torch.load(work_dir / "epoch_2.pth", weights_only=True)
    assert state["meta"]["iter"] == 4  # 8 samples, 2 processes, batches of 2, 2 epochs
    logs = [path for path in work_dir.rglob("*") if path.suffix == ".log"]
    assert len(logs) == 1
    assert logs[0].read_text().count("Epoch(val) [2]") == 1
    assert not list(work_dir.glob(".*"))


def test_the_end_tells_the_best_and_what_follows(write_config, work_dir, capsys):
    config = str(write_config())
    assert main([config, "--work-dir", str(work_dir)]) == 0
    told = capsys.readouterr().out.partition("Trained 2 epochs; ")[2]
    (best,) = work_dir.glob("best_*.pth")
    score = torch.load(best, weights_only=True)["message_hub"]["runtime_info"]["best_score"]
    epoch = best.stem.rpartition("_")[2]
    assert told.startswith(f"the best is {best}, of epoch {epoch}: mIoU {score:.4g}.")
    assert f"rgbx test {config} {work_dir} --report {work_dir}/report" in told
    assert f"rgbx predict {work_dir} rgb=RGB depth=DEPTH --out" in told
    log = next(work_dir.rglob("*.log")).read_text()
    assert log.count("Epoch(val)") == 2 and len(re.findall("^mean  ", log, re.MULTILINE)) == 1  # of the last one


@pytest.mark.parametrize(("by", "masks"), [("class", " --masks MASKS"), ("frame", "")])
def test_what_embeds_is_followed_by_a_search(by, masks):
    codes = {"codes": {"task": "embedding", "dim": 4, "by": by}}
    data = SimpleNamespace(dataset=[])
    (search,) = _uses(SimpleNamespace(network=small(heads=codes, fusion="late"), train_dataloader=data), "place")
    assert search == f"rgbx retrieve place --index depth=DEPTH --query rgb=RGB{masks} --out found"
    assert build_parser("retrieve").parse_args(search.split()[2:]).index == "depth=DEPTH"
    network = small(heads={"labels": LABELS, **codes}, fusion="late")
    both = _uses(SimpleNamespace(network=network, train_dataloader=data), "place")
    assert both == ["rgbx predict place rgb=RGB depth=DEPTH --out predictions", search]


def test_a_run_does_not_write_over_another(write_config, work_dir, tmp_path, capsys):
    command = [str(write_config()), "--work-dir", str(work_dir)]
    short = ["--cfg-options", "train_cfg.max_epochs=1"]
    assert main(command) == 0
    before = {path: path.stat().st_mtime_ns for path in work_dir.glob("*.pth")}
    assert main(command) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in ("best_mIoU_epoch_", "--resume", "--work-dir", "--overwrite"))
    assert main([*command, "--overwrite", "--load-from", str(work_dir)]) == 2
    assert "which the run is to start from: give another --work-dir" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--resume"]) == 2
    assert "--resume and --overwrite exclude each other" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--cfg-options", "model.modalities=('rgb', 'dpth')"]) == 2
    assert {path: path.stat().st_mtime_ns for path in work_dir.glob("*.pth")} == before  # a run that cannot begin
    assert main([*command, "--overwrite", *short]) == 0
    assert checkpoints(work_dir) == ["epoch_1.pth"]
    assert [path.name for path in work_dir.glob("best_*")] == ["best_mIoU_epoch_1.pth"]


def test_an_interrupted_run_is_not_taken_for_the_one_before(write_config, work_dir, capsys, monkeypatch):
    work_dir.mkdir()
    (work_dir / "epoch_12.pth").touch()
    command = [str(write_config()), "--work-dir", str(work_dir), "--overwrite"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "prepare_training", interrupted)
        assert main(command) == 130
    assert "start again with the same command" in capsys.readouterr().err
    monkeypatch.setattr(rgbx.cli.train, "describe_model", interrupted)
    assert main(command) == 130
    error = capsys.readouterr().err
    assert "start again with the same command" in error and "epoch_12" not in error
    assert not (work_dir / "epoch_12.pth").exists()


@pytest.mark.parametrize(
    ("run", "restarts", "count", "again"),
    [
        ("night 3", "3", "0", True),  # on the node where nobody died
        ("night 4", "3", "0", False),
        ("none", "3", "0", False),
        ("night 3", "0", "0", False),  # started by hand
        ("night 4", "3", "1", True),
    ],
)
def test_a_node_knows_that_torchrun_starts_it_again(tmp_path, monkeypatch, run, restarts, count, again):
    """torchrun counts a restart where a process died alone; the others know the run by its name."""
    told = {"RUN_ID": run, "MAX_RESTARTS": restarts, "RESTART_COUNT": count}
    for name, value in told.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    assert _started_again(str(tmp_path)) == (count != "0")
    (tmp_path / "torchrun.id").write_text("night 3")
    assert _started_again(str(tmp_path)) == again
