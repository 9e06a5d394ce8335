"""Maps computed from depth: NaN and the infinities are holes like 0."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.datasets.rooms import render
from rgbx.maps.edges import edges
from rgbx.maps.hha import hha
from rgbx.maps.normals import facing_normals

CAMERA = (70.0, 70.0, 39.5, 29.5)
COMPUTED = {
    "hha": lambda depth: hha(depth, **dict(zip(("fx", "fy", "cx", "cy"), CAMERA, strict=True))),
    "normals": lambda depth: facing_normals(depth, CAMERA),
    "canny": lambda depth: edges(depth, source="depth", method="canny", low=0.03, high=0.06),
    "sobel": lambda depth: edges(depth, source="depth", method="sobel", low=0.03, high=0.06),
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_is_a_hole(name, value):
    depth = render(0, 1, (60, 80))["depth"].copy()
    depth[20:30, 30:50] = depth[::7, ::9] = 0
    with np.errstate(all="raise"):
        found = COMPUTED[name](np.where(depth == 0, np.float32(value), depth))
    np.testing.assert_allclose(found, COMPUTED[name](depth), atol=1e-6)
