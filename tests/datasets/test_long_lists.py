"""Lists of many lines: the same frames and messages as plain objects would have, in a fraction of their memory."""

from __future__ import annotations

import codecs
import importlib.util
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from processes import FORKS

from rgbx import _files
from rgbx._files import read_text, text_lines
from rgbx.datasets import FolderDataset, NYUDv2Lists, texts
from rgbx.datasets.files import MissingFileError
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import holdout_indices
from rgbx.datasets.texts import Texts, collected, first_twice

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "lists.py"
LINES = 800
BYTES_A_LINE = 900  # plain objects took 2,600


@pytest.fixture(params=["few at once", "one hash for all"])
def strained(request, monkeypatch):
    """Blocks that end everywhere, and texts that only a look at themselves tells apart."""
    monkeypatch.setattr(texts, "_BATCH", 7)
    if request.param == "one hash for all":
        monkeypatch.setattr(texts, "hash", lambda text: len(text) % 2, raising=False)


def test_texts_are_a_list_and_a_dict(strained):
    rng = random.Random(0)
    odd = "äß/夜\udcff x"
    plain = [f"{odd[: rng.randrange(8)]}{number}" for number in range(60)] + ["", "last"]
    rng.shuffle(plain)
    held = Texts(iter(plain))
    assert list(held) == plain and len(held) == 62 and held[-1] == plain[-1] and held[5:20:3] == plain[5:20:3]
    assert [held.position(text) for text in plain] == list(range(62))
    assert held.position("none") is None and "none" not in held and 7 not in held
    assert list(pickle.loads(pickle.dumps(held))) == plain and list(Texts([])) == [] and "" not in Texts([])
    with pytest.raises(IndexError):
        held[62]
    many = collected(plain)
    assert isinstance(many, Texts) and sorted(many) == sorted(plain) and collected(plain[:3]) == set(plain[:3])


def test_the_first_text_that_has_stood_before(strained):
    rng = random.Random(1)
    for _ in range(30):
        plain = [str(rng.randrange(200)) for _ in range(40)]
        seen, expected = {}, None
        for at, text in enumerate(plain):
            if text in seen:
                expected = seen[text], at
                break
            seen[text] = at
        assert first_twice(iter(plain), plain.__getitem__) == expected


TEXT = "a\r\n夜é\r\r\n\n\U0001f600b\rc\n\r\nlast"
MARKS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("end", ["", "\r", "\n", "\r\n"])
def test_pieces_end_within_characters_and_ends_of_lines(tmp_path, monkeypatch, encoding, end):
    path = tmp_path / "list.txt"
    path.write_bytes(MARKS[encoding] + (TEXT + end).encode(encoding))
    plain = (TEXT + end).replace("\r\n", "\n").replace("\r", "\n")
    for size in (4, 5, 6, 7, 9, 1 << 20):
        monkeypatch.setattr(_files, "_PIECE", size)
        assert list(text_lines(path)) == plain.split("\n") and read_text(path) == plain


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\r\nb\nc\xe9d\n" + b"e\n" * 50, r"list\.txt:3: not UTF-8, found the byte 0xe9; is it in a Windows"),
        (b"\xef\xbb\xbfa\nb\xe9", r"list\.txt:2: not UTF-8-SIG, found the byte 0xe9"),
        ("a\nb\n夜".encode()[:-1], r"list\.txt:3: not UTF-8, found the byte 0xe5"),
        (codecs.BOM_UTF16_LE + "a\nb\nc".encode("utf-16-le")[:-1], r"list\.txt:3: not UTF-16, found"),
        (b"a\rb\r\n" + b"x" * 20 + b"\0\n", r"list\.txt:3: a NUL character"),
    ],
)
def test_no_text_is_told_with_its_line_wherever_pieces_end(tmp_path, monkeypatch, data, message):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    for size in (4, 5, 7, 1 << 20):
        monkeypatch.setattr(_files, "_PIECE", size)
        for read in (read_text, lambda file: list(text_lines(file))):
            with pytest.raises(ValueError, match=message):
                read(path)


def test_sizes_that_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    path.write_text("short\n" + "long" * 30)
    with pytest.raises(ValueError, match=r"list\.txt: the file has 126 bytes; at most 100 are read"):
        list(text_lines(path, limit=100))
    monkeypatch.setattr(_files, "TEXT_LIMIT", 60)
    monkeypatch.setattr(_files, "_PIECE", 16)
    with pytest.raises(ValueError, match=r"list\.txt:2: a line of more than 60 characters"):
        list(text_lines(path))


@pytest.fixture
def folders(tmp_path):
    """20 x 40 frames by links to a folder of 40, two of them in capitals."""
    for name in ("rgb", "depth", "label"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / name).mkdir()
        for number in range(40):
            suffix = "PNG" if number in (3, 30) and name == "depth" else "png"
            (tmp_path / "store" / name / f"{number:02d}.{suffix}").touch()
        for number in range(20):
            (tmp_path / name / f"{number:02d}").symlink_to(tmp_path / "store" / name)
    (tmp_path / "dataset.toml").write_text(
        'classes.names = ["a"]\nlabel.folder = "label"\nmodalities.rgb = {folder = "rgb", unit = "rgb8"}\n'
        'modalities.depth = {folder = "depth", unit = "metre", scale = 1000}\nsplits.train = "train.txt"'
    )
    return tmp_path


def stems():
    order = np.random.default_rng(0).permutation(LINES)
    return [f"{number // 40:02d}/{number % 40:02d}" for number in order.tolist()]


def suffix_of(stem, name):
    return "PNG" if name == "depth" and stem[-2:] in ("03", "30") else "png"


def column_line(stem):
    return "\t".join(f"{name}/{stem}.{suffix_of(stem, name)}" for name in ("rgb", "label", "depth"))


def plain_frames(root, names, blank):
    """What the lines mean, one object each: `blank` is the number of the line that is blank."""
    return [
        Frame(
            stem,
            {name: root / name / f"{stem}.{suffix_of(stem, name)}" for name in names},
            f"{root / 'train.txt'}:{at + 1 + (at + 1 >= blank)}",
        )
        for at, stem in enumerate(stems())
    ]


def write_lines(root, lines, blank=300):
    (root / "train.txt").write_text("\r\n".join([*lines[: blank - 1], "  ", *lines[blank - 1 :]]))


@pytest.mark.parametrize("kind", ["columns", "stems"])
def test_frames_are_those_of_plain_objects(folders, monkeypatch, kind):
    monkeypatch.setattr(texts, "_BATCH", 64)
    if kind == "columns":
        write_lines(folders, [column_line(stem) for stem in stems()])
        plain = [
            Frame(f"rgb/{frame.sample_id}", frame.files, frame.origin)
            for frame in plain_frames(folders, ("rgb", "label", "depth"), 300)
        ]
        kind_of = NYUDv2Lists
    else:
        forms = ("{}", "rgb/{}.png", "\\rgb\\{}.png", " {}.PNG ")
        write_lines(folders, [forms[at % 4].format(stem) for at, stem in enumerate(stems())])
        plain = plain_frames(folders, ("rgb", "depth", "label"), 300)
        kind_of = FolderDataset
    dataset = kind_of(folders)
    assert len(dataset) == LINES and list(dataset.frames) == plain and not dataset.left_over
    for index in (0, 298, 299, 734, -1):
        assert dataset.frames[index] == plain[index]
    assert dataset.name_of(5) == plain[5].sample_id and dataset.frames[10:14] == plain[10:14]
    assert list(pickle.loads(pickle.dumps(dataset)).frames) == plain
    for part in ("exclude", "only"):
        expected = [plain[index] for index in holdout_indices(LINES, part)]
        held = kind_of(folders, holdout=part)
        assert (
            list(held.frames) == expected
            and held.frames[3] == expected[3]
            and held.name_of(3) == plain[holdout_indices(LINES, part)[3]].sample_id
        )
    before = dataset_fingerprint(dataset)
    assert before == dataset_fingerprint(kind_of(folders)) != dataset_fingerprint(held)
    text = (folders / "train.txt").read_text()
    (folders / "train.txt").write_text(text[::1].replace("\n  ", "", 1))  # the same frames, one line up
    assert dataset_fingerprint(kind_of(folders)) != before


def test_mistakes_in_the_midst_of_a_list(folders):
    lines = [column_line(stem) for stem in stems()]
    for at, line, message in (
        (600, lines[7], r"train\.txt:602: frame 'rgb/.*' is there already, at .*train\.txt:8"),
        (500, "rgb/1.png\tlabel/1.png", r"train\.txt:502: expected 3 tab-separated columns .*, found 2"),
        (500, lines[500].replace("rgb/", "../"), r"train\.txt:502: '\.\./.*' leads out of"),
    ):
        write_lines(folders, [*lines[:at], line, *lines[at + 1 :]])
        with pytest.raises(ValueError, match=message):
            NYUDv2Lists(folders)
    for at in (500, 600, 4):
        lines[at] = lines[at].replace("label/", "label/none")
    write_lines(folders, lines)
    with pytest.raises(MissingFileError) as error:
        NYUDv2Lists(folders)
    first = stems()[4]
    assert str(error.value).startswith(
        f"{folders}/train.txt:5: {folders}/label/none{first}.png: no such file; label of 3 of 800 frames is missing"
    )
    assert str(error.value).endswith(f"['rgb/{first}', 'rgb/{stems()[500]}', 'rgb/{stems()[600]}']")
    assert len(error.value.dataset) == LINES


def test_files_of_no_frame_beside_long_lists(folders, monkeypatch):
    """The other list's are known by it; those of no list are told, in flat folders and below."""
    monkeypatch.setattr(texts, "_BATCH", 16)
    every = [f"{'' if number % 3 else 'day/'}f{number:03d}" for number in range(100)]
    for name in ("rgb", "depth", "label"):
        (folders / name / "day").mkdir()
        for stem in every:
            (folders / name / f"{stem}.png").touch()
    (folders / "train.txt").write_text("\n".join(every[:50]))
    (folders / "val.txt").write_text("\n".join(every[50:95]))
    (folders / "dataset.toml").write_text((folders / "dataset.toml").read_text() + '\nsplits.val = "val.txt"')
    for split in ("train", "val"):
        left = FolderDataset(folders, split).left_over
        for name in ("rgb", "depth", "label"):
            told = [path for path in left[name] if Path(path).name.startswith("f")]
            assert told == sorted(f"{folders}/{name}/{stem}.png" for stem in every[95:])


def load_benchmark():
    spec = importlib.util.spec_from_file_location("lists", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_in_child(root, kind, pipe):
    pipe.send(load_benchmark().open_list(root, kind)[1])


@pytest.mark.parametrize("kind", ["columns", "stems"])
def test_memory_of_a_line(tmp_path, kind):
    count = 30_000
    load_benchmark().write_list(tmp_path, count, kind)
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=open_in_child, args=(tmp_path, kind, there))
    process.start()
    assert here.poll(60)
    found = here.recv()
    process.join()
    assert found["peak_beyond_imports_mb"] * 1e6 / count < BYTES_A_LINE
