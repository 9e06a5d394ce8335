"""RGB and its edges to metric depth on NYU Depth V2 at 320x240; the recipe of depth and normals to RGB.

Depth of 0 to 10 m is predicted linearly. Losses and scores leave out what was not measured (`depth_valid`); in this
copy the holes of the sensor are filled, so that every pixel counts, also the invented ones.
"""

from mmengine.config import read_base

with read_base():
    from .translate_depth_normal_rgb_nyudv2_320x240 import *

model.update(modalities=("rgb", "edge"), target="depth")
dataset.update(targets=("depth",))
