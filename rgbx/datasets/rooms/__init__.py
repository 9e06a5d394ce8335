"""Synthetic rooms: a scene is drawn (`scene`) and painted (`paints`), its rays are cast (`raycast`), and sensors
see it (`rendering`), still or from a moving camera (`clips`)."""

from rgbx._choices import PAINTS
from rgbx.datasets.rooms.classes import CLASSES, PALETTE
from rgbx.datasets.rooms.clips import RoomClips, RoomRecording, Stream
from rgbx.datasets.rooms.dataset import MANIFEST, SyntheticRooms
from rgbx.datasets.rooms.rendering import MAPS, cast_scene, make_scene, render, render_scene

__all__ = [
    "CLASSES",
    "MANIFEST",
    "MAPS",
    "PAINTS",
    "PALETTE",
    "RoomClips",
    "RoomRecording",
    "Stream",
    "SyntheticRooms",
    "cast_scene",
    "make_scene",
    "render",
    "render_scene",
]
