"""The demo for a sensor that is missing: the branch of RGB or depth that is absent at test is filled in from the other.

`rgbx test CONFIG CHECKPOINT --modalities rgb+depth rgb depth` scores all three.
"""

from mmengine.config import read_base

with read_base():
    from .asymfusion_small_rooms_160x120 import *

model.update(hallucinate=True, modality_dropout=None)  # each step leaves a modality out, in a second run
