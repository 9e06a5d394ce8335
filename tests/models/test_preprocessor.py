import numpy as np
import pytest
import torch

from rgbx.models import MultimodalPreprocessor
from rgbx.transforms import HorizontalFlip, PackSample


def test_normalises_in_the_modality_s_own_unit():
    preprocessor = MultimodalPreprocessor(("rgb", "depth"), {"depth": {"mean": [2.0], "std": [0.5]}})
    rgb = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    out = preprocessor(
        {
            "rgb": rgb + torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1),
            "depth": torch.tensor([[[[3.0, 0.0]]]]),
            "depth_valid": torch.tensor([[[[True, False]]]]),
            "sample_id": ["a"],
        }
    )
    torch.testing.assert_close(out["inputs"]["rgb"], torch.ones(1, 3, 1, 2))
    assert out["inputs"]["depth"].flatten().tolist() == [2.0, 0.0]
    assert out["label"] is None


def test_depth_without_a_mask_is_measured_where_positive():
    preprocessor = MultimodalPreprocessor(("depth",), {"depth": {"max": [80.0]}})
    depth = preprocessor({"depth": torch.tensor([[[[2.845, 0.0, 2.845 + 1.418]]]])})["inputs"]["depth"]
    torch.testing.assert_close(depth.flatten(), torch.tensor([0.0, 0.0, 1.0]))


def test_values_beyond_the_maximum_are_clipped():
    preprocessor = MultimodalPreprocessor(("depth",), {"depth": {"mean": [0.0], "std": [1.0], "max": [80.0]}})
    depth = preprocessor({"depth": torch.tensor([[[[3.0, 1e5]]]])})["inputs"]["depth"]
    assert depth.flatten().tolist() == [3.0, 80.0]


def test_statistics_travel_in_the_state_dict():
    state = MultimodalPreprocessor(("depth",), {"depth": {"mean": [2.0], "std": [0.5]}}).state_dict()
    assert state["depth_mean"].item() == 2.0


def test_missing_statistics_and_modalities_are_refused():
    with pytest.raises(ValueError, match="'lidar'"):
        MultimodalPreprocessor(("lidar",))
    with pytest.raises(ValueError, match=r"the batch has \['label'\]"):
        MultimodalPreprocessor(("rgb",))({"label": torch.zeros(1)})


def test_a_mirror_turns_normals():
    """Mirroring what the network sees is the same as mirroring the scene, as the transform does."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(5, 6, 3)).astype(np.float32)
    sample = {"rgb": rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), "normal": normal, "sample_id": "a", "paths": {}}
    model = MultimodalPreprocessor(("rgb", "normal"), {"normal": {"mean": (0.1, 0.2, -0.5), "std": (0.5, 0.4, 0.3)}})

    def seen(sample):
        batch = PackSample()(sample, rng)
        return model({name: batch[name][None] for name in ("rgb", "normal")})["inputs"]

    mirrored, expected = model.mirror(seen(sample)), seen(HorizontalFlip(1.0)(sample, rng))
    for name in ("rgb", "normal"):
        torch.testing.assert_close(mirrored[name], expected[name])
    assert not torch.allclose(mirrored["normal"], seen(sample)["normal"].flip(-1))
