"""CEN-ResNet-152 with RefineNet on NYU Depth V2: as cen_r101_nyudv2_authors.py, stages of 150 epochs.

Published: mIoU 51.6, single scale, the checkpoint chosen on the test split.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r152_nyudv2_authors import *

model.update(fusion=dict(name="channel_exchange"))
