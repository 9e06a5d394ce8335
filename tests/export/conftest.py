"""One model of two heads, written once as ONNX and once for torch, with all that files may give."""

from types import SimpleNamespace

import pytest
import torch
from small_models import DENSE, LABELS, UNET, diverse, small

from rgbx.export.onnx import run_onnx, write_onnx
from rgbx.export.program import Deployed, described, run_torch, trace, write_torch


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = diverse(small(heads={"labels": LABELS, "dense": DENSE}, backbone={**UNET, "depth": 2})).eval()
    with torch.no_grad():
        for parameter in model.backbone.decoder.parameters():  # else one class wins everywhere
            parameter.mul_(4)
    model.describe({"classes": list("abcde"), "palette": [[k, 0, 0] for k in range(5)], "stored": {"depth": {}}})
    deployed = Deployed(model, ("rgb", "depth"), scores=True, branches=True)
    about = {**described(deployed, {"file": "a.pth", "sha256": "0"}), "opset": 20}
    program = trace(deployed)
    files = {"onnx": folder / "rgb+depth.onnx", "torch": folder / "rgb+depth.pt2"}
    write_onnx(program, files["onnx"], about)
    write_torch(program, files["torch"], about)
    runs = {"onnx": run_onnx(files["onnx"], about, 1), "torch": run_torch(files["torch"], about)}
    return SimpleNamespace(model=model, deployed=deployed, about=about, files=files, runs=runs)
