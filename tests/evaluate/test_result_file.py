import hashlib
import json
import math
from types import SimpleNamespace

import pytest
import torch

from rgbx.evaluate.image_counts import Evaluation, ImageCounts, file_sizes, to_cells
from rgbx.evaluate.result_file import FORMAT, build_result, fingerprint, read_result, write_result
from rgbx.models import PROTOCOLS

CONFUSIONS = [torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), torch.tensor([[0, 0, 0], [2, 5, 1], [0, 0, 0]])]
DATASET = SimpleNamespace(
    metainfo={"classes": ("a", "b", "c"), "palette": [[0, 0, 0], [1, 2, 3], [4, 5, 6]], "ignore_index": 255}
)


def images(**values):
    return [
        ImageCounts(
            sample_id=str(i),
            cells={"ensemble": to_cells(counts), "rgb": to_cells(counts.T)},
            true_pixels=counts.sum(1),
            **values,
        )
        for i, counts in enumerate(CONFUSIONS)
    ]


def build(checkpoint, **values):
    return build_result(
        {"rgb": Evaluation(images(**values), "skip")},
        protocol=PROTOCOLS["cmx-ms"],
        config={"file": "c.py", "sha256": "0"},
        checkpoint=checkpoint,
        dataset=DATASET,
        every=2,
        speed={"images_per_second": 1.5, "metric_share": 0.01},
        dtype=None,
    )


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(b"weights")
    return path


def test_a_written_result_says_what_was_measured(checkpoint, tmp_path):
    write_result(build(checkpoint), tmp_path / "deep/results.json")
    found = read_result(tmp_path / "deep/results.json")
    assert found["format"] == FORMAT
    assert found["protocol"]["name"] == "cmx-ms"
    assert found["protocol"]["scales"] == [0.75, 1.0, 1.25]
    assert found["checkpoint"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert found["dataset"]["samples"] == 2
    assert found["dataset"]["every"] == 2
    assert list(found["subsets"]["rgb"]) == ["ensemble", "rgb"]
    ensemble = found["subsets"]["rgb"]["ensemble"]
    assert ensemble["confusion"] == (CONFUSIONS[0] + CONFUSIONS[1]).tolist()
    assert ensemble["pixels"] == [4, 10, 0]
    assert ensemble["IoU"] == [3 / 6, 7 / 11, 0.0]
    assert ensemble["Acc"] == [0.75, 0.7, None]
    assert ensemble["aAcc"] == pytest.approx(10 / 14)
    assert ensemble["fwIoU"] == pytest.approx((4 * 3 / 6 + 10 * 7 / 11) / 14)
    assert (ensemble["boundary_f"], ensemble["ece"], ensemble["reliability"]) == (None, None, None)
    assert found["images"][0]["confusion"] == [[0, 0, 3], [0, 1, 1], [1, 1, 2]]
    assert found["images"][0]["mIoU"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert (found["robustness"], found["pictures"]) == (None, None)


def test_calibration_is_in_means_per_bin(checkpoint, tmp_path):
    counts = torch.tensor([[0.0, 4.0], [0.0, 3.0], [0.0, 2.0]], dtype=torch.float64)
    write_result(build(checkpoint, reliability=counts), tmp_path / "r.json")
    ensemble = read_result(tmp_path / "r.json")["subsets"]["rgb"]["ensemble"]
    assert ensemble["reliability"] == {"count": [0, 8], "confidence": [None, 0.75], "accuracy": [None, 0.5]}
    assert math.isclose(ensemble["ece"], 0.25)


def test_the_fingerprint_is_of_the_data(checkpoint):
    classes = DATASET.metainfo["classes"]
    found = fingerprint(images(file_sizes={"rgb": 10}), classes)
    assert fingerprint(images(file_sizes={"rgb": 10}), classes) == found
    others = images(file_sizes={"rgb": 10})
    for image in others:  # predictions do not matter
        image.cells = {"ensemble": torch.tensor([[0, 0, 6]])}
    assert fingerprint(others, classes) == found
    others[0].true_pixels = others[0].true_pixels + 1
    changed = [
        fingerprint(others, classes),
        fingerprint(images(file_sizes={"rgb": 11}), classes),
        fingerprint(images(file_sizes={"rgb": 10})[::-1], classes),
        fingerprint(images(file_sizes={"rgb": 10})[:1], classes),
        fingerprint(images(file_sizes={"rgb": 10}), ("a", "b", "d")),
    ]
    assert len({found, *changed}) == 6


def test_file_sizes_of_a_collated_batch(tmp_path):
    for name, content in (("a.png", b"123"), ("b.png", b"12345")):
        (tmp_path / name).write_bytes(content)
    paths = {"rgb": [str(tmp_path / "a.png"), str(tmp_path / "b.png")], "depth": [str(tmp_path / "no.png")] * 2}
    assert file_sizes({"paths": paths}, 1) == {"rgb": 5}
    assert file_sizes(None, 0) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), (json.dumps({"format": "other"}), "'format' is 'other'"), ("[]", "'format' is None")],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_result(path)
    with pytest.raises(FileNotFoundError, match="no such result file"):
        read_result(tmp_path / "absent.json")
