import pytest
import torch

from rgbx.tasks.base import NotFiniteError
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


@pytest.mark.parametrize("classes", [4, 255, 300])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_infinity_have_no_class(classes, value):
    scores = torch.zeros(3, classes, 5, 6)
    scores[0, 1] = -torch.inf  # another class is the largest
    assert largest_class(scores)[1][0].eq(0).all()
    scores[2, classes - 1, 4, 5] = value
    with pytest.raises(NotFiniteError) as error:
        largest_class(scores)
    assert error.value.samples == (2,)
