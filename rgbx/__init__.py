"""rgbx: dense prediction from RGB plus depth, thermal or any further registered map."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations would ask the network for its newest version

__version__ = "0.1.0"
