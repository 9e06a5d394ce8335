"""TensorFlow's padding as timm computes it, in programs that are written to files."""

import io
import itertools

import pytest
import torch
from torch.export import Dim

from rgbx.backbones._timm import timm
from rgbx.export.program import _whole_padding


def test_the_same_padding_by_whole_numbers():
    known = timm.layers.padding.get_same_padding
    for given in itertools.product(range(1, 40), (1, 2, 3, 5, 7), (1, 2, 3, 4), (1, 2)):
        with _whole_padding():
            found = timm.layers.padding.get_same_padding(*given)
        assert found == known(*given), given
    assert timm.layers.padding.get_same_padding is known


@pytest.mark.parametrize(
    "module", [timm.layers.Conv2dSame(3, 4, 3, stride=2), timm.layers.pool2d_same.MaxPool2dSame(3, 2)]
)
def test_a_program_of_any_size_is_saved(module):
    """Convolutions and pooling pad alike; without this a program is traced and cannot be written."""
    sizes = {2: Dim("height", min=8, max=512), 3: Dim("width", min=8, max=512)}
    with _whole_padding():
        program = torch.export.export(module, (torch.randn(1, 3, 21, 34),), dynamic_shapes=(sizes,))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for size in ((21, 34), (16, 9), (33, 40)):
        x = torch.randn(1, 3, *size)
        torch.testing.assert_close(loaded(x), module(x))
