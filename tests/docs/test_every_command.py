"""Every command of every page is run: here, with little data and short trainings, or by a test that is named here.

What cannot be run where the tests run is held to what can be known of it, with the reason.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_result import make_result
from page_commands import OWN, PAGES, ROOT, arguments_of, in_blocks, in_text, run_by_page_tests
from small_models import HEADS, small

from rgbx.backbones._timm import timm
from rgbx.cli.arguments import COMMANDS, build_parser
from rgbx.cli.main import main
from rgbx.models.checkpoint import to_plain

# Commands that a test of their own runs, as they stand on the page or on data as small.
NAMED = {
    r"rgbx study configs/studies/rooms\.py .*": "tests/cli/test_study.py::test_a_real_study",
    r"rgbx study STUDY .* --executor (submitit|ray) .*": ("tests/study/test_executors.py::test_runs_as_tasks_of_ray"),
    r"rgbx submit .*": "tests/cli/test_submit.py::test_commands_of_the_page",
    r"rgbx export .*": "tests/docs/test_deploy_page.py::test_files_of_the_page",
    r"rgbx models --markdown .*": "tests/docs/test_sharing_page.py::test_the_page_of_models_is_what_the_command_writes",
    r"rgbx models( --latency .*)?": "tests/cli/test_models.py::test_what_is_listed_is_what_was_measured",
    r"python examples/predict_onnx\.py .*": "tests/export/test_examples.py::test_python",
    r"cmake .*": "tests/export/test_examples.py::test_cpp",
    r"rgbx serve .*": "tests/docs/test_serve_page.py::test_the_commands_serve",
    r"curl .*/predict .*": "tests/docs/test_serve_page.py::test_the_form_of_curl",
    r"rgbx prepare nyudv2 .*": "tests/datasets/prepare/test_nyudv2.py::test_lists_hold_the_published_frames",
    r"rgbx prepare cityscapes .*": "tests/datasets/prepare/test_cityscapes.py::test_read_back",
    r"rgbx prepare mfnet .*": "tests/cli/test_prepare.py::test_checksums_are_those_of_the_files",
    r"rgbx test configs/nyudv2/asymfusion_r101.*": (
        "tests/cli/test_config.py::test_the_authors_recipe_is_what_the_authors_published"
    ),
    r"(TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 )?torchrun --nnodes .* rgbx train .*": (
        "tests/cli/test_elastic.py::test_two_nodes_and_a_killed_worker_come_to_the_weights_of_one_node"
    ),
    r"rgbx prepare estimate .*\.py:depth": (
        "tests/datasets/prepare/test_estimate.py::test_frames_that_fail_are_counted_and_tried_again"
    ),
    r"rgbx prepare estimate .*\.onnx .*": "tests/datasets/prepare/test_estimate.py::test_an_onnx_file",
    r"python examples/sensors/\w+\.py data/\w+": (
        "tests/docs/test_sensor_examples.py::test_it_writes_a_dataset_that_trains"
    ),
    r"rgbx reproduce.*": "tests/convert/test_reproduce.py::test_found_beside_published",
    r"rgbx convert cen .*": "tests/convert/test_asymfusion.py::test_the_network_of_cen",
    r"rgbx prepare resized .*": "tests/datasets/prepare/test_resized.py::test_half_the_size",
    r"rgbx prepare shards .*": "tests/cli/test_prepare.py::test_shards_of_a_folder_are_a_dataset",
    r"rgbx predict .* --tar .*": "tests/cli/test_predict.py::test_shards_to_shards",
    r"rgbx predict .* --shard [^-]*": "tests/cli/test_predict.py::test_a_shard_that_was_killed_runs_again",
    r"rgbx test .* --shard .*": "tests/cli/test_evaluate.py::test_shards_in_any_order_and_after_a_kill",
    r"python examples/ray_predict\.py .*": "tests/docs/test_ray_example.py::test_its_files_are_those_of_the_command",
    r"torchrun .* rgbx train .*": "tests/cli/test_train.py::test_two_processes_and_one_writer",
    r"torchrun .* rgbx predict .*": "tests/cli/test_predict.py::test_processes_share_the_frames",
    r"python -m rgbx\.ops build": "tests/ops/test_build.py::test_a_library_says_what_it_was_built_from",
    r"python -m rgbx\.ops": "tests/ops/test_extension.py::test_the_report_names_every_device_and_a_reason",
}


def of_make(command):
    """Targets install packages and train for minutes: that each is there, and that its commands of rgbx are right."""
    for target in re.findall(r"make ([\w./-]+)", command):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for line in re.findall(r"^\S*/rgbx (.*)$", done.stdout, re.MULTILINE):
            name, *words = shlex.split(line)
            build_parser(name).parse_args(words)


def of_benchmark(command):
    """A measurement takes minutes to hours: that the script is there and knows the options."""
    script, *rest = shlex.split(command)[1:]
    text = (ROOT / script).read_text()
    compile(text, script, "exec")
    assert all(f'"{word}"' in text for word in rest if word.startswith("--"))


def of_pip(command):
    """Packages are not installed by tests: that the extras are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"[\w-]+", "".join(re.findall(r"rgbx\[(.*?)\]", command)))) <= set(extras)


def of_docker(command):
    """There is no engine here: that arguments of the build are known, and that rgbx takes the rest."""
    words, file = shlex.split(command), (ROOT / "Dockerfile").read_text()
    for argument in [word for before, word in pairwise(words) if before == "--build-arg"]:
        assert f"ARG {argument.partition('=')[0]}=" in file
    if "run" in words:
        name, *rest = words[next(k for k, word in enumerate(words) if re.fullmatch(r"rgbx(:\w+)?", word)) + 1 :]
        build_parser(name).parse_args(rest)


def of_this_suite(command):
    """The tests cannot run themselves: that what they are told to run is there."""
    folder = re.search(r"tests/(\w+)", command)[1]
    assert folder == "ROOM" or (ROOT / "tests" / folder).is_dir()


def of_a_shell(command):
    """Fetching the repository and entering the environment are before all else."""


ELSEWHERE = {
    r"make .*": of_make,
    r"python benchmarks/.*": of_benchmark,
    r"pip install .*": of_pip,
    r"docker (build|run) .*": of_docker,
    r"(RGBX_FUZZ=10 python|\.venv/bin/python) -m pytest .*": of_this_suite,
    r"(git clone REPOSITORY|\. \.venv/bin/activate).*": of_a_shell,
}

# What a reader has for a word of a page, and less of everything that takes time.
SMALLER = (
    (r"\bCONFIG\|(PATH|CHECKPOINT)|\bCONFIG\b", "configs/CONFIG.py"),
    (r"\[(--.*?)\]", r"\1"),
    (r"\bdata/(mine|unknown|my_dataset)\b", "FOLDER"),
    (r"\bwork_dirs/mine\b", "work_dirs/FOLDER"),
    (r"\bRESULTS_JSON\b", "A/results.json"),
    (r"\bMAP=PATH \.\.\.", "rgb=a.jpg depth=b.png"),
    (r"--out PATH\b", "--out depth_of_a.png"),
    (r"\bCOMMAND\b", "train"),
    (r"\bFOLDER --write-toml", "UNDECLARED --write-toml"),
    (r"\bretrieve CHECKPOINT\b", "retrieve CODES"),
    (r"\btranslate CHECKPOINT\b", "translate MAPS"),
    (r"\bPHOTO\b", "a.jpg"),
    (r"--heads depth\b", "--heads labels"),
    (r"'coral'", "'knowledge_guidance'"),
    (r"\bwork_dirs/NAME/epoch_60\.pth|\basymfusion_r101\.pth", "CHECKPOINT"),
    (r"^rgbx (init|train) FOLDER.*", r"rgbx \1 FOLDER --budget 5s --pretrained none"),
    (r"^(rgbx (init|train) [^-].*)", r"\1 --overwrite"),
    (r"^(rgbx render-rooms \S+)((?! --declare --train 0).*)", r"\1\2 --train 4 --val 2 --test 2"),
    (r"^(rgbx render-rooms (?!.*--size).*)", r"\1 --size 48x64"),
    (r"\brender-rooms data/samples\b", "render-rooms samples"),
    (r"\bdata/samples/rooms\.pth$", "rooms.pth"),
    (r"^(rgbx profile \S+).*", r"\1 --size 48x64 --batches 1 2 --dtypes float32"),
    (r"cmx-ms --robustness\b", "rgbx --robustness --every 2"),  # 60 damages at six scales are 90 seconds
    (r"cmx-ms --modalities\b", "cmx-ms --every 2 --modalities"),
    (r"=resnet50 train_dataloader\.batch_size=4", "=test_resnet train_dataloader.batch_size=1"),
    (r"=vit_small_patch16_dinov3 model\.pretrained=timm", "=test_vit"),
    (r"'hha'", "'normal'"),  # which rendered rooms have
    (r"/path/to/resnet18\.pth", "weights.pth"),
    (r"model\.backbone=tf_efficientnet_lite0 model\.pretrained=lite0", "model.pretrained=weights.pth"),
)
SHORT = """
train_cfg.update(max_epochs=1, val_interval=1)
param_scheduler = [dict(param_scheduler[-1], begin=0)]
for _loader in (train_dataloader, val_dataloader, test_dataloader):
    _loader.dataset.update(num_frames=2)
    _loader.update(batch_size=2, num_workers=0, persistent_workers=False)
"""
SMALL = "dataset.update(size=(48, 64))\nmodel.update(backbone='test_resnet')\n"
SHORTENED = {"asymfusion_small": SMALL, "asymfusion_r18": SMALL, "hallucinating_small": SMALL, "translate_depth": ""}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with what the pages name."""
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "data/samples"):
        shutil.copytree(ROOT / folder, folder)
    for name, smaller in SHORTENED.items():
        (path,) = Path("configs/rooms").glob(f"{name}_*.py")
        path.write_text(path.read_text() + SHORT + smaller)
    monkeypatch.setattr("rgbx.cli.arguments.shipped_configs", lambda: Path("configs").resolve())
    config = (
        "from mmengine.config import read_base\n\nwith read_base():\n    from .rooms.asymfusion_small_rooms_160x120 "
    )
    Path("configs/CONFIG.py").write_text(config + "import *\n")
    samples = Path("data/samples")
    for name in (
        "CHECKPOINT",
        "CKPT",
        "best.pth",
        "work_dirs/run/epoch_1.pth",
        "work_dirs/demo/epoch_N.pth",
        "work_dirs/rooms/epoch_1.pth",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples / "rooms.pth", name)
    for name, folders in {"rgb": ("photos",), "depth": ("depths", "DEPTHS")}.items():
        files = sorted((samples / name).glob("*.png"))[:2]
        Path(f"{name}.txt").write_text("".join(f"{k}.0 {path}\n" for k, path in enumerate(files)))
        for folder in folders:
            Path(folder).mkdir()
            for path in files:
                shutil.copy(path, folder)
    for name in ("a.png", "b.png"):
        shutil.copy(samples / "depth/test_000.png", name)
    cv2.imwrite("a.jpg", cv2.imread(str(samples / "rgb/test_000.png")))
    for name in ("rgb", "depth", "label"):
        Path("UNDECLARED", name).mkdir(parents=True)
        for path in sorted((samples / name).glob("*.png"))[:3]:
            shutil.copy(path, Path("UNDECLARED", name))
    for name, heads in {"CODES": {"codes": dict(task="embedding", dim=4)}, "MAPS": HEADS["map"]}.items():
        model = small(heads=heads, fusion="late")
        meta = {"dataset_meta": {"stored": {"depth": {"scale": 1000.0}}}}
        torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": meta}, name)
    for seed, name in enumerate("AB"):
        Path(name).mkdir()
        Path(name, "results.json").write_text(json.dumps(make_result(seed=seed)))
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), "weights.pth")
    film("left.mp4", "mp4v", [cv2.imread(str(path)) for path in files])
    film("depth.mkv", "FFV1", [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files])
    return tmp_path


def film(path, code, frames):
    """A video: of depth grey of 16 bits, without loss."""
    grey = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    options = grey if frames[0].dtype == np.uint16 else []
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 10, frames[0].shape[1::-1], options)
    for frame in frames:
        writer.write(frame)
    writer.release()


def all_commands():
    """{command: page} of what no test of a page runs, the quick start first."""
    found = {}
    for page in sorted(PAGES, key="docs/index.md".__ne__):
        own = run_by_page_tests(page)
        for command in (*in_blocks(page), *in_text(page)):
            if command not in own:
                found.setdefault(command, page)
    return found


def way(table, command):
    """What a table has for a command."""
    return next((how for pattern, how in table.items() if re.fullmatch(pattern, command)), None)


def test_every_command_of_rgbx_runs(house, monkeypatch, capsys):
    """One after the other in one folder, each once; what one writes, the next may need."""
    examples = {f"rgbx {name} {command.example}" for name, command in COMMANDS.items()}  # tests/cli/test_arguments.py
    done, failed = set(), []
    for command, page in all_commands().items():
        if command in examples or way(NAMED, command) or way(ELSEWHERE, command):
            continue
        short = command.replace('eval "$(', "").replace(')"', "") if command.startswith("eval") else command
        for pattern, smaller in SMALLER:
            short = re.sub(pattern, smaller, short)
        words = arguments_of(short)
        assert words, f"{page}: {command}: no test runs this; name one in NAMED, or say why it cannot be run"
        if short in done:
            continue
        done.add(short)
        for option in ("--out", "--report"):  # of an earlier command
            if option in words:
                shutil.rmtree(words[words.index(option) + 1], ignore_errors=True)
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        if code not in (0, None):
            failed.append(f"{page}: {command}\n  as {short}\n  ends with {code}: {capsys.readouterr().err[-600:]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("command", [name for name in all_commands() if way(ELSEWHERE, name)])
def test_what_cannot_be_run_is_right_as_far_as_can_be_known(command):
    way(ELSEWHERE, command)(command)


def test_named_tests_are_there():
    """And each is of a command that a page prints; tests of pages run all blocks of theirs."""
    commands = all_commands()
    for pattern, node in NAMED.items():
        file, _, name = node.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), node
        assert any(re.fullmatch(pattern, command) for command in commands), pattern
    for node, (page, first, last) in OWN.items():
        file, _, name = node.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests/docs" / file).read_text(), re.MULTILINE), node
        assert 0 <= first < last <= len(in_blocks(page)), node
