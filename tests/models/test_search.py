"""An index of codes: exact search against a loop, ties, the library above its limit, and files."""

import numpy as np
import pytest

from rgbx.models import search
from rgbx.models.search import WHOLE, CodeIndex


def made(count=50, length=6, seed=0, **about):
    codes = np.random.default_rng(seed).standard_normal((count, length)).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    return CodeIndex(codes, [f"f{i // 2}" for i in range(count)], np.arange(count), about)


def test_exact_search_is_a_loop_over_the_items():
    index, queries = made(), made(7, seed=1).codes
    places, scores = index.search(queries, 5)
    for query, found, cosines in zip(queries, places, scores, strict=True):
        expected = sorted(range(len(index)), key=lambda j, query=query: -float(query @ index.codes[j]))[:5]
        assert found.tolist() == expected
        np.testing.assert_allclose(cosines, [query @ index.codes[j] for j in expected], rtol=1e-6)
    assert index.search(queries, 80)[0].shape == (7, 50)
    with pytest.raises(ValueError, match=r"queries are \[2, 3\]; expected \[q, 6\]"):
        index.search(np.zeros((2, 3), np.float32), 1)


def test_of_equal_items_the_first_comes_first():
    index = CodeIndex(np.ones((4, 1), np.float32), list("abcd"), np.full(4, WHOLE))
    assert index.search(np.ones((1, 1), np.float32), 3)[0].tolist() == [[0, 1, 2]]


def test_many_items_are_searched_by_the_library(monkeypatch):
    pytest.importorskip(search.LIBRARY, reason="no hnswlib: pip install 'rgbx[retrieval]'")
    index, queries = made(400, 8), made(9, 8, seed=1).codes
    exact = index.search(queries, 4)
    monkeypatch.setattr(search, "MANY", 100)
    places, scores = index.search(queries, 4)
    assert (places == exact[0]).mean() > 0.9
    np.testing.assert_allclose(scores[places == exact[0]], exact[1][places == exact[0]], atol=1e-5)
    monkeypatch.setattr(search, "installed", lambda: False)
    np.testing.assert_array_equal(index.search(queries, 4)[0], exact[0])


def test_files(tmp_path):
    index = made(checkpoint="ab", files={"a": [1, 2]})
    index.save(tmp_path / "index.npz")
    read = CodeIndex.read(tmp_path / "index.npz")
    np.testing.assert_array_equal(read.codes, index.codes)
    np.testing.assert_array_equal(read.regions, index.regions)
    assert (read.frames, read.about) == (index.frames, index.about)
    with pytest.raises(FileNotFoundError):
        CodeIndex.read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", codes=np.zeros(3))
    np.savez(tmp_path / "objects.npz", codes=np.array([{}], object), about="{}")
    for name in ("text", "other", "objects"):
        with pytest.raises(ValueError, match=f"{name}.npz: no index of codes"):
            CodeIndex.read(tmp_path / f"{name}.npz")
