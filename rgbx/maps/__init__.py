"""Maps: what one is, and how files hold it."""

from rgbx.maps.spec import IGNORE_INDEX, STANDARD_MAPS, MapSpec

__all__ = ["IGNORE_INDEX", "STANDARD_MAPS", "MapSpec"]
