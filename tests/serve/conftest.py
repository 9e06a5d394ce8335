"""Models behind the application: in this process, and at a port for browsers and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from served import served
from small_models import small
from starlette.testclient import TestClient

import rgbx
from rgbx.cli.serve import list_samples
from rgbx.models import MultimodalModel
from rgbx.serve.app import Limits, build_app

SAMPLES = Path(__file__).parents[2] / "data/samples"
CLASSES = ("wall", "floor", "box", "ball", "lamp")
SIZE = (40, 56)


@pytest.fixture(scope="session")
def model() -> MultimodalModel:
    """Of classes, normals and depth, whose training files held depth in 5000 steps a metre."""
    found = small("three").eval()
    found.describe({"classes": CLASSES, "maps": {}, "stored": {"depth": {"scale": 5000.0}}})
    return found


@pytest.fixture(scope="session")
def rooms() -> MultimodalModel:
    """The model of the samples."""
    return rgbx.load(SAMPLES / "rooms.pth")


@pytest.fixture(scope="session")
def frame(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each map; depth has holes."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("frame")
    depth = rng.integers(5000, 20000, SIZE, np.uint16)
    depth[:5, :9] = 0
    cv2.imwrite(str(folder / "photo.png"), rng.integers(0, 256, (*SIZE, 3), np.uint8))
    cv2.imwrite(str(folder / "steps.png"), depth)
    return {"rgb": folder / "photo.png", "depth": folder / "steps.png"}


@pytest.fixture(scope="session")
def client(model: MultimodalModel) -> Iterator[TestClient]:
    """Asks the application of `model` in this process."""
    app = build_app(model, "small.pth", limits=Limits(most_bytes=1 << 20, most_pixels=1 << 16))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """Serves an application at a free port of loopback, and gives its address."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(served(app))


@pytest.fixture(scope="session")
def address(serve: Callable[..., str], rooms: MultimodalModel) -> str:
    """Where the model of the samples is served, with its samples."""
    return serve(build_app(rooms, "rooms.pth", samples=list_samples(SAMPLES, rooms)))
