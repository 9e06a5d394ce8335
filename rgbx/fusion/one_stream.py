"""What methods share in which some modalities only give and one predicts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rgbx.layers import StackLayout, split_modalities


class SelectModality(nn.Module):
    """Hands the decoder the features of one modality; where it is absent, those of the first that is present."""

    def __init__(self, name: str, layout: StackLayout) -> None:
        super().__init__()
        self.name, self.layout = name, layout

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Stage stacks [M*N, C_i, h_i, w_i] to maps [N, C_i, h_i, w_i]."""
        name = self.name if self.name in self.layout.present else self.layout.present[0]
        return [split_modalities(x, self.layout)[name] for x in features]

    def extra_repr(self) -> str:
        return self.name


def check_known(field: str, names: Sequence[str], layout: StackLayout) -> None:
    """Refuses names of a fusion method's field that are no modalities of the model.

    Raises:
        ValueError: naming the field and what was found.
    """
    if unknown := [name for name in names if name not in layout.modalities]:
        raise ValueError(f"fusion field {field} names {unknown[0]!r}; this model knows {list(layout.modalities)}")
