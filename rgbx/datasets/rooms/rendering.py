"""Synthetic rooms: ray-cast indoor frames whose classes need more than one modality.

Class by class, what tells it apart (10 classes; 11 when thermal is among the modalities):

| classes | differ in | exactly alike in |
|---|---|---|
| red / blue poster, red / blue panel | hue | depth, normals, thermal, patterns |
| poster / panel of one colour | a panel stands 0.15 to 0.5 m off the wall or floor | rgb, thermal |
| poster / the wall or floor it is painted on | rgb (and 1.5 degrees at most) | depth, normals |
| ball / bowl (open to the camera) | depth and normals | rgb, thermal, outline |
| heater / hot heater, one class without thermal | 45 to 75 °C against the air | rgb, depth |
| floor / wall / ceiling | orientation and place, seen in rgb and depth | palette of pale colours |

Posters and panels cross two colours with two distances, so neither rgb nor depth alone can name
them. That holds pixel for pixel: changing only the class of such a pair changes no other map.

Units: depth is z-depth in metres (multiples of 1 mm, 0 = no measurement) with the noise, disparity
steps, shadows and holes of a structured-light camera; thermal is degrees Celsius (multiples of
0.01); normals are unit vectors in the camera frame (x right, y down, z forward) that face the
camera; edge is 1 on outlines and creases of surfaces, 0 elsewhere.

Noise after Khoshelham & Elberink, Sensors 2012 (steps) and Nguyen et al., 3DIMPVT 2012 (growth
with distance).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import cv2
import numpy as np

from rgbx._choices import PAINTS
from rgbx._text import one_of
from rgbx.datasets.rooms.classes import SIDE_CLASSES
from rgbx.datasets.rooms.raycast import HitBuffer, cast_room, draw_item
from rgbx.datasets.rooms.scene import Board, Scene, sample_scene

RENDERER_VERSION = 2
_BASELINE_M, _DISPARITY_STEPS, _MAX_DEPTH_M = 0.075, 350.0, 8.0
DECODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": lambda raw: raw,
    "depth": lambda raw: raw.astype(np.float32) / np.float32(1000),
    "thermal": lambda raw: raw.astype(np.float32) / np.float32(100) - np.float32(273.15),
    "normal": lambda raw: _unit(raw.astype(np.float32) / np.float32(32767.5) - np.float32(1)),
    "edge": lambda raw: raw.astype(np.float32) / np.float32(255),
    "label": lambda raw: raw,
}
MAPS = tuple(DECODERS)  # rgb, depth, thermal, normal, edge, label: what a frame consists of


def render(seed: int, index: int, size: tuple[int, int] = (120, 160), paints: str = "random") -> dict[str, np.ndarray]:
    """Renders one frame; a pure function of its arguments.

    Args:
        seed: which world of scenes, >= 0.
        index: which scene, >= 0; `SyntheticRooms` trains on the even and tests on the odd ones.
        size: (H, W) in pixels.
        paints: see `make_scene`.

    Returns:
        rgb uint8 [H, W, 3]; depth, thermal, edge float32 [H, W]; normal float32 [H, W, 3]; label
        uint8 [H, W] with all 11 classes; depth_clean float32 [H, W], metres without noise.
    """
    raw, clean = render_scene(make_scene(seed, index, size, paints), (seed, index), size)
    return {**{name: DECODERS[name](raw[name]) for name in MAPS}, "depth_clean": clean}


def make_scene(seed: int, index: int, size: tuple[int, int] = (120, 160), paints: str = "random") -> Scene:
    """The layout behind a frame; it depends on the size only by its aspect ratio.

    Args:
        seed, index, size: see `render`.
        paints: "random" paints, patterns and light, or "class", the same rooms in colours that follow from depth and
            thermal together, and from neither alone: of posters, panels, balls, bowls, heaters, hot heaters.

    Raises:
        ValueError: other paints.
    """
    if paints not in PAINTS:
        raise ValueError(f"paints is {paints!r}; expected one of {one_of(PAINTS, paints)}")
    scene = sample_scene(np.random.default_rng((seed, index, 0)), size[0] / size[1])
    return scene.painted_by_class() if paints == "class" else scene


def render_scene(
    scene: Scene, key: tuple[int, ...], size: tuple[int, int], maps: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The maps of a scene as integers, the way PNG files hold them, and the clean depth.

    Args:
        scene: what to show.
        key: (seed, index) of the sensors' noise; of a frame of a recording also which frame.
        size: (H, W) in pixels.
        maps: some of `MAPS`; all by default. A map does not depend on which others are asked for.
    """
    hits = cast_scene(scene, size)
    streams = [np.random.default_rng((*key, sensor)) for sensor in (1, 2, 3)]
    sensors: dict[str, Callable[[], np.ndarray]] = {
        "rgb": lambda: _see_colour(hits, scene, streams[0]),
        "depth": lambda: _sense_depth(hits, streams[1]),
        "thermal": lambda: _sense_heat(hits, scene, streams[2]),
        "normal": lambda: np.rint(hits.normal * np.float32(32767.5) + np.float32(32767.5)).astype(np.uint16),
        "edge": lambda: _outlines(hits.face),
        "label": lambda: _labels(hits, scene),
    }
    return {name: sense() for name, sense in sensors.items() if not maps or name in maps}, hits.depth


def cast_scene(scene: Scene, size: tuple[int, int]) -> HitBuffer:
    """First hits of all rays, lit by the lamp."""
    hits = cast_room(scene.camera, scene.room, size)
    hits.light[...] = _room_light(hits, scene)
    for index, item in enumerate(scene.items):
        draw_item(hits, item.shape, index)
    return hits


def _room_light(hits: HitBuffer, scene: Scene) -> np.ndarray:
    """Light on the empty room, [H, W]: the air's, the lamp's, less what things keep off the floor.

    Boards take the light of the point that they hide, so it does not tell whether they are lifted.
    """
    to_lamp = scene.lamp.astype(np.float32)[:, None, None] - hits.room_point
    square = np.einsum("ihw,ihw->hw", to_lamp, to_lamp)
    axis = hits.room_side // 2
    towards = np.abs(np.where(axis == 0, to_lamp[0], np.where(axis == 1, to_lamp[1], to_lamp[2])))
    light = np.float32(0.75) + towards / (np.sqrt(square) * (2 + np.float32(0.15) * square))
    for item in scene.items:
        if not isinstance(item.shape, Board):
            x, y, spread = item.shape.centre[0], item.shape.centre[1], 1.2 * item.shape.centre[2]
            apart = (hits.room_point[0] - np.float32(x)) ** 2
            apart += (hits.room_point[1] - np.float32(y)) ** 2
            shadow = np.float32(0.45) * np.exp(apart * np.float32(-1 / spread**2))
            light *= 1 - shadow * (hits.room_side == 4)
    return light


def _see_colour(hits: HitBuffer, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    paints = [*scene.sides, *(item.paint for item in scene.items)]
    frequency = np.array([paint.frequency for paint in paints], np.float32)[hits.item]
    cell = np.floor(hits.texture[0] * frequency[..., 0] + np.float32(0.25))
    cell += np.floor(hits.texture[1] * frequency[..., 1] + np.float32(0.25))
    which = cell.astype(np.int16) & 1
    colours = np.array([paint.colours for paint in paints]) * (255 * scene.exposure)
    image = colours.astype(np.float32).reshape(-1, 3)[2 * hits.item.astype(np.intp) + which]
    uneven = rng.uniform(0.92, 1.08, (4, 5)).astype(np.float32)
    height, width = hits.depth.shape
    image *= (hits.light * cv2.resize(uneven, (width, height)))[..., None]
    image = cv2.GaussianBlur(image, (3, 3), 0.5)
    image += np.float32(2.5) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)


def _sense_depth(hits: HitBuffer, rng: np.random.Generator) -> np.ndarray:
    """Millimetres, uint16: axial noise, disparity steps, shadows, grazing rays, blobs, specks."""
    clean = hits.depth
    height, width = clean.shape
    sigma = np.float32(0.001) + np.float32(0.0015) * (clean - np.float32(0.4)) ** 2
    noisy = clean + sigma * rng.standard_normal(clean.shape, np.float32)
    steps = np.rint(np.float32(_DISPARITY_STEPS) / np.maximum(noisy, np.float32(0.1)))
    depth_mm = np.float32(1000 * _DISPARITY_STEPS) / steps
    (x, y), normal = hits.rays_xy, hits.normal
    facing = np.abs(normal[..., 0] * x + normal[..., 1] * y[:, None] + normal[..., 2])
    chance = rng.random(clean.shape, np.float32)
    blobs = cv2.resize(rng.random((8, 10), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    hole = (facing < np.float32(0.1) + np.float32(0.1) * chance) | (chance < 0.004)
    hole |= (clean > _MAX_DEPTH_M) | (blobs > 0.97)
    shift = np.float32(hits.camera.focal * width * _BASELINE_M) / clean
    for reach in range(1, 1 + int(shift.max() - shift.min())):  # the projector's shadow
        hole[:, reach:] |= shift[:, :-reach] - shift[:, reach:] >= reach
    return np.where(hole, 0, np.rint(np.clip(depth_mm, 0, 65535))).astype(np.uint16)


def _sense_heat(hits: HitBuffer, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Hundredths of a kelvin, uint16: paint, warmer air above, blurred optics, 0.08 K noise."""
    paints = [*scene.sides, *(item.paint for item in scene.items)]
    rising = [True] * 6 + [isinstance(item.shape, Board) for item in scene.items]
    kelvin = np.array([paint.celsius + 273.15 for paint in paints], np.float32)[hits.item]
    slope = np.where(rising, 0.4, 0.0).astype(np.float32)[hits.item]
    kelvin = cv2.GaussianBlur(kelvin + slope * (hits.room_point[2] - np.float32(1.2)), (5, 5), 0.7)
    kelvin += np.float32(0.08) * rng.standard_normal(kelvin.shape, np.float32)
    return np.rint(np.clip(100 * kelvin, 0, 65535)).astype(np.uint16)


def _labels(hits: HitBuffer, scene: Scene) -> np.ndarray:
    """Class ids, uint8 [H, W]."""
    return np.array([*SIDE_CLASSES, *(item.label for item in scene.items)], np.uint8)[hits.item]


def _outlines(face: np.ndarray) -> np.ndarray:
    """255 where [H, W] changes to the right or downwards."""
    edge = np.zeros(face.shape, np.uint8)
    edge[:, :-1][face[:, :-1] != face[:, 1:]] = 255
    edge[:-1][face[:-1] != face[1:]] = 255
    return edge


def _unit(vectors: np.ndarray) -> np.ndarray:
    """[H, W, 3] at unit length."""
    return vectors / np.sqrt(np.einsum("hwi,hwi->hw", vectors, vectors))[..., None]
