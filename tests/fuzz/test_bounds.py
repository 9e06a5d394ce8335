"""Small files made to take much: each is read or refused within a stated memory, measured in a process of its own.

``pytest -s`` shows the figures; those of docs/security.md are of such files, before the bounds and with them.
"""

import io
import struct
import time
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from fuzz.mutations import png_of, zip_of
from fuzz.test_doors import STATUS, forget_peak, memory
from processes import FORKS

from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat, read_split
from rgbx.maps import STANDARD_MAPS, Encoding, LabelEncoding
from rgbx.maps.files import read_ids, read_image
from rgbx.models.checkpoint import read_checkpoint
from rgbx.models.load import model_of
from rgbx.models.search import CodeIndex

MIB = 2**20
OF_MAPS, OF_OTHERS = 1024, 200  # MiB beyond the start, of files of less than 2 MiB


def png(side, bits, colours):
    """A PNG of zeros, of so many pixels in a row and in a column."""
    row = 1 + side * bits * {0: 1, 3: 1, 6: 4}[colours] // 8
    stream = zlib.compressobj(1)
    body = b"".join([*(stream.compress(bytes(row)) for _ in range(side)), stream.flush()])
    header = struct.pack(">IIBBBBB", side, side, bits, colours, 0, 0, 0)
    return png_of([(b"IHDR", header), *[(b"PLTE", bytes(768))] * (colours == 3), (b"IDAT", body), (b"IEND", b"")])


def archive(name, head, size, packing, said=None):
    """An archive whose one part begins with `head` and is of zeros otherwise; it may say that it is smaller."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as opened:
        with opened.open(name, "w", force_zip64=True) as part:
            part.write(head)
            for _ in range(size // MIB):
                part.write(bytes(MIB))
        opened.infolist()[0].file_size = said or opened.infolist()[0].file_size
    return file.getvalue()


def array_head(shape, kind):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": kind})
    return file.getvalue()


# --- pickles ---------------------------------------------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    return b"J" + struct.pack("<i", value)


def pickled(value, *more, packing=zipfile.ZIP_STORED):
    """A checkpoint whose pickle is {"a": value}."""
    parts = [(b"archive/data.pkl", b"\x80\x02}" + text(b"a") + value + b"s."), (b"archive/version", b"3\n"), *more]
    return zip_of(parts, packing)


def storage(key):
    return b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(key) + text(b"cpu") + number(1) + b"tQ"


def expanded(count):
    """A tensor of one stored value that says it has many."""
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage(b"0")
        + b"K\0"
        + number(count)
        + b"\x85K\0\x85\x89"
        + hooks
        + b"tR"
    )


def in_cases(count):
    """Names that differ in nothing but the case of their letters."""
    return ["".join("aA"[case >> place & 1] for place in range(11)).encode() for case in range(count)]


def checkpoints():
    doubled = text(b"a" * 64) + text(b"latin1") + b"\x86R" + (text(b"hex") + b"\x86R") * 24
    converted = b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n(" + expanded(2**27) + b"ctorch\nfloat64\n"
    values = b"](" + b"".join(map(number, range(20_000))) + b"e\x85q\x02"
    renamed = b"](" + b"".join(map(storage, in_cases(1000))) + b"e"
    return {
        "bytes": pickled(b"c__builtin__\nbytearray\n" + number(2**30) + b"\x85R"),
        "encoded": pickled(b"c_codecs\nencode\n" * 25 + doubled),
        "converted": pickled(converted + text(b"cpu") + b"\x89tR", (b"archive/data/0", bytes(4))),
        "copied": pickled(b"(c__builtin__\nset\nq\x01" + values + b"0" + b"h\x01h\x02R" * 1000 + b"t"),
        "sized": pickled(
            b"ctorch._tensor\n_rebuild_from_type_v2\n(" + b"ctorch\nTensor\n" * 2 + number(2**29) + b"\x85}tR"
        ),
        "containers": pickled(b"(" + b"}" * 1_000_100 + b"t"),
        "packed": pickled(b"(" + b"}" * 3_000_000 + b"t", packing=zipfile.ZIP_DEFLATED),
        "renamed": pickled(renamed, (b"archive/data/aaaaaaaaaaa", bytes(MIB // 2))),
        "bzip2": archive("archive/data.pkl", b"\x80\x02}", 64 * MIB, zipfile.ZIP_BZIP2, said=1000),
    }


# --- recipes ---------------------------------------------------------------------------------------------------------


def recipe(**changed):
    heads = {"labels": {"task": "classes", "num_classes": 5}}
    return {"builder": "multimodal", "parameters": {"modalities": ["rgb", "depth"], "heads": heads, **changed}}


def opponents(count):
    adversarial = {"discriminator": {"name": "patch", "width": 2**16, "layers": 256}}
    head = {"task": "map", "channels": 1, "unit": "metre", "range": {"low": 0, "high": 8}, "adversarial": adversarial}
    return {f"d{index}": head for index in range(count)}


RECIPES = {
    "wide": recipe(
        heads={"labels": {"task": "classes", "num_classes": 255, "decoder": {"name": "light", "width": 2**16}}}
    ),
    "many": recipe(heads=opponents(64)),
    "deep": recipe(backbone="tf_efficientnet_l2", weights="separate", fusion=None),
}


def build(name):
    model_of({"model": RECIPES[name], "state_dict": {"a": torch.ones(1)}}, f"{name}.pth")


# --- MATLAB ----------------------------------------------------------------------------------------------------------


def write_matlab(folder):
    """Beside right lists a file whose parts are too large, one that is packed twice, and a list without end."""
    scipy.io.savemat(folder / "classMapping40.mat", {"mapClass": np.arange(894)[None] % 40 + 1})
    scipy.io.savemat(folder / "splits.mat", {"trainNdxs": np.array([[1]]), "testNdxs": np.array([[2]])})
    scipy.io.savemat(folder / "endless.mat", {"trainNdxs": np.zeros((1, 72 * MIB), np.uint8)}, do_compression=True)
    for name, shape in (("parts", (64, 2048, 2048)), ("twice", (1, 64, 64)), ("frame", (1, 64, 64))):
        with h5py.File(folder / f"{name}.mat", "w") as file:
            rows = (2, 8192, 8192) if name == "frame" else (64, 2048, 2048)
            file.create_dataset("images", (rows[0], 3, 64, 64), "u1", chunks=(1, 3, 64, 64))
            file.create_dataset("labels", (rows[0], 64, 64), "u2", chunks=(1, 64, 64))
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk(shape)
            for _ in range(1 + (name == "twice")):
                made.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
            h5py.h5d.create(file.id, b"depths", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple(rows), made)


# --- the doors -------------------------------------------------------------------------------------------------------

DEPTH = Encoding(STANDARD_MAPS["depth"], scale=1000, missing=(65535,))
COLOURS = LabelEncoding(colours=((0, 0, 0), (1, 1, 1)))


def doors(folder):
    """What is entered, by name: the most memory in MiB, a function, its argument, and a word of its refusal."""
    side, files = 8192, folder / "files"
    grey = png(side, 16, 0)
    maps = {
        "grey.png": (grey, DEPTH.read_masked, ""),
        "label.png": (grey, LabelEncoding().read, ""),
        "palette.png": (png(side, 8, 3), COLOURS.read, ""),
        "deflated.npz": (
            archive("a.npy", array_head((side, side - 1), "<f4"), 255 * MIB, zipfile.ZIP_DEFLATED),
            read_ids,
            "truncated",
        ),
        "bzip2.npz": (
            archive("a.npy", array_head((64, 64), "|u1"), 64 * MIB, zipfile.ZIP_BZIP2, 5000),
            read_image,
            "packed",
        ),
    }
    found = {}
    for name, (content, function, word) in maps.items():
        (files / name).write_bytes(content)
        found[name] = OF_MAPS, function, files / name, word
    words = dict(bytes="bytearray", encoded="encoding", converted="_rebuild_device", copied="again and again")
    words |= dict(containers="containers", packed="unpacks", renamed="two names", bzip2="packed", sized="a size alone")
    for name, content in checkpoints().items():
        (files / f"{name}.pth").write_bytes(content)
        found[f"{name}.pth"] = OF_OTHERS, read_checkpoint, files / f"{name}.pth", words[name]
    found |= {
        f"recipe: {name}": (OF_OTHERS, build, name, word)
        for name, word in dict(wide="differ", many="modules", deep="modules").items()
    }
    (files / "index.npz").write_bytes(
        archive("codes.npy", array_head((4096, 4096), "<f4"), 64 * MIB, zipfile.ZIP_DEFLATED)
    )
    found["index.npz"] = OF_OTHERS, CodeIndex.read, files / "index.npz", "index"
    write_matlab(files)
    for name, word in dict(parts="parts", twice="twice", frame="per frame").items():
        found[f"{name}.mat"] = OF_OTHERS, NYUDv2Mat, files / f"{name}.mat", word
    found["endless.mat"] = OF_OTHERS, read_train, files / "endless.mat", "unpacks"
    return found


def read_train(path):
    read_split(path, "train")


def measured(entered, pipe):
    """In the process: the peak of each in MiB beyond what it began with, and what was said."""
    for name, (_, function, argument, _) in entered.items():
        forget_peak()
        before, said = memory("VmRSS"), ""
        start = time.process_time()
        try:
            function(argument)
        except ValueError as error:
            said = str(error)
        pipe.send((name, (memory("VmHWM") - before) / MIB, f"{said}", time.process_time() - start))


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell what a process takes")
def test_small_files_take_no_more_than_is_stated(tmp_path):
    (tmp_path / "files").mkdir()
    entered = doors(tmp_path)
    assert max(path.stat().st_size for path in (tmp_path / "files").iterdir()) < 2 * MIB
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=measured, args=(entered, theirs))
    process.start()
    for name, (most, _, _, word) in entered.items():
        found, taken, said, seconds = ours.recv()
        print(f"| {name} | {taken:.0f} MiB | {seconds:.1f} s | {said[:60] or 'read'} |")
        assert found == name
        assert taken < most, f"{name} took {taken:.0f} MiB"
        assert word in said and bool(word) == bool(said), f"{name}: {said}"
    process.join()
