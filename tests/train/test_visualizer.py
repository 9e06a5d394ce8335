import numpy as np
import pytest
from mmengine.visualization import Visualizer

from rgbx.train.visualizer import LateVisualizer

IMAGE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
FIGURE = ("fig_save_canvas", "fig_save", "ax_save", "dpi")


@pytest.mark.parametrize("given", [{}, {"image": IMAGE}])
def test_it_draws_as_mmengines(given):
    late, plain = LateVisualizer(**given), Visualizer(**given)
    assert [name in vars(late) for name in FIGURE] == [bool(given)] * 4
    for each in (late, plain):
        if not given:
            each.set_image(IMAGE)
        each.draw_bboxes(np.array([4, 3, 20, 17]), edge_colors="r").draw_texts("x", np.array([9, 9]))
    assert late.dpi == plain.dpi and np.array_equal(late.get_image(), plain.get_image())
    assert not np.array_equal(late.get_image(), IMAGE)


def test_what_it_has_not_is_told_by_name():
    with pytest.raises(AttributeError, match="'LateVisualizer' object has no attribute 'canvas'"):
        _ = LateVisualizer().canvas


class OwnVisualizer(Visualizer):
    pass


@pytest.mark.parametrize(
    ("asked", "built"), [(None, LateVisualizer), (Visualizer, LateVisualizer), (OwnVisualizer, OwnVisualizer)]
)
def test_runs_take_it_in_place_of_mmengines(make_runner, asked, built):
    runner = make_runner(visualizer=asked and dict(type=asked))
    assert type(runner.visualizer) is built and runner.visualizer.instance_name == runner.experiment_name
    assert Visualizer.get_instance(runner.experiment_name) is runner.visualizer  # which code of others may ask for
    assert runner.keeps_scalars == (asked is None)
