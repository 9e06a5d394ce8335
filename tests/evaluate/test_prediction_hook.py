from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import Halves

from rgbx.evaluate.prediction_hook import PredictionHook


class Shifted(Halves):
    def encode_label(self, label):
        return label + 10


def outputs(*ids, value=1):
    prediction = torch.full((4, 6), value, dtype=torch.uint8)
    return [{"sample_id": name, "prediction": {"ensemble": prediction, "rgb": prediction * 0}} for name in ids]


def test_labels_in_the_dataset_s_ids(tmp_path):
    hook = PredictionHook(tmp_path / "out", Shifted())
    hook.after_test_iter(None, 0, outputs=outputs("half/0", "half/1"))
    hook.active = False
    hook.after_test_iter(None, 0, outputs=outputs("half/2"))
    assert sorted(p.relative_to(tmp_path / "out") for p in tmp_path.rglob("*.png")) == [
        Path("half/0.png"),
        Path("half/1.png"),
    ]
    found = cv2.imread(str(tmp_path / "out/half/1.png"), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.full((4, 6), 11))
    assert hook.count == 2


def test_nothing_is_replaced_unasked(tmp_path):
    PredictionHook(tmp_path, Halves()).after_test_iter(None, 0, outputs=outputs("a"))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.png is there already.*--overwrite"):
        PredictionHook(tmp_path, Halves())
    assert (tmp_path / "a.png").read_bytes() == before
    PredictionHook(tmp_path, Halves(), overwrite=True).after_test_iter(None, 0, outputs=outputs("a", value=2))
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).max() == 2


def test_names_that_clash(tmp_path):
    hook = PredictionHook(tmp_path, Halves())
    hook.after_test_iter(None, 0, outputs=outputs("a"))
    hook.after_test_iter(None, 0, outputs=outputs("a"))  # the same sample again
    with pytest.raises(FileExistsError, match="two samples share this name"):
        hook.after_test_iter(None, 0, outputs=outputs("a", value=2))
    with pytest.raises(ValueError, match="leads out of"):
        hook.after_test_iter(None, 0, outputs=outputs("../a"))
