"""Ways for modalities to exchange features inside a shared backbone."""

from rgbx.fusion.asymmetric import AsymmetricExchange, AsymmetricFusion
from rgbx.fusion.base import FusionMethod

__all__ = ["AsymmetricExchange", "AsymmetricFusion", "FusionMethod"]
