"""examples/ros2: messages as ROS 2 sends them, written here byte by byte, and the node between stand-ins of ROS."""

import importlib
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

import rgbx

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ros2(monkeypatch):
    """The module conversions, found as from the folder in which the node lies."""
    monkeypatch.syspath_prepend(ROOT / "examples/ros2")
    yield importlib.import_module("conversions")
    sys.modules.pop("conversions")


def image(encoding, rows, *, big=False, padding=0, step=None):
    """A sensor_msgs/Image of rows of bytes, each followed by bytes that are none of its pixels."""
    data = b"".join(row + b"\xaa" * padding for row in rows)
    width = len(rows[0]) // {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "16UC1": 2, "mono16": 2, "32FC1": 4}.get(
        encoding, 1
    )
    step = len(rows[0]) + padding if step is None else step
    return SimpleNamespace(
        encoding=encoding, height=len(rows), width=width, step=step, is_bigendian=int(big), data=data
    )


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", lambda r, g, b: [r, g, b]),
        ("bgr8", lambda r, g, b: [b, g, r]),
        ("rgba8", lambda r, g, b: [r, g, b, 7]),
        ("bgra8", lambda r, g, b: [b, g, r, 7]),
    ],
)
def test_colours(ros2, encoding, stored, padding):
    pixels = [[(1, 2, 3), (4, 5, 6)], [(7, 8, 9), (250, 251, 252)], [(0, 0, 0), (255, 0, 1)]]
    rows = [bytes(value for pixel in row for value in stored(*pixel)) for row in pixels]
    found = ros2.rgb_of(image(encoding, rows, padding=padding))
    assert found.dtype == np.uint8 and found.tolist() == [[list(pixel) for pixel in row] for row in pixels]


def test_grey_is_three_equal_channels(ros2):
    found = ros2.rgb_of(image("mono8", [b"\x01\x02\x03", b"\x04\x05\xff"], padding=1))
    assert found.tolist() == [[[1] * 3, [2] * 3, [3] * 3], [[4] * 3, [5] * 3, [255] * 3]]


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big", [False, True])
def test_depth(ros2, big, padding):
    order, kept = ">" if big else "<", dict(big=big, padding=padding)
    rows = [struct.pack(f"{order}3H", *row) for row in ((0, 1, 256), (1000, 4321, 65535))]
    for encoding in ("16UC1", "mono16"):
        found = ros2.metres_of(image(encoding, rows, **kept))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[0, 0.001, 0.256], [1, 4.321, 65.535]], rtol=1e-6)
    lacking = [struct.pack(f"{order}3f", *row) for row in ((1.5, float("nan"), 0), (float("inf"), -1, 0.25))]
    found = ros2.metres_of(image("32FC1", lacking, **kept))
    assert found.dtype == np.float32 and found.tolist() == [[1.5, 0, 0], [0, 0, 0.25]]


@pytest.mark.parametrize(
    ("reader", "message", "said"),
    [
        ("rgb_of", image("yuv422", [b"\x01\x02"]), "encoding is 'yuv422'; expected one of bgr8, bgra8, rgba8, rgb8"),
        ("rgb_of", image("16UC1", [b"\x01\x02"]), "encoding is '16UC1'; expected one of bgr8"),
        ("metres_of", image("bayer_rggb8", [b"\x01\x02"]), "encoding is 'bayer_rggb8'; expected one of rgb8, bgr8"),
        ("metres_of", image("rgb8", [b"\x01\x02\x03"]), "encoding is 'rgb8'; depth is 16UC1, mono16 .* or 32FC1"),
        ("metres_of", image("16UC1", [b"\x01\x02"], step=1), "2 bytes in steps of 1; 1 rows of 16UC1 take 2 each"),
        ("rgb_of", image("rgb8", [b"\x01\x02\x03"] * 2, step=4), "6 bytes in steps of 4; 2 rows of rgb8 take 3 each"),
    ],
)
def test_what_is_not_read_is_told(ros2, reader, message, said):
    with pytest.raises(ValueError, match=said):
        getattr(ros2, reader)(message)


def compressed(told, data):
    return SimpleNamespace(format=told, data=data)


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_compressed_colours(ros2):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = ros2.rgb_of_compressed(compressed("rgb8; png compressed bgr8", png(pixels[..., ::-1])))
    np.testing.assert_array_equal(found, pixels)
    with pytest.raises(ValueError, match="3 bytes of format 'jpeg' cannot be decoded"):
        ros2.rgb_of_compressed(compressed("jpeg", b"abc"))


def test_compressed_depth(ros2):
    """Of floats as compressed_depth_image_transport writes them: whole numbers a / metres + b, 0 for not measured."""
    millimetres = np.array([[0, 1, 4321], [65535, 256, 1000]], np.uint16)
    data = struct.pack("<iff", 0, 0.0, 0.0) + png(millimetres)
    for told in ("16UC1; compressedDepth png", "16UC1; compressedDepth"):
        found = ros2.metres_of_compressed(compressed(told, data))
        np.testing.assert_allclose(found, millimetres / 1000, rtol=1e-6)
    a, furthest = 100.0 * 101.0, 10.0
    b = 1 - a / furthest
    metres = np.array([[0.5, 2.0, np.nan], [3.25, 9.5, np.nan]])
    stored = np.where(np.isnan(metres), 0, a / metres + b).astype(np.uint16)
    found = ros2.metres_of_compressed(
        compressed("32FC1; compressedDepth png", struct.pack("<iff", 0, a, b) + png(stored))
    )
    assert found[0, 2] == found[1, 2] == 0
    steps = metres**2 / a  # by which one whole number more changes the metres
    assert (np.abs(found - metres) <= steps)[:, :2].all()
    with pytest.raises(ValueError, match=r"format is '16UC1; compressedDepth rvl'; expected"):
        ros2.metres_of_compressed(compressed("16UC1; compressedDepth rvl", data))
    with pytest.raises(ValueError, match="5 bytes; compressed depth begins with 12 bytes of header"):
        ros2.metres_of_compressed(compressed("16UC1; compressedDepth png", data[:5]))


def test_stamps(ros2):
    assert ros2.seconds(SimpleNamespace(sec=12, nanosec=345_000_000)) == pytest.approx(12.345, abs=1e-9)
    late = SimpleNamespace(sec=1_700_000_000, nanosec=999_999_999)
    assert ros2.seconds(late) == pytest.approx(1_700_000_001 - 1e-9, abs=3e-7)


@pytest.mark.parametrize(("shape", "encoding", "step"), [((2, 3), "mono8", 3), ((2, 3, 3), "rgb8", 9)])
def test_what_is_published(ros2, shape, encoding, step):
    pixels = np.arange(np.prod(shape)).reshape(shape)
    message = ros2.fill_image(SimpleNamespace(), pixels, "header")
    assert (message.header, message.encoding, message.step) == ("header", encoding, step)
    np.testing.assert_array_equal(ros2.array_of(message), pixels)


class Parameters:
    """A stand-in for rclpy's Node: parameters, and what is published under a name."""

    given = {"checkpoint": str(ROOT / "data/samples/rooms.pth")}  # noqa: RUF012

    def __init__(self, name):
        self.published, self.told = {}, []

    def declare_parameter(self, name, default):
        return SimpleNamespace(value=self.given.get(name, default))

    def create_publisher(self, kind, name, depth):
        return SimpleNamespace(publish=lambda message: self.published.update({name: message}))

    def get_logger(self):
        return SimpleNamespace(warning=self.told.append)


class Pairs:
    """A stand-in for ApproximateTimeSynchronizer."""

    def __init__(self, subscribers, queue_size, slop):
        assert [name for _, _, name in subscribers] == ["rgb", "depth"] and 0 < slop < 1

    def registerCallback(self, call):  # noqa: N802
        self.call = call


def test_the_node(ros2, monkeypatch):
    """It publishes what the model predicts, with the header of the RGB image, and goes on after a wrong message."""
    made = {
        "rclpy": {},
        "rclpy.node": {"Node": Parameters},
        "rclpy.qos": {"qos_profile_sensor_data": None},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": SimpleNamespace},
        "message_filters": {
            "ApproximateTimeSynchronizer": Pairs,
            "Subscriber": lambda node, kind, name, qos_profile: (node, kind, name),
        },
    }
    for name, members in made.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    node = importlib.import_module("node").Labels()
    sys.modules.pop("node")
    files = {name: str(ROOT / f"data/samples/{name}/test_000.png") for name in ("rgb", "depth")}
    bgr, depth = (cv2.imread(file, cv2.IMREAD_UNCHANGED) for file in files.values())
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=0))
    rgb = image("bgr8", [row.tobytes() for row in bgr], padding=5)
    rgb.header = header
    node.pairs.call(rgb, image("16UC1", [row.astype("<u2").tobytes() for row in depth]))
    expected = rgbx.load(Parameters.given["checkpoint"]).predict(**files)["labels"]
    labels, overlay = node.published["labels"], node.published["overlay"]
    assert labels.header is overlay.header is header and (labels.encoding, overlay.encoding) == ("mono8", "rgb8")
    np.testing.assert_array_equal(ros2.array_of(labels), expected.ids)
    np.testing.assert_array_equal(ros2.array_of(overlay), expected.overlay())
    node.published.clear()
    node.pairs.call(rgb, image("8UC1", [b"\x01"]))
    assert node.published == {} and node.told == [
        "frame at 3.000 s: encoding is '8UC1'; depth is 16UC1, mono16 (millimetres) or 32FC1 (metres)"
    ]
