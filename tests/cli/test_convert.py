"""The command: what it prints and writes, and what it refuses to overwrite or to read."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from rgbx.cli.convert import main
from rgbx.convert.asymfusion_keys import authors_key
from rgbx.models import multimodal_segmentor
from rgbx.models.checkpoint import model_weights, read_checkpoint
from rgbx.train.finetune import transfer


@pytest.fixture(scope="module")
def model():
    """Like the authors' smallest but for a narrow decoder; only its names and shapes are used."""
    decoder = {"name": "refinenet", "width": 8}
    with torch.device("meta"):
        return multimodal_segmentor(modalities=("rgb", "depth"), num_classes=7, backbone="resnet50", decoder=decoder)


@pytest.fixture
def source(model, tmp_path):
    """A file in the authors' format: every tensor repeats one value."""
    shapes = {
        authors_key(key, model.modalities): x.shape
        for key, x in model.state_dict().items()
        if not key.startswith("data_preprocessor.")
    }
    shapes["alpha"] = torch.Size([2])
    weights = {f"module.{key}": torch.full(s, 0.25) for key, s in shapes.items()}
    weights |= {key: torch.tensor(7) for key in weights if key.endswith("num_batches_tracked")}
    path = tmp_path / "in" / "model-best.pth.tar"
    path.parent.mkdir()
    torch.save({"segmenter": weights, "epoch_start": 99, "best_val": 48.25}, path)
    yield path
    (tmp_path / "out.pth").unlink(missing_ok=True)  # 100 MB


def test_converts_reports_and_does_not_overwrite(source, tmp_path, capsys, model):
    out, report = tmp_path / "out.pth", tmp_path / "made" / "keys.json"
    command = ["asymfusion", str(source), str(out)]
    assert main([*command, "--modalities", "rgb", "depth", "--num-classes", "7", "--report", str(report)]) == 0
    text = capsys.readouterr().out
    assert "resnet50 with RefineNet, 7 classes" in text and "rgb (bn_0), depth (bn_1)" in text
    assert "672 of 672 tensors used" in text and "epoch_start 99, best_val 48.25" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("adapt_stage1_b "))
    assert row == ["adapt_stage1_b", "heads.labels.decoder.levels.3.adapt", "6"]

    listed = json.loads(report.read_text())
    assert len(listed["renamed"]) == 672 and listed["unused"] == []
    assert listed["renamed"]["module.clf_conv.module.bias"] == ["heads.labels.decoder.classifier.bias"]
    saved = read_checkpoint(out)
    assert saved["model"]["builder"] == model.recipe["builder"] and "pretrained" not in saved["model"]["parameters"]

    before = out.read_bytes()[:1000], report.read_text()
    assert main(command) == 2
    assert "out.pth exists; choose another name, or pass --force" in capsys.readouterr().err
    assert main(["asymfusion", str(source), str(tmp_path / "new.pth"), "--report", str(report)]) == 2
    assert "keys.json exists" in capsys.readouterr().err and not (tmp_path / "new.pth").exists()
    assert main(["asymfusion", str(source), str(source), "--force"]) == 2  # never the input itself
    assert "model-best.pth.tar exists; choose another name\n" in capsys.readouterr().err
    assert before == (out.read_bytes()[:1000], report.read_text())

    weights = model_weights(saved, out)
    _, summary = transfer(model, weights)  # what --load-from does
    assert not summary.unused and not summary.reinitialised and not summary.filled


def test_what_does_not_fit_is_one_sentence(source, tmp_path, capsys):
    out = tmp_path / "out.pth"
    assert main(["asymfusion", str(source), str(out), "--num-classes", "40"]) == 2
    assert capsys.readouterr().err == f"error: {source} is a network of 7 classes; expected 40\n"
    assert main(["asymfusion", str(source), str(out), "--modalities", "rgb"]) == 2
    assert capsys.readouterr().err == f"error: {source} is a network of 2 modalities; expected 1: rgb\n"
    assert main(["asymfusion", str(source.parent / "none.pth"), str(out)]) == 2
    assert "none.pth: no such file" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_of_objects_needs_trust(source, tmp_path, capsys):
    state = torch.load(source, weights_only=True)
    torch.save({**state, "best_val": Fraction(1, 2), "args": Path("x")}, source)
    out = tmp_path / "out.pth"
    out.write_text("something else")
    command = ["asymfusion", str(source), str(out), "--force"]
    assert main(command) == 2
    assert out.read_text() == "something else"
    message = capsys.readouterr().err
    assert "fractions.Fraction" in message and "can run any code: pass --trust" in message
    assert main([*command, "--trust"]) == 0
    text = capsys.readouterr().out
    assert "best_val 0.5" in text and "Left out, being no weights: args." in text
    assert read_checkpoint(out)["model"]["parameters"]["heads"]["labels"]["num_classes"] == 7
