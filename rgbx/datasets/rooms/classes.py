"""The classes of the synthetic rooms: names, ids, and the colours of label pictures."""

from __future__ import annotations

CLASSES = (
    "floor", "wall", "ceiling", "red poster", "red panel", "blue poster", "blue panel", "ball", "bowl", "heater",
    "hot heater",
)  # fmt: skip
PALETTE = (
    (176, 137, 104), (222, 218, 205), (150, 165, 190), (244, 132, 110), (165, 20, 40), (96, 200, 240),
    (30, 70, 190), (120, 185, 40), (250, 210, 50), (90, 95, 105), (255, 120, 0),
)  # fmt: skip
FLOOR, WALL, CEILING, RED_POSTER, RED_PANEL, BLUE_POSTER, BLUE_PANEL, BALL, BOWL, HEATER, HOT_HEATER = range(11)
SIDE_CLASSES = (WALL, WALL, WALL, WALL, FLOOR, CEILING)  # of the sides 0..5 of a room
