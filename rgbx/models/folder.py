"""A model as a folder that hubs take: its weights as safetensors, and as JSON what it is of.

``config.json`` is what a checkpoint holds beside tensors: the recipe, and in `meta` the dataset that it was trained on.
Tuples and infinities, which JSON does not have, stand there as ``{"$tuple": [...]}`` and ``{"$float": "inf"}``. It is
data from strangers, as every recipe is, see `rgbx.models.recipe`.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

import rgbx
from rgbx._digest import DamagedFileError
from rgbx._files import existing_file, read_json
from rgbx._refusing import refusing
from rgbx._runs import DESCRIPTION, HUB, WEIGHTS, find_result, hub_name
from rgbx._types import Options
from rgbx.backbones import read_state_dict
from rgbx.backbones.weight_source import fetch_snapshot
from rgbx.maps.files import file_hash, replace_file

FORMAT, SUFFIX = "rgbx-model/1", ".safetensors"
SUM = "weights_sha256"  # the key of the digest of the file of tensors
MOST_BYTES = 2**22  # of config.json
_TUPLE, _FLOAT = "$tuple", "$float"


def find_checkpoint(path: str | Path) -> Path:
    """The file that a checkpoint's name means, see `rgbx._runs.find_result`; that of a hub is fetched.

    Raises:
        FileNotFoundError, ValueError: see `rgbx._runs.find_result`.
        FileNotFoundError, ConnectionError, PermissionError: see `rgbx.backbones.weight_source.fetch_snapshot`.
    """
    found = find_result(path)
    if not str(found).startswith(HUB):
        return found
    repository, revision = hub_name(str(found))
    return fetch_snapshot(repository, (DESCRIPTION, WEIGHTS), revision) / WEIGHTS


def read_folder(weights: Path) -> dict[str, Any]:
    """What a model's folder holds, as a checkpoint has it: ``model``, ``meta``, ``state_dict`` and ``source``.

    Args:
        weights: the file of tensors; its description lies beside it.

    Raises:
        FileNotFoundError: one of the two is not there.
        ValueError: the description is no JSON or of another program, or the file of tensors is damaged.
        DamagedFileError: a ValueError; the file of tensors is not the one that the description was written with. Of
            earlier versions' it is not told.
    """
    file = weights.with_name(DESCRIPTION)
    if weights.is_file() and not file.is_file():
        raise FileNotFoundError(
            f"checkpoint {weights}: no {DESCRIPTION} lies beside it, which says of which model it is"
        )
    found = read_json(file, limit=MOST_BYTES, what="description of a model")
    kind = found.get("format") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or kind != FORMAT:
        of = f"the format {reprlib.repr(kind)}" if kind is not None else "no format"
        raise ValueError(f"{file} has {of}; expected {FORMAT!r}: it is no model of rgbx, or one of a newer version")
    with refusing(str(file), "its values cannot be used"):
        described = {key: _unpacked(found.get(key)) for key in ("model", "meta", "source")}
    if SUM in found and found[SUM] != (sha256 := file_hash(existing_file(weights, "weight file"))):
        raise DamagedFileError(
            f"checkpoint {weights} is damaged, or not the file that {file} was written with: its SHA-256 is {sha256}, "
            f"expected {reprlib.repr(found[SUM])}"
        )
    return {**described, "state_dict": read_state_dict(weights)}


def write_folder(
    folder: Path,
    tensors: Mapping[str, Tensor],  # name to [...]
    recipe: Options,
    meta: Options,
    source: Options,
) -> None:
    """Writes weights and description, each whole or not at all; the description last, without which it is no model.

    Args:
        folder: made where it is not there.
        tensors: of the model, in the types that the file shall have.
        recipe: of the model.
        meta: of its checkpoint: plain values.
        source: `file` and `sha256` of that.

    Raises:
        ValueError: a value that JSON cannot hold.
    """
    own = {name: x.detach().clone().contiguous() for name, x in tensors.items()}  # each with a memory of its own
    weights = save(own, {"format": "pt"})
    content: dict[str, Any] = {"format": FORMAT, "rgbx": rgbx.__version__, SUM: hashlib.sha256(weights).hexdigest()}
    content |= {"source": source, "model": recipe, "meta": meta}
    text = json.dumps({key: _packed(value, key) for key, value in content.items()}, indent=1, allow_nan=False)
    replace_file(folder / WEIGHTS, weights)
    replace_file(folder / DESCRIPTION, f"{text}\n".encode())


def _packed(value: object, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(value)}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise ValueError(f"{path} has the key {wrong[0]!r}, which {DESCRIPTION} cannot hold; expected a name")
        return {key: _packed(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, f"{path}.{number}") for number, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ValueError(f"{path} is a {type(value).__name__}, which {DESCRIPTION} cannot hold; expected plain values")


def _unpacked(value: object) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {_TUPLE} and isinstance(value[_TUPLE], list):
            return tuple(map(_unpacked, value[_TUPLE]))
        if set(value) == {_FLOAT}:
            return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[value[_FLOAT]]
        return {key: _unpacked(item) for key, item in value.items()}
    return [_unpacked(item) for item in value] if isinstance(value, list) else value
