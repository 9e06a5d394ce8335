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


@pytest.mark.parametrize("count", [0, 1, 5, 39, 40])
def test_the_first_places_are_those_of_a_stable_sort(count):
    values = np.random.default_rng(count).integers(0, 4, (30, 40)).astype(np.float32)
    values[0] = 1
    expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(search.first_places(values, count), expected)


def test_blocks_of_queries_change_nothing(monkeypatch):
    index, queries = made(), made(7, seed=1).codes
    expected = index.search(queries, 5)
    monkeypatch.setattr(search, "_BLOCK", 101)
    for found, whole in zip(index.search(queries, 5), expected, strict=True):
        np.testing.assert_allclose(found, whole, rtol=1e-6)


@pytest.fixture
def limits(monkeypatch):
    pytest.importorskip(search.LIBRARY, reason="no hnswlib: pip install 'rgbx[retrieval]'")
    for name, value in (("MANY", 100), ("PAYS_TO_READ", 5), ("PAYS_TO_BUILD", 9)):
        monkeypatch.setattr(search, name, value)


def test_many_queries_of_many_items_are_answered_by_a_graph(limits, monkeypatch):
    index, queries = made(400, 8), made(9, 8, seed=1).codes
    exact = index.search(queries, 4)
    places, scores = search.graph_of(index, 9, None).search(queries, 4)
    assert (places == exact[0]).mean() > 0.9
    np.testing.assert_allclose(scores[places == exact[0]], exact[1][places == exact[0]], atol=1e-5)
    assert search.graph_of(index, 8, None) is None
    assert search.graph_of(made(99, 8), 9, None) is None
    monkeypatch.setattr(search, "installed", lambda: False)
    assert search.graph_of(index, 9, None) is None


def test_of_equal_items_of_a_graph_the_first_comes_first(limits):
    codes = np.repeat(made(100, 8).codes, 3, axis=0)
    index = CodeIndex(codes, [str(i) for i in range(300)], np.full(300, WHOLE))
    places, _ = search.graph_of(index, 9, None).search(codes[::3][:20], 3)
    np.testing.assert_array_equal(places, np.arange(60).reshape(20, 3))


def test_a_graph_is_kept_until_the_codes_are_others(limits, tmp_path):
    file = tmp_path / "index.npz"
    index, other, queries = made(400, 8), made(400, 8, seed=2), made(5, 8, seed=1).codes
    assert search.graph_of(index, 8, file) is None  # it does not pay to build one
    first = search.graph_of(index, 9, file).search(queries, 4)
    assert {path.name for path in tmp_path.iterdir()} == {"index.hnsw", "index.hnsw.json"}
    again = search.graph_of(index, 5, file)
    for found, expected in zip(again.search(queries, 4), first, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert search.graph_of(other, 5, file) is None
    built = search.graph_of(other, 9, file).search(queries, 4)
    assert (built[0] == other.search(queries, 4)[0]).mean() > 0.9
    assert search.graph_of(index, 5, file) is None and search.graph_of(other, 5, file) is not None
    content = bytearray((tmp_path / "index.hnsw").read_bytes())
    content[200] ^= 255
    (tmp_path / "index.hnsw").write_bytes(content)
    assert search.graph_of(other, 5, file) is None  # what is damaged is not read


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
    with pytest.raises(ValueError, match=r"text\.npz is no index of codes; expected one"):  # which is not to be deleted
        CodeIndex.read(tmp_path / "text.npz")
    for name in ("other", "objects"):
        with pytest.raises(ValueError, match=f"{name}.npz: damaged, or no index of codes; delete it"):
            CodeIndex.read(tmp_path / f"{name}.npz")
