"""Synthetic rooms: a scene is drawn (`scene`), its rays are cast (`raycast`), sensors see it (`rendering`)."""

from rgbx.datasets.rooms.dataset import MANIFEST, SyntheticRooms
from rgbx.datasets.rooms.rendering import CLASSES, MAPS, PALETTE, cast_scene, make_scene, render, render_scene

__all__ = [
    "CLASSES",
    "MANIFEST",
    "MAPS",
    "PALETTE",
    "SyntheticRooms",
    "cast_scene",
    "make_scene",
    "render",
    "render_scene",
]
