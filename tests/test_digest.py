"""What a checkpoint's own digest, or an older file's sums, tell of bytes that have changed."""

import hashlib
import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file

from rgbx._digest import Digesting, fault_of
from rgbx.backbones import read_pickle, read_state_dict
from rgbx.models.checkpoint import read_checkpoint, save_atomically
from rgbx.models.folder import read_folder, write_folder

STATE = {"meta": {"epoch": 3, "name": "night"}, "state_dict": {"w": torch.arange(3000.0), "n": torch.tensor(7)}}


def same(found):
    tensors = found["state_dict"]
    return found["meta"] == STATE["meta"] and all(torch.equal(tensors[k], x) for k, x in STATE["state_dict"].items())


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    path = tmp_path_factory.mktemp("signed") / "epoch_3.pth"
    save_atomically(STATE, path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "old.pth"
    torch.save(STATE, path)
    return path


def test_the_digest_is_that_of_the_bytes_before_it_and_every_reader_reads_the_file(signed):
    data = signed.read_bytes()
    with zipfile.ZipFile(signed) as archive:
        comment = archive.comment.decode()
        assert archive.testzip() is None
    assert comment == "sha256:" + hashlib.sha256(data[: -len(comment) - 2]).hexdigest()
    assert fault_of(signed) == ""
    for found in (torch.load(signed), torch.load(signed, mmap=True), read_checkpoint(signed), read_pickle(signed)):
        assert same(found)


def places(data):
    """Offsets by name: of the parts of an archive, and some inside of them."""
    names = {
        "first header": 0,
        "header's name": 35,
        "directory": data.index(b"PK\1\2"),
        "its end": data.rindex(b"PK\5\6"),
    }
    names |= {"values": data.index(STATE["state_dict"]["w"].numpy().tobytes()) + 5000, "pickle": data.index(b"night")}
    return names | {"length": -73, "length, high": -72, "mark": -71, "digest": -64, "last": -1}


@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_is_refused_wherever_it_is(bit, signed, tmp_path):
    data = signed.read_bytes()
    every = {f"byte {at}": at for at in range(0, len(data), 997)}
    for name, at in {**places(data), **every}.items():
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        path = tmp_path / f"{name.replace(' ', '_')}.pth"
        path.write_bytes(changed)
        for read in (read_checkpoint, read_state_dict, read_pickle):
            with pytest.raises(ValueError, match=rf"{path.name} is damaged or no "):
                read(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:4],
        lambda data: data[:-1],
        lambda data: data[:-80],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data[:8192] + bytes(4096) + data[12288:],
    ],
    ids=["empty", "zeros", "begun", "one less", "no end", "half", "one more", "a lost block"],
)
def test_cut_and_prolonged_files_are_refused_signed_or_not(change, signed, plain, tmp_path):
    for source in (signed, plain):
        path = tmp_path / source.name
        path.write_bytes(change(source.read_bytes()))
        assert fault_of(path)
        with pytest.raises(ValueError, match=rf"{path.name} is damaged or no "):
            read_checkpoint(path)


def test_files_without_a_digest_are_judged_by_the_sums_of_their_records(plain, tmp_path):
    assert fault_of(plain) == "" and same(read_checkpoint(plain))
    data = bytearray(plain.read_bytes())
    data[data.index(STATE["state_dict"]["w"].numpy().tobytes()) + 5000] ^= 16
    path = tmp_path / "old.pth"
    path.write_bytes(data)
    assert not same(torch.load(path))  # torch does not look
    with pytest.raises(
        ValueError, match=r"old\.pth is damaged or no checkpoint: its record old/data/0 .* CRC-32 differs"
    ):
        read_checkpoint(path)


def test_a_file_whose_writer_left_the_sums_out_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "quick.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_checkpoint(tmp_path / "quick.pth"))


def test_the_oldest_form_has_no_sums_and_is_read(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert fault_of(tmp_path / "old.pth") == "" and same(read_checkpoint(tmp_path / "old.pth"))


def test_a_file_is_read_once_in_a_process_unless_it_changes(signed, tmp_path, monkeypatch):
    sums = []
    monkeypatch.setattr("rgbx._digest.hashlib.sha256", lambda real=hashlib.sha256: sums.append(1) or real())
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(signed.read_bytes())
    assert [fault_of(path), fault_of(path)] == ["", ""] and len(sums) == 1
    path.write_bytes(signed.read_bytes()[:-1] + b"?")
    assert fault_of(path) and len(sums) == 2


def test_an_error_of_the_disk_is_told_when_torch_is_done(tmp_path):
    class Full:
        def __init__(self):
            self.taken = 0

        def write(self, data):
            if self.taken > 5000:
                raise OSError(28, "No space left on device")
            self.taken += len(data)

    full = Full()
    writer = Digesting(full)
    torch.save(STATE, writer)
    with pytest.raises(OSError, match="No space left"):
        writer.finish()
    assert full.taken < 13_000  # nothing more was tried


def test_a_models_folder_knows_the_digest_of_its_weights(tmp_path):
    write_folder(tmp_path, STATE["state_dict"], {}, {}, {})
    weights, about = tmp_path / "model.safetensors", tmp_path / "config.json"
    described = json.loads(about.read_text())
    assert described["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    data = weights.read_bytes()
    weights.write_bytes(data[:-500] + bytes([data[-500] ^ 1]) + data[-499:])
    assert not torch.equal(load_file(weights)["w"], STATE["state_dict"]["w"])  # safetensors does not look
    with pytest.raises(
        ValueError, match=r"model\.safetensors is damaged, or not the file that .*config\.json was written with"
    ):
        read_folder(weights)
    del described["weights_sha256"]  # as of earlier versions
    about.write_text(json.dumps(described))
    assert read_folder(weights)["state_dict"].keys() == STATE["state_dict"].keys()
