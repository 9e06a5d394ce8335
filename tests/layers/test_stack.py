import pytest
import torch

from rgbx.layers import StackLayout, split_modalities, stack_modalities


def test_stack_is_modality_major_and_repeats_one_channel():
    rgb, depth = torch.rand(2, 3, 4, 5), torch.rand(2, 1, 4, 5)
    stack = stack_modalities({"depth": depth, "rgb": rgb}, StackLayout(("rgb", "depth")))
    assert torch.equal(stack[:2], rgb)
    for channel in range(3):
        assert torch.equal(stack[2:, channel], depth[:, 0])


def test_split_returns_views_in_declared_order():
    layout = StackLayout(("rgb", "depth", "thermal"))
    with layout.holding({"thermal", "rgb"}):
        x = torch.arange(4.0).view(4, 1, 1, 1)
        parts = split_modalities(x, layout)
        assert list(parts) == ["rgb", "thermal"]
        assert parts["thermal"].flatten().tolist() == [2.0, 3.0]
        assert parts["rgb"].data_ptr() == x.data_ptr()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StackLayout(()), "at least one name"),
        (lambda: StackLayout(("rgb", "rgb")), "only once"),
        (lambda: StackLayout(("near-ir",)), "near-ir"),
        (lambda: StackLayout(("rgb",)).holding(["depth"]), r"\['depth'\] given; this model knows rgb"),
        (lambda: StackLayout(("rgb",)).holding([]), "this model knows"),
        (
            lambda: stack_modalities({"a": torch.zeros(1, 3, 4, 4), "b": torch.zeros(1, 3, 4, 5)}, StackLayout("ab")),
            r"b has batch and size \[1, 4, 5\], a has \[1, 4, 4\]",
        ),
        (
            lambda: stack_modalities({"a": torch.zeros(1, 4, 2, 2)}, StackLayout("a")),
            r"\[1, 4, 2, 2\]; expected \[N, 1, H, W\]",
        ),
    ],
)
def test_errors_name_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
