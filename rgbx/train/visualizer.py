"""mmengine's visualizer, which passes on what is logged, without matplotlib until it draws."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from mmengine.visualization import Visualizer

from rgbx._types import Options

_FIGURE = ("fig_save_canvas", "fig_save", "ax_save", "dpi")  # what mmengine's makes when it is made


class LateVisualizer(Visualizer):
    """As mmengine's own of the same arguments; its figure is made when it is first asked for, which many never do.

    Args:
        image: uint8 [H, W, 3] to draw on; with one the figure is made at once.
        args, kwargs: of `mmengine.visualization.Visualizer`.
    """

    def __init__(
        self, name: str = "visualizer", image: np.ndarray | None = None, *args: object, **kwargs: object
    ) -> None:
        super().__init__(name, None, *args, **kwargs)
        for part in _FIGURE:
            delattr(self, part)  # so that `__getattr__` is asked
        if image is not None:
            self.set_image(image)

    def _initialize_fig(self, fig_cfg: Options) -> tuple[Any, Any, Any]:
        """No figure for mmengine's `__init__`."""
        return None, SimpleNamespace(get_dpi=lambda: None), None

    def __getattr__(self, name: str) -> Any:
        if name not in _FIGURE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.fig_save_canvas, self.fig_save, self.ax_save = super()._initialize_fig(self.fig_save_cfg)
        self.dpi = self.fig_save.get_dpi()
        return getattr(self, name)
