"""Weight files: every form that training scripts write, and no code run without trust."""

import argparse
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rgbx.backbones import read_state_dict, trusting

TENSORS = {"conv.weight": torch.arange(4.0), "conv.bias": torch.ones(2)}


class RunsCode:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[k], TENSORS[k]) for k in TENSORS)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state", "model_state_dict", "segmenter", "teacher"])
def test_wrapped(key, tmp_path):
    torch.save({"epoch": 3, key: TENSORS, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"))


def test_wrapped_twice_bare_and_old_format(tmp_path):
    torch.save({"model": {"state_dict": TENSORS}}, tmp_path / "twice.pt")
    torch.save({**TENSORS, "epoch": 3}, tmp_path / "bare.pth")
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert all(same(read_state_dict(tmp_path / name)) for name in ("twice.pt", "bare.pth", "old.pth"))


@pytest.mark.parametrize("zipped", [True, False])
def test_parts_of_one_memory_and_tensors_with_attributes(zipped, tmp_path):
    """As weights of recurrent layers lie, which a GPU wants together: each names the whole memory."""
    whole = torch.arange(10_000, dtype=torch.uint8)
    written = {str(at): whole[at * 1000 : (at + 1) * 1000] for at in range(10)} | {"own": torch.ones(3)}
    written["own"].note = "of a program"
    torch.save(written, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_state_dict(tmp_path / "w.pth")
    assert all(torch.equal(found[name], x) for name, x in written.items())


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / "w.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:20])
    with pytest.raises(ValueError, match=r"torn\.safetensors is damaged"):
        read_state_dict(tmp_path / "torn.safetensors")


@pytest.mark.parametrize(
    ("value", "culprit"),
    [
        (argparse.Namespace(lr=1), r"argparse\.Namespace"),
        (np.float64(0.5), r"numpy[\w.]*\.scalar"),
        (nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_are_named_and_need_trust(value, culprit, zipped, tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"model": TENSORS, "extra": value}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"foreign\.pth holds Python objects.*\({culprit}\).*pass --trust"):
        read_state_dict(path)
    assert same(read_state_dict(path, trust=True))
    with trusting(True):
        assert same(read_state_dict(path))
        with pytest.raises(ValueError, match="--trust"):
            read_state_dict(path, trust=False)
    with pytest.raises(ValueError, match="--trust"):
        read_state_dict(path)


def test_code_is_run_with_trust_only(tmp_path):
    torch.save({"model": TENSORS, "extra": RunsCode(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"posix\.mkdir.*--trust"):
        read_state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
    read_state_dict(tmp_path / "w.pth", trust=True)
    assert (tmp_path / "ran").is_dir()


def test_a_whole_trusted_model(tmp_path):
    model = nn.Linear(2, 2)
    torch.save(model, tmp_path / "model.pth")
    assert torch.equal(read_state_dict(tmp_path / "model.pth", trust=True)["weight"], model.weight)


def test_code_that_is_not_installed(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": TENSORS, "extra": argparse.Namespace()}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"argparse", b"argparze"))
    with pytest.raises(ValueError, match=r"not installed here: No module named 'argparze'"):
        read_state_dict(path, trust=True)


def test_files_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such file"):
        read_state_dict(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    for trust in (False, True):
        with pytest.raises(ValueError, match=r"text\.pth is damaged or no weight file"):
            read_state_dict(tmp_path / "text.pth", trust=trust)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"empty\.pth holds no tensors, but \['epoch'\]"):
        read_state_dict(tmp_path / "empty.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds no tensors, but list"):
        read_state_dict(tmp_path / "list.pth")


def test_safetensors_without_tensors_or_with_a_wrong_header(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({}, path)
    with pytest.raises(ValueError, match=r"w\.safetensors holds no tensors, but \[\]"):
        read_state_dict(path)
    for header in (b"{}", b"3", b"[" * 900, b'{"x": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4]}}'):
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
        with pytest.raises(ValueError, match=r"w\.safetensors"):
            read_state_dict(path)
