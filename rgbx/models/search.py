"""An index of codes: kept in a file with what it was made of, and searched for the most similar ones.

Search is exact. Many queries of many items are answered faster, and approximately, by a graph of neighbours of hnswlib
(`pip install 'rgbx[retrieval]'`; Malkov & Yashunin, arXiv 1603.09320), which is kept beside the index: see `graph_of`.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgbx._whole import writing
from rgbx.maps.files import file_hash, replace_file

FORMAT = "rgbx-codes/1"
WHOLE = -1  # in place of a region's id, of a whole frame
LIBRARY = "hnswlib"
MANY = 100_000  # items from which on a graph may pay
# Of 100,000 and of 300,000 codes of length 64, on one core, exact search of 200 queries took as long as reading a
# graph, and of 30,000 as building one.
PAYS_TO_READ, PAYS_TO_BUILD = 300, 50_000
_BLOCK = 2**24  # pairs of a query and an item that are compared at once


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
        self.check(queries)
        count, rows = min(top, len(self)), max(1, _BLOCK // max(len(self), 1))
        places = np.empty((len(queries), count), np.int64)
        scores = np.empty((len(queries), count), np.float32)
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            similarity = queries[part] @ self.codes.T
            places[part] = first_places(similarity, count)
            scores[part] = np.take_along_axis(similarity, places[part], axis=1)
        return places, scores

    def check(
        self,
        queries: np.ndarray,  # [q, D]
    ) -> None:
        """Refuses queries that cannot be compared with the codes.

        Raises:
            ValueError: queries of another length.
        """
        if queries.ndim != 2 or queries.shape[1] != self.codes.shape[1]:
            raise ValueError(f"queries are {list(queries.shape)}; expected [q, {self.codes.shape[1]}] as the codes are")

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
            _check_stored(path)
            with np.load(path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                codes, frames, regions = found["codes"], found["frames"].tolist(), found["regions"]
            right = about.pop("format") == FORMAT and codes.ndim == 2 and len(codes) == len(frames) == len(regions)
        except FileNotFoundError:
            raise
        except Exception:  # whatever NumPy meets in a file that is none of its own
            if not _is_archive(path):
                raise ValueError(f"{path} is no index of codes; expected one (.npz), or a file not there yet") from None
            raise ValueError(f"{path}: damaged, or no index of codes; delete it, and it is made anew") from None
        if not right:
            raise ValueError(f"{path}: no index of codes of form {FORMAT!r}; delete it, and it is made anew")
        return cls(codes, frames, regions, about)


def _check_stored(path: Path) -> None:
    """Refuses an archive that unpacks to more than it has; `CodeIndex.save` packs nothing."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("packed")


def _is_archive(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(2) == b"PK"


def first_places(
    values: np.ndarray,  # float32 [q, n]
    count: int,
) -> np.ndarray:
    """Places of the largest values of each row, int64 [q, count]: as by a stable sort, without sorting all."""
    if not count:
        return np.empty((len(values), 0), np.int64)
    largest, places = torch.from_numpy(values).topk(count, dim=1, sorted=False)
    edge, found = largest.min(dim=1, keepdim=True).values.numpy(), places.numpy()
    cut = (values == edge).sum(1) > (largest.numpy() == edge).sum(1)  # equal ones, of which some are left out
    for row in cut.nonzero()[0]:
        more, equal = ((values[row] > edge[row]).nonzero()[0], (values[row] == edge[row]).nonzero()[0])
        found[row] = np.concatenate([more, equal])[:count]
    found.sort(axis=1)
    order = np.argsort(-np.take_along_axis(values, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


@dataclass(frozen=True)
class Graph:
    """The library's index of the same codes, whose answers are approximate.

    Attributes:
        index: that it is of.
        library: hnswlib's.
    """

    index: CodeIndex
    library: Any

    def search(
        self,
        queries: np.ndarray,  # float32 [q, D], of unit length
        top: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `CodeIndex.search`, but some of the most similar items may be missed."""
        self.index.check(queries)
        count = min(top, len(self.index))
        self.library.set_ef(max(4 * count, 100))
        found, distances = self.library.knn_query(queries, k=count)
        places, scores = found.astype(np.int64), (1 - distances).astype(np.float32)
        order = np.lexsort((places, -scores))  # by row: of equal scores the first place first
        return np.take_along_axis(places, order, axis=1), np.take_along_axis(scores, order, axis=1)


def graph_of(index: CodeIndex, queries: int, file: Path | None) -> Graph | None:
    """The graph that answers so many queries sooner than exact search does, or None.

    It is read from beside the index, where it is of the same codes, from `PAYS_TO_READ` queries on. From
    `PAYS_TO_BUILD` on it is built, and kept.

    Args:
        index: of which fewer items than `MANY` never have one.
        queries: how many there are.
        file: of the index; None where that is not kept.
    """
    if len(index) < MANY or queries < PAYS_TO_READ or not installed():
        return None
    place = None if file is None else file.with_suffix(".hnsw")
    codes = hashlib.sha256(index.codes.tobytes()).hexdigest()
    library: Any = importlib.import_module(LIBRARY).Index(space="ip", dim=index.codes.shape[1])
    if place is not None and _keeps(place, codes):
        library.load_index(str(place), max_elements=len(index))
        return Graph(index, library)
    if queries < PAYS_TO_BUILD:
        return None
    library.init_index(max_elements=len(index), ef_construction=200, M=16)
    library.add_items(index.codes, np.arange(len(index)))
    graph = Graph(index, library)
    if place is not None:
        with suppress(OSError, RuntimeError):  # the search goes on where nothing can be kept
            _keep(graph, place, codes)
    return graph


def _keep(graph: Graph, place: Path, codes: str) -> None:
    """Writes a graph, and beside it what it is of: the library tells no wrong file."""
    with writing(place) as file:
        graph.library.save_index(file.name)
        if Path(file.name).stat().st_size != graph.library.index_file_size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        about = json.dumps({"codes": codes, "graph": file_hash(file.name)})
    replace_file(_about(place), about.encode())


def _about(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _keeps(place: Path, codes: str) -> bool:
    """Whether a graph is of the codes of a hash, and whole: the library trusts what it reads."""
    try:
        about = json.loads(_about(place).read_text())
        return bool(about == {"codes": codes, "graph": file_hash(place)})
    except (OSError, ValueError):
        return False


def installed() -> bool:
    """Whether the library is there that searches many items."""
    return importlib.util.find_spec(LIBRARY) is not None
