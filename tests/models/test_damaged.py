"""Checkpoints that are damaged, or made to harm: each is read, or refused by an error that names its file."""

import copy
import io
import os
import random
import zipfile

import pytest
import torch
from small_models import batch, small

import rgbx
from rgbx._runs import find_last
from rgbx.backbones import read_state_dict
from rgbx.models.checkpoint import model_weights, read_checkpoint, to_plain

ODD = [None, -1, 2**70, float("nan"), "", "x" * 5000, [], {}, {1: 2}, {(1, 2): 3}, "\0", b"bytes", torch.ones(3), 1j]
TENSORS = {
    "half": lambda x: x.half(),
    "double": lambda x: x.double(),
    "whole": lambda x: x.long(),
    "complex": lambda x: x.to(torch.complex64),
    "float8": lambda x: x.float().to(torch.float8_e4m3fn),
    "expanded": lambda x: torch.zeros((1,) * x.ndim).expand(x.shape),
    "sparse": lambda x: x.float().to_sparse(),
    "meta": lambda x: x.to("meta"),
    "none": lambda x: x[:0] if x.ndim else x,
    "gradient": lambda x: x.float().clone().requires_grad_(),
}


@pytest.fixture(scope="module")
def state():
    model = small("classes")
    return {"meta": {"epoch": 1}, "state_dict": dict(model.state_dict()), "model": to_plain(model.recipe)}


def written(content, path, **options):
    torch.save(content, path, **options)
    return path


def places(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


def replaced(value, place, new):
    if not place:
        return new
    value = copy.copy(value)
    value[place[0]] = replaced(value[place[0]], place[1:], new)
    return value


def at(value, place):
    for key in place:
        value = value[key]
    return value


def spoiled_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 5, 100])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)


def spoiled_pickle(data, rng):
    """The archive with bytes of its pickle replaced, so that its sizes, names and structure change."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = bytearray(source.read(name))
            for _ in range(rng.choice([1, 2, 5]) if name.endswith("data.pkl") else 0):
                content[rng.randrange(len(content))] = rng.randrange(256)
            target.writestr(name, bytes(content))
    return out.getvalue()


def mutated(state, whole, old, rng):
    kind = rng.choice(["value", "value", "tensor", "bytes", "pickle", "old"])
    if kind in ("value", "tensor"):
        found = list(places(state))
        if kind == "value":
            changed = replaced(state, rng.choice(found), rng.choice(ODD))
        else:
            place = rng.choice([p for p in found if isinstance(at(state, p), torch.Tensor)])
            changed = replaced(state, place, TENSORS[rng.choice(list(TENSORS))](at(state, place)))
        file = io.BytesIO()
        torch.save(changed, file)
        return file.getvalue()
    return {"bytes": spoiled_bytes, "pickle": spoiled_pickle, "old": spoiled_bytes}[kind](
        old if kind == "old" else whole, rng
    )


def test_no_other_error_leaves_any_door(state, tmp_path):
    whole = written(state, tmp_path / "whole.pth").read_bytes()
    old = written(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False).read_bytes()
    rng = random.Random(0)
    refused = 0
    for number in range(36):
        path = tmp_path / f"mutated_{number}.pth"
        path.write_bytes(mutated(state, whole, old, rng))
        for door in (rgbx.load, read_state_dict, lambda path: model_weights(read_checkpoint(path), path)):
            try:
                door(path)
            except (ValueError, OSError) as error:
                assert path.name in str(error), error
                refused += 1
    assert refused > 36


def endless(kind):
    value = [1]
    if kind == "in itself":
        value.append(value)
    for _ in range(60 if kind == "doubled" else 0):
        value = [value, value]
    for _ in range(100 if kind == "deep" else 0):
        value = {"inner": value}
    return value


@pytest.mark.parametrize("kind", ["in itself", "doubled", "deep"])
def test_containers_without_end(kind, state, tmp_path):
    path = written({**state, "more": endless(kind)}, tmp_path / "endless.pth")
    with pytest.raises(ValueError, match=r"endless\.pth holds containers in each other without end"):
        read_checkpoint(path)


def test_an_archive_that_unpacks_to_more_than_a_file_has(tmp_path):
    packed = tmp_path / "packed.pth"
    plain = written({"x": torch.zeros(3_000_000)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(
        ValueError, match=r"packed\.pth is damaged or no checkpoint: it unpacks to 12\d+ bytes, expected"
    ):
        read_checkpoint(packed)


def test_damage_is_not_taken_for_python_objects(tmp_path):
    path = written({"x": torch.zeros(3)}, tmp_path / "damaged.pth")
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w") as target:
        for name, content in parts.items():
            target.writestr(name, content.replace(b"}", b"\x95", 1) if name.endswith("data.pkl") else content)
    with pytest.raises(ValueError, match=r"damaged\.pth is damaged or no checkpoint$"):
        read_checkpoint(path)


def test_pipes_and_folders_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    for name, kind in (("pipe", "a named pipe"), ("folder", "a folder")):
        for read in (read_checkpoint, read_state_dict):
            with pytest.raises(ValueError, match=rf"{name}\.pth: expected a file, found {kind}"):
                read(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("kind", ["half", "double"])
def test_weights_of_another_width_become_the_models(kind, state, tmp_path):
    weights = {name: TENSORS[kind](x) if x.is_floating_point() else x for name, x in state["state_dict"].items()}
    model = rgbx.load(written({**state, "state_dict": weights}, tmp_path / "w.pth"))
    assert {x.dtype for x in model.state_dict().values()} == {torch.float32, torch.int64}
    for name, x in model.state_dict().items():
        assert torch.equal(x, weights[name].to(x.dtype)), name
    model.predict(batch())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (TENSORS["whole"], r"is of torch\.int64; expected torch\.float32"),
        (TENSORS["complex"], r"is of torch\.complex64; expected torch\.float32"),
        (TENSORS["expanded"], "has fewer values than its shape says"),
        (lambda x: torch.zeros(100).expand(*x.shape[:-1], 100)[..., :1].expand(x.shape), "fewer values than its shape"),
        (TENSORS["sparse"], "holds a tensor that is sparse_coo; expected dense tensors"),
        (TENSORS["meta"], "holds a tensor that is on the meta device"),
        (lambda x: torch.full_like(x, torch.nan), r"of the \d+ values of .* are NaN or infinite as torch\.float32"),
        (lambda x: torch.full(x.shape, 1e300, dtype=torch.float64), "are NaN or infinite as torch.float32"),
    ],
)
def test_tensors_that_no_training_saves(change, message, state, tmp_path):
    name = next(name for name, x in state["state_dict"].items() if x.ndim == 4)
    weights = {**state["state_dict"], name: change(state["state_dict"][name])}
    with pytest.raises(ValueError, match=rf"w\.pth.*{message}"):
        rgbx.load(written({**state, "state_dict": weights}, tmp_path / "w.pth"))


def test_a_tensor_twice(state, tmp_path):
    name = next(iter(state["state_dict"]))
    weights = {**state["state_dict"], f"module.{name}": state["state_dict"][name]}
    with pytest.raises(ValueError, match=r"w\.pth holds some tensors twice, with and without the prefix 'module\.'"):
        rgbx.load(written({**state, "state_dict": weights}, tmp_path / "w.pth"))


def test_a_note_of_the_last_checkpoint_that_is_none(tmp_path):
    (tmp_path / "epoch_3.pth").touch()
    for note in (b"\xff\xfe\0e", b"epoch_3\0.pth", b"x" * 10**6, b"../epoch_9.pth"):
        (tmp_path / "last_checkpoint").write_bytes(note)
        assert find_last(tmp_path) == tmp_path / "epoch_3.pth"
