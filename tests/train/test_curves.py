"""What is read from a run's logs and drawn of it."""

import json

import cv2
import pytest
from matplotlib.figure import Figure

from rgbx.tasks.score import FRACTION, Score
from rgbx.train.curves import plot_losses, read_scalars


def write_log(folder, lines):
    (folder / "vis_data").mkdir(parents=True)
    (folder / "vis_data/scalars.json").write_text("\n".join(map(json.dumps, lines)))


def test_curves_join_resumed_runs(tmp_path):
    write_log(
        tmp_path / "20250101_000000",
        [
            {"loss": 4.0, "epoch": 1, "step": 1},
            {"loss": 2.0, "epoch": 1, "step": 2},
            {"mIoU": 10.0, "rgb/mIoU": 5.0, "aAcc": 1.0, "step": 1},
            {"loss": 9.0, "epoch": 2, "step": 3},
        ],
    )
    write_log(tmp_path / "20250101_000001", [{"loss": 1.0, "epoch": 2, "step": 3}, {"mIoU": 20.0, "step": 2}])
    losses, metrics = read_scalars(tmp_path)
    assert losses == {1: 3.0, 2: 1.0}
    assert metrics == {1: {"mIoU": 10.0, "rgb/mIoU": 5.0, "aAcc": 1.0}, 2: {"mIoU": 20.0}}
    plot_losses(tmp_path, tmp_path / "curves.png", {"mIoU": Score("mIoU", FRACTION)})
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_curves_of_translation(tmp_path, monkeypatch):
    scores = {"MAE": 3.0, "rgb/MAE": 4.0, "PSNR": 20.0, "rgb/PSNR": 19.0, "SSIM": 0.5}
    write_log(tmp_path / "20250101_000000", [{"loss": 4.0, "epoch": 1, "step": 1}, {**scores, "step": 1}])
    _, metrics = read_scalars(tmp_path)
    assert metrics == {1: scores}
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    plot_losses(tmp_path, tmp_path / "curves.png", {"PSNR": Score("PSNR", "dB")})
    _, axes = drawn[0].axes
    assert axes.get_ylabel() == "validation PSNR (dB)"
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"ensemble": [20.0], "RGB branch": [19.0]}


@pytest.mark.parametrize(
    "entry", [{"loss": "0.5", "epoch": 1}, {"loss": 0.5, "epoch": [1]}, {"mIoU": 0.5, "step": 1e400}, [1]]
)
def test_a_log_of_other_values_is_named(tmp_path, entry):
    write_log(tmp_path / "first", [{"loss": 0.5, "epoch": 1}, entry, {"loss": 0.5, "epoch": 1}])
    with pytest.raises(ValueError, match=r"scalars\.json, line 2: expected an object with numbers for loss, epoch"):
        read_scalars(tmp_path)


def test_curves_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training run's work directory"):
        plot_losses(tmp_path, tmp_path / "curves.png", {})


def test_curves_of_several_heads(tmp_path, monkeypatch):
    """The first score of each; a branch is named between head and score."""
    scores = {"labels/mIoU": 30.0, "labels/rgb/mIoU": 20.0, "depth/MAE": 3.0, "depth/rgb/MAE": 4.0, "depth/RMSE": 5.0}
    write_log(tmp_path / "20250101_000000", [{"loss": 4.0, "epoch": 1, "step": 1}, {**scores, "step": 1}])
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    heads = {"labels/mIoU": Score("mIoU", FRACTION), "depth/MAE": Score("MAE", "m", lower=True)}
    plot_losses(tmp_path, tmp_path / "curves.png", heads)
    _, first, second = drawn[0].axes
    labels = [axes.get_ylabel() for axes in (first, second)]
    assert labels == ["validation labels/mIoU (%)", "validation depth/MAE (m, lower is better)"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in second.lines}
    assert lines == {"ensemble": [3.0], "RGB branch": [4.0]}


def test_a_torn_last_line_is_left_out_and_any_other_damage_is_told(tmp_path):
    write_log(
        tmp_path / "20250101_000000", [{"loss": 4.0, "epoch": 1, "step": 1}, {"loss": 2.0, "epoch": 1, "step": 2}]
    )
    log = tmp_path / "20250101_000000/vis_data/scalars.json"
    whole = log.read_text()
    log.write_text(whole + '\n{"loss": 9.0, "ep')
    assert read_scalars(tmp_path) == ({1: 3.0}, {})
    log.write_text('{"loss": \n' + whole)
    with pytest.raises(ValueError, match=r"scalars\.json, line 1: not valid JSON"):
        read_scalars(tmp_path)
    log.write_text(f"[1]\n{whole}")
    with pytest.raises(ValueError, match=r"scalars\.json, line 1: expected an object .*, found \[1\]"):
        read_scalars(tmp_path)
