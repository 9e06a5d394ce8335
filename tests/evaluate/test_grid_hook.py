import cv2
import numpy as np
import pytest
import torch

from rgbx.evaluate.grid_hook import GridHook, draw_grid, translation_panels


def row(valid=True):
    batch = {"rgb": torch.full((2, 3, 4, 6), 7, dtype=torch.uint8), "edge": torch.zeros(2, 1, 4, 6)}
    truth = torch.linspace(1, 3, 24).view(1, 4, 6)
    output = {
        "prediction": {"rgb": truth + 9, "edge": truth, "ensemble": truth},
        "target": {"depth": truth},
        **({"valid": {"depth": truth > 2}} if valid else {}),
    }
    return translation_panels(batch, 1, output, {"rgb": (0.0, 255.0), "edge": (0.0, 1.0)})


def test_titles_and_one_scale_for_all_depth():
    panels = dict(row(valid=False))
    assert list(panels) == ["RGB", "edge", "from RGB", "from edge", "ensemble", "truth"]
    assert np.array_equal(panels["from edge"], panels["truth"])
    assert len(np.unique(panels["from RGB"].reshape(-1, 3), axis=0)) == 1  # all of it beyond the truth's limits
    assert (panels["RGB"] == 7).all() and panels["RGB"].shape == (4, 6, 3)


def test_inputs_are_shown_as_the_network_tells_them_apart():
    """A heater far beyond the range leaves the differences inside it visible."""
    thermal = torch.linspace(20, 25, 40).repeat(2, 1, 40, 1)
    thermal[..., -8:, -8:] = 70
    output = {"prediction": {"thermal": torch.zeros(1, 40, 40)}}
    (_, picture), _ = translation_panels({"thermal": thermal}, 0, output, {"thermal": (14.0, 30.0)})
    assert (picture[0, 20].astype(int) - picture[0, 0]).max() > 60
    (_, wide), _ = translation_panels({"thermal": thermal}, 0, output, {"thermal": (-50.0, 100.0)})
    assert (wide[0, 20].astype(int) - wide[0, 0]).max() < 60


def test_holes_of_the_truth_are_black():
    truth = dict(row())["truth"]
    assert (truth[:2] == 0).all() and (truth[2:].sum(-1) > 0).all()


def test_a_grid_has_a_row_per_sample(tmp_path):
    sizes = {}
    for count in (1, 3):
        draw_grid([row()] * count, tmp_path / "a" / f"{count}.png")
        sizes[count] = cv2.imread(str(tmp_path / "a" / f"{count}.png")).shape
    assert sizes[1][1] == sizes[3][1] and sizes[3][0] > 2 * sizes[1][0]


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="must be >= 1"):
        GridHook(count=0)
