"""The example of every command runs as it stands in the help, and a shell completes what a command takes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_result import make_result
from small_models import UNET, small
from tiny import tiny_segmentor

from rgbx.cli.arguments import COMMANDS, build_parser
from rgbx.cli.main import main
from rgbx.convert.asymfusion_keys import authors_key
from rgbx.datasets import SyntheticRooms
from rgbx.models import multimodal_segmentor
from rgbx.models.checkpoint import to_plain


def lay_config(write_config, _):
    path = write_config()
    for name, target in ((path, "configs/rooms/asymfusion_r18_rooms_160x120.py"), ("base.py", "configs/rooms/base.py")):
        os.renames(name, target)


def lay_test(write_config, root):
    lay_config(write_config, root)
    save("work_dirs/rooms/epoch_1.pth", tiny_segmentor(("rgb", "depth"), 3))


def lay_predict(_, root):
    save("work_dirs/rooms/epoch_1.pth", small("classes"))
    lay_frames()


def lay_retrieve(_, root):
    save("work_dirs/codes/epoch_1.pth", small(heads={"codes": dict(task="embedding", dim=4)}, fusion="late"))
    lay_frames()


def lay_translate(_, root):
    save("work_dirs/normals/epoch_1.pth", small("map"))
    lay_frames()


def lay_frames():
    for folder, image in (("photos", np.zeros((40, 60, 3), np.uint8)), ("depths", np.ones((40, 60), np.uint16))):
        Path(folder).mkdir()
        cv2.imwrite(f"{folder}/1.png", image)


def lay_doctor(_, root, splits=("train",)):
    for split in splits:
        rooms = SyntheticRooms(split=split, num_frames=2, size=(24, 32), root="data/my_dataset")
        for index in range(2):
            rooms.write(index)


def lay_init(_, root):
    lay_doctor(_, root, ("train", "val"))


def lay_prepare(_, root):
    for folder, shape in (("images", (6, 8, 4)), ("labels", (6, 8))):
        (root / "downloads/ir_seg_dataset" / folder).mkdir(parents=True)
        cv2.imwrite(f"downloads/ir_seg_dataset/{folder}/a.png", np.ones(shape, np.uint8))
    (root / "downloads/ir_seg_dataset/train.txt").write_text("a\n")


def lay_serve(_, root):
    save("work_dirs/rooms/epoch_1.pth", small("classes"))
    SyntheticRooms(split="test", num_frames=1, size=(24, 32), root="data/rooms").write(0)


async def ended(server):
    """Stands for what a server does once it can be reached, which Ctrl-C would end."""


def lay_profile(_, root):
    save("work_dirs/rooms/epoch_1.pth", small("classes"))


def lay_export(_, root):
    save("work_dirs/rooms/epoch_1.pth", small("classes", backbone={**UNET, "depth": 2}))


def lay_study(_, root):
    shutil.copytree(Path(__file__).parents[2] / "configs", "configs")
    (root / "data/rooms").mkdir(parents=True)


def lay_results(_, root):
    for seed, name in enumerate(("a", "b", "rooms")):
        (root / "work_dirs" / name).mkdir(parents=True)
        (root / "work_dirs" / name / "results.json").write_text(json.dumps(make_result(seed=seed)))


def lay_convert(_, root):
    names = ("rgb", "depth")
    with torch.device("meta"):
        model = multimodal_segmentor(
            modalities=names, num_classes=7, backbone="resnet50", decoder={"name": "refinenet", "width": 8}
        )
    shapes = {k: x.shape for k, x in model.state_dict().items() if not k.startswith("data_preprocessor.")}
    weights = {f"module.{authors_key(key, names)}": torch.zeros(shape) for key, shape in shapes.items()}
    weights["module.alpha"] = torch.ones(2)
    weights |= {key: torch.tensor(7) for key in weights if key.endswith("num_batches_tracked")}
    torch.save({"segmenter": weights}, "model-best.pth.tar")


def save(path, model):
    Path(path).parent.mkdir(parents=True)
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": {"epoch": 1}}, path)


def lay_submit(write_config, folder):
    lay_config(write_config, folder)
    for name, text in {"sbatch": "echo Submitted batch job 12", "srun": ""}.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


LAID = {  # what has to lie where an example names it
    "init": lay_init,
    "train": lay_config,
    "test": lay_test,
    "predict": lay_predict,
    "retrieve": lay_retrieve,
    "serve": lay_serve,
    "translate": lay_translate,
    "doctor": lay_doctor,
    "prepare": lay_prepare,
    "profile": lay_profile,
    "export": lay_export,
    "study": lay_study,
    "submit": lay_submit,
    "compare": lay_results,
    "report": lay_results,
    "convert": lay_convert,
    "models": lay_profile,
}


@pytest.mark.usefixtures("own_loop")
@pytest.mark.parametrize("name", COMMANDS)
def test_examples_run(name, write_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uvicorn.Server.main_loop", ended)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (example,) = [line for line in build_parser(name).format_help().splitlines() if line.startswith("  rgbx ")]
    program, *words = shlex.split(example)
    assert (program, words[0]) == ("rgbx", name)
    LAID.get(name, lambda *_: None)(write_config, tmp_path)
    assert main(words) == 0
    shutil.rmtree(tmp_path)


SHELL = """
import os, sys
from rgbx.cli.main import main
for line in sys.stdin.read().splitlines():
    os.environ.update(_ARGCOMPLETE="1", _ARGCOMPLETE_IFS=" ", _ARGCOMPLETE_STDOUT_FILENAME="words",
        COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE="9")
    try:
        main([])
    except SystemExit:
        print(open("words").read())
print(*sys.modules)
"""


def test_a_shell_completes_commands_options_choices_and_files(tmp_path):
    (tmp_path / "my_config.py").touch()
    lines = {
        "rgbx tra": {"train", "translate"},
        "rgbx test --prot": {"--protocol"},
        "rgbx test --protocol cmx-s": {"cmx-ss", "cmx-ss-fixed"},
        "rgbx train my": {"my_config.py"},
        "rgbx train my_config.py --launcher ": {"none", "pytorch"},
        "rgbx prepare ny": {"nyudv2"},
        "rgbx --completion z": {"zsh"},
    }
    done = subprocess.run(
        [sys.executable, "-c", SHELL],
        input="\n".join(lines), capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    *found, modules = done.stdout.splitlines()
    assert [set(words.split()) for words in found] == list(lines.values())
    assert not {"torch", "mmengine", "numpy", "cv2"} & set(modules.split())


def test_completion_of_shells(capsys):
    assert main(["--completion", "bash"]) == 0
    done = subprocess.run(["bash", "-n"], input=capsys.readouterr().out, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert main(["--completion", "dos"]) == 2
    assert "takes one of bash, zsh" in capsys.readouterr().err
