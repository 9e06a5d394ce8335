"""A ROS 2 node that labels pairs of RGB and depth images of one camera.

    python3 node.py --ros-args -p checkpoint:=rooms.pth -r rgb:=/camera/color/image_raw \
        -r depth:=/camera/aligned_depth_to_color/image_raw

It listens to `rgb` and `depth` (registered to RGB, of the same size), and publishes `labels`, class ids as mono8, and
`overlay`, rgb8, both with the header of the RGB image. Frames that arrive while it predicts are left out.
"""

import message_filters
import rclpy
from conversions import fill_image, metres_of, rgb_of, seconds
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

import rgbx


class Labels(Node):
    """Predicts with each pair whose stamps differ by at most `slop` seconds."""

    def __init__(self):
        super().__init__("rgbx_labels")
        self.model = rgbx.load(self.declare_parameter("checkpoint", "").value)
        slop = self.declare_parameter("slop", 0.02).value
        self.labels, self.overlay = (self.create_publisher(Image, name, 1) for name in ("labels", "overlay"))
        maps = [
            message_filters.Subscriber(self, Image, name, qos_profile=qos_profile_sensor_data)
            for name in ("rgb", "depth")
        ]
        self.pairs = message_filters.ApproximateTimeSynchronizer(maps, queue_size=5, slop=slop)
        self.pairs.registerCallback(self.predict)

    def predict(self, rgb, depth):
        try:
            found = self.model.predict(rgb=rgb_of(rgb), depth=metres_of(depth))["labels"]
        except ValueError as error:  # an encoding or a size that is not expected: the next frame may be right
            self.get_logger().warning(f"frame at {seconds(rgb.header.stamp):.3f} s: {error}")
            return
        self.labels.publish(fill_image(Image(), found.ids, rgb.header))
        self.overlay.publish(fill_image(Image(), found.overlay(), rgb.header))


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Labels())
