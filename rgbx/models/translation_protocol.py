"""Evaluation protocols of translation: what is done differently between a generator and its scores."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class TranslationProtocol:
    """The rules of one evaluation; `TranslationPredictor` carries them out.

    Attributes:
        name: what results are stamped with.
        source: where the rules come from.
        dropout: whether the generator's dropout stays on, drawn from the samples' ids alone.
        stretched: maps to translate to of which prediction and truth are each stretched, image by image, so that their
            smallest value becomes 0 and their largest 255, and cut to whole numbers.
    """

    name: str
    source: str
    dropout: bool = False
    stretched: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Every rule by its name, for result files."""
        return dataclasses.asdict(self)


TRANSLATION_PROTOCOLS: dict[str, TranslationProtocol] = {
    protocol.name: protocol
    for protocol in (
        TranslationProtocol("rgbx", source="the generator in evaluation mode, images as they come out of it"),
        TranslationProtocol(
            "cen",
            source="Wang et al., arXiv 2011.05005: github.com/yikaiw/CEN, image2image_translation/main.py, evaluate: "
            "the generator is never put in evaluation mode, and colour images are stretched before FID and KID",
            dropout=True,
            stretched=("rgb",),
        ),
    )
}


def find_translation_protocol(protocol: str | TranslationProtocol) -> TranslationProtocol:
    """A protocol by its name, or the one that was given.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(protocol, TranslationProtocol):
        return protocol
    if protocol not in TRANSLATION_PROTOCOLS:
        raise ValueError(
            f"protocol {protocol!r} is not one for translation; expected one of {', '.join(TRANSLATION_PROTOCOLS)}"
        )
    return TRANSLATION_PROTOCOLS[protocol]
