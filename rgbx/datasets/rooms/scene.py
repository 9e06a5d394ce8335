"""Random indoor layouts: what stands where in a synthetic room.

World: x right, y forward, z up, metres; the room's floor is z = 0. Image positions are in image
widths, with (0, 0) at the centre, so that a scene does not depend on the resolution.

What must stay ambiguous in one modality is drawn independently of all the rest: whether a board is
lifted, whether a round thing is solid and whether a heater is on are shuffled labels that change
neither positions nor paints. Boards and things never interlock: things stand farther from the walls
than any board is lifted, and floor boards share no screen box with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rgbx.datasets.rooms.classes import BALL, BOWL, HEATER, HOT_HEATER, RED_POSTER, SIDE_CLASSES
from rgbx.datasets.rooms.paints import Paint, item_paint, side_paints

MAX_LIFT_M = 0.5
_TRIES = 40

Box = tuple[float, float, float, float]  # left, top, right, bottom, in image widths


@dataclass(frozen=True)
class Camera:
    """A pinhole: position [3] in the world, rotation [3, 3] camera to world, focal length."""

    position: np.ndarray
    rotation: np.ndarray
    focal: float

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [3, P]
        """Image positions x and y [P] of points [3, P] that are in front of the camera."""
        x, y, z = self.rotation.T @ (points - self.position[:, None])
        return self.focal * x / z, self.focal * y / z

    def screen_box(self, points: np.ndarray) -> Box | None:  # [3, P]
        """The box around the projections of points [3, P]; None if any is not in front."""
        if (self.rotation[:, 2] @ (points - self.position[:, None])).min() < 0.2:
            return None
        x, y = self.project(points)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


@dataclass(frozen=True)
class Board:
    """A rectangle seen against side 0..4 of the room; `lift` metres in front of it.

    `centre` [3] and `half` (metres) describe its footprint: what it hides of the side. The board
    itself is that footprint shrunk towards the camera, so `lift` does not change its outline.
    """

    side: int
    centre: np.ndarray
    axes: np.ndarray  # [2, 3], unit, along the side
    half: tuple[float, float]
    lift: float

    def corners(self) -> np.ndarray:
        """[3, 4], the corners of the footprint."""
        reach = self.axes * np.array(self.half)[:, None]
        return (self.centre + np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) @ reach).T

    def distance(self, position: np.ndarray) -> float:  # [3]
        """How far a position is from the plane of the footprint, metres."""
        return abs(float(self.centre[self.side // 2] - position[self.side // 2]))


@dataclass(frozen=True)
class Round:
    """A ball, or (not solid) a bowl open to the camera: the far half of the same sphere."""

    centre: np.ndarray
    radius: float
    solid: bool

    def corners(self) -> np.ndarray:
        return self.centre[:, None] + self.radius * CUBE


@dataclass(frozen=True)
class Crate:
    """An upright box: centre [3] and half size [3] in metres, yaw in radians."""

    centre: np.ndarray
    half: np.ndarray
    yaw: float

    def rotation(self) -> np.ndarray:
        """[3, 3], from the crate's frame to the world."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def corners(self) -> np.ndarray:
        return self.centre[:, None] + self.rotation() @ (self.half[:, None] * CUBE)


CUBE = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float64).T


Shape = Board | Round | Crate


@dataclass(frozen=True)
class Item:
    shape: Shape
    paint: Paint
    label: int


@dataclass(frozen=True)
class Scene:
    """All that a frame shows; `sides` are the paints of the sides 0..5, `lamp` is a position."""

    camera: Camera
    room: np.ndarray  # [2, 3], low and high corner
    lamp: np.ndarray
    exposure: np.ndarray  # [3], gain of each colour channel
    sides: tuple[Paint, ...]
    items: tuple[Item, ...]

    def painted_by_class(self) -> Scene:
        """The same room in the plain colours of its classes and in white light."""
        sides = tuple(paint.by_class(label) for paint, label in zip(self.sides, SIDE_CLASSES, strict=True))
        items = tuple(replace(item, paint=item.paint.by_class(item.label)) for item in self.items)
        return replace(self, exposure=np.ones(3), sides=sides, items=items)


def sample_scene(rng: np.random.Generator, aspect: float) -> Scene:
    """Draws a scene; `aspect` is H / W of the images it is for."""
    width, depth, height = rng.uniform((5.5, 5.5, 2.4), (8.0, 8.0, 3.0))
    room = np.array([[-width / 2, 0.0, 0.0], [width / 2, depth, height]])
    camera = _sample_camera(rng, width, depth)
    air = rng.uniform(17.0, 26.0)
    placer = Placer(rng, camera, room, aspect)
    things = [*rng.permutation([BALL, BOWL, HEATER, HOT_HEATER]), rng.choice([BALL, BOWL])]
    shapes = [(placer.thing(int(label)), int(label)) for label in things]
    boards = [*rng.permutation(4), *rng.permutation(4)[:3]]
    shapes[:0] = [
        (placer.board(bool(kind % 2), order == 0), RED_POSTER + int(kind)) for order, kind in enumerate(boards)
    ]
    items = tuple(Item(shape, item_paint(rng, label, air), label) for shape, label in shapes if shape is not None)
    lamp = np.array([rng.uniform(-0.3, 0.3) * width, rng.uniform(0.3, 0.7) * depth, height - 0.4])
    exposure = rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
    return Scene(camera, room, lamp, exposure, side_paints(rng, air), items)


def _sample_camera(rng: np.random.Generator, width: float, depth: float) -> Camera:
    position = np.array([rng.uniform(-0.25, 0.25) * width, rng.uniform(0.04, 0.2) * depth, rng.uniform(1.3, 1.7)])
    yaw, pitch, roll = np.radians(rng.uniform((-28, -16, -4), (28, -2, 4)))
    forward = np.array([-math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    return Camera(position, rotation, rng.uniform(0.60, 0.72))


class Placer:
    """Draws positions until a shape is large enough on the screen and clear of the others."""

    def __init__(self, rng: np.random.Generator, camera: Camera, room: np.ndarray, aspect: float) -> None:
        self.rng, self.camera, self.room, self.aspect = rng, camera, room, aspect
        self.things: list[tuple[Box, np.ndarray, float]] = []
        self.boards: list[Box] = []

    def thing(self, label: int) -> Shape | None:
        """A round thing or a heater on the floor, in front of the camera."""
        for distance, bearing, share, deep, tall, yaw in self.rng.uniform(
            (1.7, -0.42, 0.085, 0.6, 0.9, -0.8), (4.2, 0.42, 0.115, 0.85, 1.25, 0.8), (_TRIES, 6)
        ).tolist():
            forward, right = self.camera.rotation[:2, 2], self.camera.rotation[:2, 0]
            spot = self.camera.position[:2] + distance * (forward + right * bearing / self.camera.focal)
            radius = min(share * distance / self.camera.focal, 0.55)
            shape: Round | Crate = Round(np.array([*spot, radius]), radius, label == BALL)
            if label in (HEATER, HOT_HEATER):
                half = radius * np.array([0.85, deep, tall])
                shape = Crate(np.array([*spot, half[2]]), half, yaw)
            if self._claim_floor(shape, spot, 1.25 * radius):
                return shape
        return None

    def _claim_floor(self, shape: Round | Crate, spot: np.ndarray, reach: float) -> bool:  # [2]
        margin = MAX_LIFT_M + reach
        if (spot < self.room[0, :2] + margin).any() or (spot > self.room[1, :2] - margin).any():
            return False
        if any(math.dist(spot, other) < reach + other_reach + 0.05 for _, other, other_reach in self.things):
            return False
        box = self.camera.screen_box(shape.corners())
        if box is None or _shared(box, self._screen()) < 0.75 * _area(box):
            return False
        if any(_shared(box, other) > 0.15 * min(_area(box), _area(other)) for other, _, _ in self.things):
            return False
        self.things.append((box, spot, reach))
        return True

    def board(self, lifted: bool, floor_only: bool) -> Board | None:
        """A rectangle on a wall or the floor, clear of all that is placed so far."""
        for x, y, first, second, turn, share in self.rng.uniform(
            (-0.46, 0.1 if floor_only else -0.46, 0.075, 0.075, -0.8, 0.1),
            (0.46, 0.46, 0.125, 0.125, 0.8, 0.2),
            (_TRIES, 6),
        ).tolist():
            hit = self._look_at(x, y * self.aspect)
            if hit is None or (floor_only and hit[0] != 4):
                continue
            side, point, depth = hit
            axes = _side_axes(side, turn)
            stretch = 1.5 if side == 4 else 1.0  # floors are seen at a low angle
            half = np.array([first, second]) * stretch * depth / self.camera.focal
            reach = half @ np.abs(axes)
            low, high = self.room[0] + reach + 0.03, self.room[1] - reach - 0.03
            centre = np.where(np.arange(3) == side // 2, point, np.clip(point, low, high))
            height = abs(float(point[side // 2] - self.camera.position[side // 2]))
            lift = min(max(share * height, 0.15), MAX_LIFT_M)
            board = Board(side, centre, axes, (float(half[0]), float(half[1])), lift * lifted)
            if (low <= high).all(where=np.arange(3) != side // 2) and self._claim_screen(board):
                return board
        return None

    def _look_at(self, x: float, y: float) -> tuple[int, np.ndarray, float] | None:
        """Side, point and z-depth of what an image position shows; None if ceiling or taken."""
        if any(
            left - 0.04 < x < right + 0.04 and top - 0.04 < y < bottom + 0.04
            for left, top, right, bottom in self.boards
        ):
            return None
        camera = self.camera
        ray = camera.rotation @ np.array([x / camera.focal, y / camera.focal, 1.0])
        far = (ray > 0).astype(int)
        exits = (self.room[far, range(3)] - camera.position) / ray
        axis = int(np.argmin(exits))
        side = 2 * axis + int(far[axis])
        depth = float(exits[axis])
        return None if side == 5 else (side, camera.position + depth * ray, depth)

    def _claim_screen(self, board: Board) -> bool:
        corners = board.corners()
        box = self.camera.screen_box(corners)
        if box is None or _shared(box, self._screen()) < 0.75 * _area(box):
            return False
        allowed = 0.0 if board.side == 4 else 0.25 * _area(box)
        if any(_shared(box, other) > 0 for other in self.boards) or any(
            _shared(box, other) > allowed for other, _, _ in self.things
        ):
            return False
        x, y = self.camera.project(corners)
        twice_area = (x[2] - x[0]) * (y[3] - y[1]) - (x[3] - x[1]) * (y[2] - y[0])
        if abs(twice_area) < 0.036:  # 1.8 % of a square image
            return False
        self.boards.append(box)
        return True

    def _screen(self) -> Box:
        return -0.5, -0.5 * self.aspect, 0.5, 0.5 * self.aspect


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _side_axes(side: int, turn: float) -> np.ndarray:
    """Two unit vectors along a side; on the floor they are turned by `turn` radians."""
    if side == 4:
        c, s = math.cos(turn), math.sin(turn)
        return np.array([[c, s, 0.0], [-s, c, 0.0]])
    return np.array([[0.0, 1.0, 0.0] if side < 2 else [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
