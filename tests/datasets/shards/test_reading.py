"""Where shards lie, and what is told of shards that are not whole."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from torch.utils.data import DataLoader

from rgbx.datasets import FolderDataset, ShardedDataset, build_dataset, split_names
from rgbx.datasets.shards import read_manifest
from rgbx.doctor import diagnose
from rgbx.evaluate.metric import file_sizes


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files, and ranges of them as RFC 9110 has it; notes how many bytes were sent."""

    sent: ClassVar[list[int]] = []
    ranges = True

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        part, wanted = path.read_bytes(), self.headers.get("Range")
        self.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            whole, part = len(part), part[int(first) : int(last) + 1 if last else None]
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{whole}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.sent.append(len(part))
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def served(shards):
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp and requests")
    handler = type("Handler", (Ranges,), {"sent": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(shards)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def in_memory(shards):
    files = fsspec.filesystem("memory")
    files.put(str(shards), "/shards", recursive=True)
    yield "memory://shards"
    files.rm("/shards", recursive=True)


def ids_and_depths(dataset):
    return [(sample["sample_id"], sample["depth"].tobytes()) for sample in dataset]


@pytest.mark.parametrize("form", ["{}", "simplecache::{}"])
def test_of_memory(folder, in_memory, form):
    url = form.format(in_memory)
    assert split_names(url) == ("train",)
    assert ids_and_depths(build_dataset(url, modalities=("depth",))) == ids_and_depths(FolderDataset(folder))


def first_depth(dataset, index):
    return dataset[index]["depth"][0, 0].item()


class Depths:
    """A value of each sample, read in workers."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]["depth"][0, 0].item()


@pytest.fixture
def counted(in_memory, monkeypatch):
    """A URL, and how many bytes each request has given."""
    given, cat_file = [], MemoryFileSystem.cat_file

    def count(self, path, start=None, end=None, **options):
        data = cat_file(self, path, start=start, end=end, **options)
        given.append(len(data))
        return data

    monkeypatch.setattr(MemoryFileSystem, "cat_file", count)
    return in_memory, given


def requests(folder, url, given):
    """One request for the manifest, one for each index, and of each sample no more bytes than it has."""
    dataset = ShardedDataset(url)
    assert ids_and_depths(dataset) == ids_and_depths(FolderDataset(folder))
    shards = read_manifest(url)["train"].shards
    assert len(given) == 2 + len(shards) + len(dataset)
    assert sum(given) - 2 * given[0] < 1.2 * sum(shard.bytes for shard in shards)
    files = FolderDataset(folder)
    loader = DataLoader(Depths(dataset), batch_size=None, num_workers=2, timeout=60, multiprocessing_context="fork")
    values = list(loader)
    assert values == [first_depth(files, index) for index in range(len(files))]


def test_one_request_for_each_sample_in_this_process_and_in_forked_workers(folder, counted):
    requests(folder, *counted)


def test_of_a_server_by_ranges(folder, served):
    url, handler = served
    requests(folder, url, handler.sent)


def test_a_server_without_ranges_is_told(served):
    url, handler = served
    dataset = build_dataset(url)
    handler.ranges = False
    with pytest.raises(OSError, match=r"train/000000.tar: \d+ bytes were asked for, \d+ came: no ranges there"):
        dataset[0]


def test_urls_that_are_none():
    with pytest.raises(ValueError, match=r"^nothing://here: no files can be read from there: Protocol not known"):
        ShardedDataset("nothing://here")
    with pytest.raises(FileNotFoundError, match=r"memory://empty/shards.json: no such file"):
        ShardedDataset("memory://empty")


@pytest.fixture
def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def test_any_flipped_bit_of_what_is_read_is_refused(copy):
    """Every 40th byte of a sample: of its record, its files, and of nothing between them that is not read."""
    path = copy / "train" / "000000.tar"
    whole, dataset = path.read_bytes(), ShardedDataset(copy)
    line = (copy / "train" / "000000.idx").read_text().splitlines()[1].split(" ")
    members = [(int(line[i + 1]), int(line[i + 2]), line[i]) for i in range(0, len(line), 4)]
    for begin, size, ending in members:
        for at in {*range(begin, begin + size, 40), begin + size - 1}:
            damaged = bytearray(whole)
            damaged[at] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=rf"000000.tar!day0/a%2E0%7E%C3%BC\.{ending} at byte {begin}: damaged"):
                ShardedDataset(copy).read(0)
            dataset.read(1)


def test_truncated_and_foreign_shards_are_named(copy, folder):
    path = copy / "train" / "000001.tar"
    whole, dataset = path.read_bytes(), ShardedDataset(copy)
    path.write_bytes(whole[: len(whole) // 3])
    at = int(dataset.reader.ends[2]) - 1
    with pytest.raises(
        ValueError, match=rf"000001.tar!\S+: the shard is truncated: .* {len(whole)} bytes were written"
    ):
        dataset[at]
    sizes = rf"{len(whole) // 3} bytes, {len(whole)} were"
    with pytest.raises(ValueError, match=rf"000001.tar: the shard is truncated: it has {sizes}"):
        ShardedDataset(copy)
    path.write_bytes(whole + b"0")
    with pytest.raises(ValueError, match=rf"000001.tar: the shard is another one: it has {len(whole) + 1} bytes"):
        ShardedDataset(copy)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"000001.tar: no such file"):
        ShardedDataset(copy)
    path.write_bytes(whole)
    index = path.with_suffix(".idx")
    index.write_bytes(index.read_bytes().replace(b"day", b"dat"))
    with pytest.raises(ValueError, match=r"000001.idx: damaged, or of other shards: its SHA-256"):
        ShardedDataset(copy)[at]
    (copy / "shards.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"shards.json: expected a manifest of the format 'rgbx-shards/1' \(no 'format'"
    ):
        ShardedDataset(copy)
    (copy / "shards.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"shards.json: no such file; .* writes it last"):
        ShardedDataset(copy)


def test_what_is_asked_for_must_be_there(shards):
    with pytest.raises(ValueError, match=r"found split 'trian'; expected one of 'train'|found split 'trian'"):
        ShardedDataset(shards, "trian")
    with pytest.raises(ValueError, match=r"has the modalities \['rgb', .*found \['dept'\]; did you mean 'depth'|found"):
        ShardedDataset(shards, modalities=("dept",))
    with pytest.raises(ValueError, match="shuffle_buffer must be a whole number >= 1, found 0"):
        ShardedDataset(shards, shuffle_buffer=0)


def test_the_doctor_and_results_take_members_for_no_files(shards):
    dataset = build_dataset(shards)
    diagnosis = diagnose({"train": lambda: dataset}, samples=4, seed=0)
    assert not [item for item in diagnosis.findings if item.check in ("files", "open", "read")]
    assert file_sizes({"paths": {"rgb": [dataset[0]["paths"]["rgb"]]}}, 0) == {}


@pytest.mark.parametrize(
    ("field", "lie", "message"),
    [
        ("classes", 3, "classes: found 3"),
        ("palette", [[1]], r"palette: found \[\[1\]\]"),
        ("own", 5, "own: found 5"),
        ("more", {"classes": ["x"]}, "more: found"),
        ("clips", {"rgb": 0}, "clips: found"),
        ("written", "x", "written: found 'x'"),
        ("targets", "rgb", "targets: found 'rgb'"),
        ("targets", ["none"], r"targets, own, clips: \['none'\] are not among the maps"),
        ("samples", 2**70, "is no shard"),
        ("shards", "twice", "one is named twice"),
    ],
)
def test_a_manifest_that_lies_is_refused(copy, field, lie, message):
    path = copy / "shards.json"
    told = json.loads(path.read_text())
    split = told["splits"]["train"]
    if field == "samples":
        split["shards"][0][field] = lie
    else:
        split[field] = split[field] * 2 if lie == "twice" else lie
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=rf"copy/shards.json: expected a manifest of the format .*{message}"):
        ShardedDataset(copy)
