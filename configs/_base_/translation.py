"""How translations are logged, saved, drawn and scored; every translation begins with this."""

from mmengine.config import read_base

with read_base():
    from .runtime import *

val_cfg.update(pictures=4)  # pictures/epoch_N.png after each validation
# test_cfg.update(protocol="cen"): dropout stays on, colours are stretched
