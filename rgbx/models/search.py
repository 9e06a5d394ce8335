"""An index of codes: kept in a file with what it was made of, and searched for the most similar ones.

Search is exact. Above `MANY` items an approximate one, by hnswlib (`pip install 'rgbx[retrieval]'`; Malkov & Yashunin,
arXiv 1603.09320), is faster, and taken where that is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.maps.files import replace_file

FORMAT = "rgbx-codes/1"
MANY = 100_000  # items
WHOLE = -1  # in place of a region's id, of a whole frame
LIBRARY = "hnswlib"
_BLOCK = 256  # queries that are compared with all items at once


@dataclass(frozen=True)
class CodeIndex:
    """Codes of frames, or of regions of frames.

    Attributes:
        codes: float32 [n, D], of unit length.
        frames: the name of each item's frame.
        regions: int64 [n], the id of each item's region, or `WHOLE`.
        about: what it was made of, in plain values.
    """

    codes: np.ndarray
    frames: Sequence[str]
    regions: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    def search(
        self,
        queries: np.ndarray,  # float32 [q, D], of unit length
        top: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the most similar items, int64 [q, k], the first one first, and their cosines, float32 [q, k].

        Of equally similar items the one that stands first in the index comes first. k is `top`, or less of fewer
        items.

        Raises:
            ValueError: queries of another length than the codes.
        """
        if queries.ndim != 2 or queries.shape[1] != self.codes.shape[1]:
            raise ValueError(f"queries are {list(queries.shape)}; expected [q, {self.codes.shape[1]}] as the codes are")
        count = min(top, len(self))
        if len(self) >= MANY and installed():
            return self._search_by_library(queries, count)
        places, scores = [], []
        for start in range(0, len(queries), _BLOCK):
            similarity = queries[start : start + _BLOCK] @ self.codes.T
            order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
            places.append(order)
            scores.append(np.take_along_axis(similarity, order, axis=1))
        return np.concatenate(places), np.concatenate(scores)

    def _search_by_library(
        self,
        queries: np.ndarray,  # float32 [q, D]
        count: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        library: Any = importlib.import_module(LIBRARY)
        index = library.Index(space="ip", dim=self.codes.shape[1])
        index.init_index(max_elements=len(self), ef_construction=200, M=16)
        index.add_items(self.codes, np.arange(len(self)))
        index.set_ef(max(4 * count, 100))
        places, distances = index.knn_query(queries, k=count)
        return places.astype(np.int64), (1 - distances).astype(np.float32)

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all, as a NumPy file."""
        content = io.BytesIO()
        about = json.dumps({"format": FORMAT, **self.about})
        np.savez(content, codes=self.codes, frames=np.array(self.frames, str), regions=self.regions, about=about)
        replace_file(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> CodeIndex:
        """What `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file of another kind, or a damaged one.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                codes, frames, regions = found["codes"], found["frames"].tolist(), found["regions"]
            right = about.pop("format") == FORMAT and codes.ndim == 2 and len(codes) == len(frames) == len(regions)
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever NumPy meets in a file that is none of its own
            raise ValueError(f"{path}: no index of codes: {type(error).__name__}: {error}") from None
        if not right:
            raise ValueError(f"{path}: no index of codes of form {FORMAT!r}; delete it, and it is made anew")
        return cls(codes, frames, regions, about)


def installed() -> bool:
    """Whether the library is there that searches many items."""
    return importlib.util.find_spec(LIBRARY) is not None
