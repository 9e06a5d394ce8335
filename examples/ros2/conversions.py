"""Messages of ROS 2 to the maps that `rgbx.load(...).predict` takes, and back, by numpy and OpenCV alone.

Every function takes anything with the fields of the message, so that it is tested without ROS. Encodings are those of
sensor_msgs/image_encodings.hpp; depth follows REP 118: 16UC1 is millimetres with 0 for "not measured", 32FC1 metres
with NaN. Compressed depth is compressed_depth_image_transport's: 12 bytes of header, then a PNG.
"""

import struct

import cv2
import numpy as np

LAYOUTS = {  # encoding to type and channels
    "rgb8": ("u1", 3),
    "bgr8": ("u1", 3),
    "rgba8": ("u1", 4),
    "bgra8": ("u1", 4),
    "mono8": ("u1", 1),
    "8UC1": ("u1", 1),
    "mono16": ("u2", 1),
    "16UC1": ("u2", 1),
    "32FC1": ("f4", 1),
}
TO_RGB = {"bgr8": [2, 1, 0], "bgra8": [2, 1, 0], "rgba8": [0, 1, 2], "rgb8": [0, 1, 2], "mono8": [0, 0, 0]}
_HEADER = "<iff"  # of compressed depth: format, and two parameters of inverse depth


def seconds(stamp):
    """A builtin_interfaces/Time (sec, nanosec) as seconds; nanoseconds of today need more digits than a float has."""
    return stamp.sec + stamp.nanosec * 1e-9


def array_of(message):
    """A sensor_msgs/Image as it is stored: [H, W] or [H, W, C], rows without their padding, in this machine's order.

    Raises:
        ValueError: an encoding that is not in `LAYOUTS`, or fewer bytes than height and step say.
    """
    if message.encoding not in LAYOUTS:
        raise ValueError(f"encoding is {message.encoding!r}; expected one of {', '.join(LAYOUTS)}")
    kind, channels = LAYOUTS[message.encoding]
    kind = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = message.height, message.width, message.step
    row, data = width * channels * kind.itemsize, np.frombuffer(message.data, np.uint8)
    if step < row or data.size < height * step:
        raise ValueError(f"{data.size} bytes in steps of {step}; {height} rows of {message.encoding} take {row} each")
    rows = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, :row])
    pixels = rows.view(kind).astype(kind.newbyteorder("="))
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def rgb_of(message):
    """A colour or grey sensor_msgs/Image as uint8 [H, W, 3] in RGB order."""
    if message.encoding not in TO_RGB:
        raise ValueError(f"encoding is {message.encoding!r}; expected one of {', '.join(TO_RGB)}")
    pixels = array_of(message)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(pixels[..., TO_RGB[message.encoding]])


def metres_of(message):
    """A depth sensor_msgs/Image as float32 [H, W] in metres, 0 where nothing was measured."""
    return _metres(array_of(message), message.encoding)


def _metres(values, encoding):
    if encoding in ("16UC1", "mono16"):
        return values.astype(np.float32) / 1000
    if encoding != "32FC1":
        raise ValueError(f"encoding is {encoding!r}; depth is 16UC1, mono16 (millimetres) or 32FC1 (metres)")
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))


def rgb_of_compressed(message):
    """A sensor_msgs/CompressedImage (JPEG or PNG) as uint8 [H, W, 3] in RGB order."""
    return _decoded(message.data, cv2.IMREAD_COLOR_RGB, message.format)


def metres_of_compressed(message):
    """A sensor_msgs/CompressedImage of compressedDepth as float32 [H, W] in metres, 0 where nothing was measured.

    Its format is "16UC1; compressedDepth png" or "32FC1; compressedDepth png"; of the latter, the PNG holds inverse
    depth, a / (stored - b) metres with the header's a and b.
    """
    encoding, _, how = (part.strip() for part in message.format.partition(";"))
    if encoding not in ("16UC1", "32FC1") or how not in ("compressedDepth", "compressedDepth png"):
        raise ValueError(f"format is {message.format!r}; expected '16UC1; compressedDepth png', or 32FC1 in its place")
    data = bytes(message.data)
    if len(data) < struct.calcsize(_HEADER):
        raise ValueError(f"{len(data)} bytes; compressed depth begins with {struct.calcsize(_HEADER)} bytes of header")
    _, a, b = struct.unpack_from(_HEADER, data)
    stored = _decoded(data[struct.calcsize(_HEADER) :], cv2.IMREAD_UNCHANGED, message.format)
    if encoding == "16UC1":
        return _metres(stored, encoding)
    with np.errstate(divide="ignore"):
        return np.where(stored > 0, np.float32(a) / (stored.astype(np.float32) - np.float32(b)), np.float32(0))


def _decoded(data, flags, told):
    """The pixels of a compressed image."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError(f"{len(data)} bytes of format {told!r} cannot be decoded")
    return image


def fill_image(message, pixels, header):
    """Writes uint8 [H, W] (mono8) or [H, W, 3] (rgb8) into a new sensor_msgs/Image; returns it."""
    pixels = np.ascontiguousarray(pixels, np.uint8)
    message.header, message.encoding = header, "mono8" if pixels.ndim == 2 else "rgb8"
    message.height, message.width = pixels.shape[:2]
    message.is_bigendian, message.step = 0, pixels.strides[0]
    message.data = pixels.tobytes()
    return message
