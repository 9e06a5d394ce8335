"""Whether red and blue are exchanged, as far as statistics can tell."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from rgbx.datasets.folder import FolderDataset
from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding
from rgbx.doctor.inspection import InspectedFrame, Split

ENOUGH_FRAMES = 16
_MANY, _FEW = 0.85, 0.15
_SKY_MARGIN = 8.0  # grey levels


class ColourOrder(Check):
    """Votes of frames: hues of wood and skin against those they have with red and blue exchanged, and labelled sky.

    Photographs of rooms and people hold far more orange than its counterpart azure (in NYU Depth V2, 90 to 95 % of the
    frames that hold either); sky is rarely redder than blue. Other scenes need not obey, so this never says more than
    "likely", and "undecided" unless 85 % of at least 16 frames agree. The frames of one recording, which have stamps,
    show one scene over and over: what has a blue wall there has it in all of them, so that they are undecided.
    """

    name = "colour-order"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.votes: list[bool] = []
        self.sky: list[bool] = []
        self.one_scene = isinstance(split.dataset, FolderDataset) and bool(split.dataset.stamps)
        names = [name.lower() for name in self.classes]
        self.sky_id = names.index("sky") if "sky" in names else None

    def see(self, frame: InspectedFrame) -> None:
        rgb = None if frame.sample is None else frame.sample.get("rgb")
        if rgb is None:
            return
        warm, cool = warm_and_cool(rgb[::2, ::2])
        if max(warm, cool) > 0.01 and max(warm, cool) > 1.5 * min(warm, cool):
            self.votes.append(warm > cool)
        label = (frame.sample or {}).get("label")
        if self.sky_id is not None and label is not None and (label == self.sky_id).mean() > 0.02:
            red, _, blue = rgb[label == self.sky_id].mean(axis=0)
            if abs(red - blue) > _SKY_MARGIN:
                self.sky.append(bool(blue > red))

    def findings(self) -> Iterable[Finding]:
        if "rgb" not in self.maps:
            return
        evidence = {
            "frames_more_orange_than_azure": sum(self.votes),
            "frames_that_vote": len(self.votes),
            "frames_with_blue_sky": sum(self.sky),
            "frames_with_coloured_sky": len(self.sky),
        }
        figures = f"orange outweighs azure in {sum(self.votes)} of {len(self.votes)} frames that hold either"
        if self.sky:
            figures += f"; labelled sky is bluer than red in {sum(self.sky)} of {len(self.sky)}"
        if self.one_scene:
            figures += ", which one recording shows over and over"
        verdict = self._verdict()
        if verdict == "exchanged":
            yield self.finding(
                "warning",
                "likely" if len(self.sky) >= 4 or len(self.votes) >= 2 * ENOUGH_FRAMES else "possible",
                f"red and blue seem exchanged: {figures}",
                "Look at the contact sheet. OpenCV writes and reads BGR: convert before writing such files.",
                evidence=evidence,
            )
        elif verdict == "right":
            yield self.finding("info", "likely", f"colours look like RGB order: {figures}", evidence=evidence)
        else:
            yield self.finding("info", "undecided", f"RGB or BGR: undecided ({figures})", evidence=evidence)

    def _verdict(self) -> str:
        for votes, enough in ((self.sky, 4), (self.votes, ENOUGH_FRAMES)):
            if len(votes) >= enough and not self.one_scene:
                share = sum(votes) / len(votes)
                if share <= _FEW or share >= _MANY:
                    return "right" if share >= _MANY else "exchanged"
        return "undecided"


def warm_and_cool(rgb: np.ndarray) -> tuple[float, float]:
    """Shares of pixels, moderately saturated, with an orange hue and with what it becomes with red and blue exchanged.

    Args:
        rgb: uint8 [H, W, 3].
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2HSV))
    moderate = (saturation > 40) & (saturation < 180) & (value > 60)
    warm = moderate & (hue >= 2) & (hue <= 20)  # half degrees: 4 to 40
    cool = moderate & (hue >= 100) & (hue <= 118)  # exchanging red and blue maps hue h to 240 - h degrees
    return float(warm.mean()), float(cool.mean())
