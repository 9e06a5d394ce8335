"""Vectorised ray casting of a box-shaped room, boards on its sides, round things and crates.

World: x right, y forward, z up, metres. Camera: x right, y down, z forward. The ray of a pixel is
(x, y, 1) in the camera, so the parameter t of a hit is its z-depth. Each `draw_*` only touches the
screen box of its shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rgbx.datasets.rooms.scene import Board, Camera, Crate, Round

Window = tuple[slice, slice]
RaysXY = tuple[np.ndarray, np.ndarray]

_SIGNS = np.tile([[1.0], [-1.0]], (3, 1))  # inward: low and high side of each axis
_CRATE_LIGHT = np.array([0.8, 0.8, 1.0, 1.0, 0.7, 1.25], np.float32)


@dataclass
class HitBuffer:
    """What the ray of each pixel meets first; arrays are float32 unless stated.

    Attributes:
        camera: the point of view.
        rays_xy: x [W] and y [H] of the camera rays.
        room_point: [3, H, W], where the ray meets the empty room, world metres.
        room_depth: [H, W], z-depth of that point.
        room_side: uint8 [H, W], 2 * axis + (1 for the high side): 0..3 walls, 4 floor, 5 ceiling.
        depth: [H, W], z-depth of the nearest hit.
        normal: [H, W, 3], unit, camera frame, towards the camera.
        item: uint8 [H, W], the room's side, or 6 + the index of the item.
        face: int16 [H, W], changes wherever a surface has an outline or a crease.
        texture: [2, H, W], surface coordinates: metres on the room, -1..1 on items.
        light: [H, W], brightness of the surface.
    """

    camera: Camera
    rays_xy: RaysXY
    room_point: np.ndarray
    room_depth: np.ndarray
    room_side: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    item: np.ndarray
    face: np.ndarray
    texture: np.ndarray
    light: np.ndarray


def cast_room(camera: Camera, room: np.ndarray, size: tuple[int, int]) -> HitBuffer:
    """Hits of the empty room.

    Args:
        camera: must stand inside the room.
        room: [2, 3], low and high corner in metres.
        size: (H, W) in pixels.
    """
    height, width = size
    pixel = camera.focal * width
    rays_xy = (
        ((np.arange(width) + 0.5 - 0.5 * width) / pixel).astype(np.float32),
        ((np.arange(height) + 0.5 - 0.5 * height) / pixel).astype(np.float32),
    )
    directions = _turned(rays_xy, camera.rotation)
    low, high = (room - camera.position).astype(np.float32)
    with np.errstate(divide="ignore"):
        exits = [np.maximum(low[i] / d, high[i] / d) for i, d in enumerate(directions)]
    depth = np.minimum(np.minimum(exits[0], exits[1]), exits[2])
    axis = _first_equal(depth, exits)
    origin = camera.position.astype(np.float32)
    point = np.stack([origin[i] + depth * d for i, d in enumerate(directions)])
    side = 2 * axis + (_choose(axis, directions) > 0)
    normals = (np.repeat(camera.rotation, 2, axis=0) * _SIGNS).astype(np.float32)
    texture = np.stack([np.where(axis == 0, point[1], point[0]), np.where(axis == 2, point[1], point[2])])
    return HitBuffer(
        camera,
        rays_xy,
        point,
        depth,
        side,
        depth.copy(),
        normals[side],
        side.copy(),
        side.astype(np.int16),
        texture,
        np.ones_like(depth),
    )


def draw_item(buffer: HitBuffer, shape: Board | Round | Crate, index: int) -> None:
    """Draws a shape where it is in front of what the buffer holds; boards go first."""
    window = _window(buffer, shape.corners())
    if isinstance(shape, Board):
        _draw_board(buffer, shape, window, index)
    elif isinstance(shape, Round):
        _draw_round(buffer, shape, window, index)
    else:
        _draw_crate(buffer, shape, window, index)


def _draw_board(buffer: HitBuffer, board: Board, window: Window, index: int) -> None:
    """A rectangle, painted on a side of the room or held in front of it.

    The mask is the footprint on the side as the camera sees it, whatever the lift; a lifted board
    is that footprint moved along the rays. So the lift changes depth and nothing else.
    """
    offset = [buffer.room_point[i][window] - np.float32(board.centre[i]) for i in range(3)]
    u, v = (_dot(axis / half, offset) for axis, half in zip(board.axes, board.half, strict=True))
    mask = (buffer.room_side[window] == board.side) & (np.abs(u) <= 1) & (np.abs(v) <= 1)
    mask &= buffer.item[window] < 6
    shrink = 1 - board.lift / board.distance(buffer.camera.position)
    depth = np.float32(shrink) * buffer.room_depth[window]
    _write(buffer, window, mask, index, depth=depth, texture=(u, v))


def _draw_round(buffer: HitBuffer, thing: Round, window: Window, index: int) -> None:
    """A ball, or a bowl open towards the camera: the near or the far half of one sphere.

    With the unit axis a from the camera to the centre (distance D) and c = d·a for a ray d, the
    sphere is hit where c² > (1 - r²/D²) |d|². Both halves carry the texture of that cone.
    """
    centre = buffer.camera.rotation.T @ (thing.centre - buffer.camera.position)
    distance = float(np.linalg.norm(centre))
    axis = centre / distance
    rays = _turned(_cropped(buffer, window), np.eye(3))
    along = _dot(axis, rays)
    square = rays[0] ** 2 + rays[1] ** 2 + 1
    root = along**2 - np.float32(1 - (thing.radius / distance) ** 2) * square
    half = np.float32(-1 if thing.solid else 1)
    depth = np.float32(distance) * (along + half * np.sqrt(np.maximum(root, 0))) / square
    arms = [d * depth - np.float32(c) for d, c in zip(rays, centre, strict=True)]
    normal = np.stack(arms, axis=-1) / (-half * np.float32(thing.radius))
    mask = (root > 0) & (depth < buffer.depth[window])
    right = np.array([axis[2], 0.0, -axis[0]]) / math.hypot(axis[0], axis[2])
    scale = math.sqrt(distance**2 - thing.radius**2) / thing.radius
    texture = [_dot(scale * basis, rays) / along for basis in (right, np.cross(axis, right))]
    _write(buffer, window, mask, index, depth=depth, texture=texture, normal=normal, light=1.0)


def _draw_crate(buffer: HitBuffer, crate: Crate, window: Window, index: int) -> None:
    """An upright box of any yaw, by the slab test in its own frame."""
    turn = crate.rotation().T @ buffer.camera.rotation
    rays = _turned(_cropped(buffer, window), turn)
    origin = crate.rotation().T @ (buffer.camera.position - crate.centre)
    inverse = [1 / np.where(d == 0, np.float32(1e-12), d) for d in rays]
    middle = [np.float32(-o) * i for o, i in zip(origin, inverse, strict=True)]
    reach = [np.float32(h) * np.abs(i) for h, i in zip(crate.half, inverse, strict=True)]
    enter = [m - r for m, r in zip(middle, reach, strict=True)]
    leave = [m + r for m, r in zip(middle, reach, strict=True)]
    depth = np.maximum(np.maximum(enter[0], enter[1]), enter[2])
    mask = (depth > 0) & (depth < np.minimum(np.minimum(leave[0], leave[1]), leave[2]))
    mask &= depth < buffer.depth[window]
    axis = _first_equal(depth, enter)
    side = 2 * axis + (_choose(axis, rays) < 0)
    normals = (np.repeat(turn, 2, axis=0) * -_SIGNS).astype(np.float32)
    local = [(np.float32(o) + d * depth) / np.float32(h) for o, d, h in zip(origin, rays, crate.half, strict=True)]
    texture = (np.where(axis == 0, local[1], local[0]), np.where(axis == 2, local[1], local[2]))
    _write(
        buffer,
        window,
        mask,
        index,
        depth=depth,
        texture=texture,
        normal=normals[side],
        light=_CRATE_LIGHT[side],
        side=side,
    )


def _write(
    buffer: HitBuffer,
    window: Window,
    mask: np.ndarray,  # [h, w] bool
    index: int,
    *,
    depth: np.ndarray,  # [h, w]
    texture: Sequence[np.ndarray],  # [h, w] each
    normal: np.ndarray | None = None,  # [h, w, 3]
    light: np.ndarray | float | None = None,  # [h, w]
    side: np.ndarray | int = 0,  # [h, w]
) -> None:
    np.copyto(buffer.depth[window], depth, where=mask)
    np.copyto(buffer.item[window], np.uint8(6 + index), where=mask)
    np.copyto(buffer.face[window], np.asarray(6 * (1 + index) + side, np.int16), where=mask)
    for target, values in zip(buffer.texture, texture, strict=True):
        np.copyto(target[window], values, where=mask)
    if normal is not None:
        np.copyto(buffer.normal[window], normal, where=mask[..., None])
    if light is not None:
        np.copyto(buffer.light[window], np.asarray(light, np.float32), where=mask)


def _window(buffer: HitBuffer, points: np.ndarray) -> Window:
    """The pixels that a convex body with these corners [3, P] (world) may cover."""
    height, width = buffer.depth.shape
    box = buffer.camera.screen_box(points)
    if box is None:
        return slice(0, height), slice(0, width)
    low_x, low_y, high_x, high_y = (width * value for value in box)
    return (
        _pixel_range(low_y + 0.5 * height, high_y + 0.5 * height, height),
        _pixel_range(low_x + 0.5 * width, high_x + 0.5 * width, width),
    )


def _pixel_range(low: float, high: float, count: int) -> slice:
    return slice(min(max(math.floor(low) - 1, 0), count), min(max(math.ceil(high) + 1, 0), count))


def _cropped(buffer: HitBuffer, window: Window) -> RaysXY:
    return buffer.rays_xy[0][window[1]], buffer.rays_xy[1][window[0]]


def _turned(rays_xy: RaysXY, rotation: np.ndarray) -> list[np.ndarray]:
    """The rays (x, y, 1) turned by `rotation` [3, 3], as three arrays [H, W]."""
    turn = rotation.astype(np.float32)
    return [turn[i, 0] * rays_xy[0] + (turn[i, 1] * rays_xy[1] + turn[i, 2])[:, None] for i in range(3)]


def _dot(
    vector: np.ndarray,  # [3]
    arrays: Sequence[np.ndarray],  # [h, w] each
) -> np.ndarray:
    x, y, z = vector.astype(np.float32)
    return x * arrays[0] + y * arrays[1] + z * arrays[2]


def _first_equal(
    value: np.ndarray,  # [h, w]
    options: Sequence[np.ndarray],  # [h, w] each
) -> np.ndarray:
    return np.where(value == options[0], np.uint8(0), np.where(value == options[1], np.uint8(1), np.uint8(2)))


def _choose(
    axis: np.ndarray,  # [h, w]
    options: Sequence[np.ndarray],  # [h, w] each
) -> np.ndarray:
    return np.where(axis == 0, options[0], np.where(axis == 1, options[1], options[2]))
