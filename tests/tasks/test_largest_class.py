import pytest
import torch

from rgbx.tasks.classes import largest_class


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 40, 255, 300])
def test_largest_class_is_the_first_largest(dtype, classes):
    generator = torch.Generator().manual_seed(classes)
    scores = torch.randint(-9, 9, (2, classes, 5, 6), generator=generator).to(dtype)  # many are equal
    value, index = largest_class(scores)
    pixels = scores.movedim(1, -1).reshape(-1, classes).tolist()
    assert value.dtype == dtype
    assert value.flatten().tolist() == [max(pixel) for pixel in pixels]
    assert index.flatten().tolist() == [pixel.index(max(pixel)) for pixel in pixels]
