"""CEN-ResNet-101 with RefineNet on NYU Depth V2: the authors' network and data, their recipe nearly whole.

Channel exchange in every bottleneck (Wang et al., NeurIPS 2020, arXiv 2011.05005); all else is as in
asymfusion_r101_nyudv2_authors.py, which says what differs from their recipe. Published: mIoU 51.1, single scale, the
checkpoint chosen on the test split. `rgbx reproduce cen-r101-nyudv2` tests their weights.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_r101_nyudv2_authors import *

model.update(fusion=dict(name="channel_exchange"))
