import pathlib
import signal

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from rgbx import _runs
from rgbx.datasets import STANDARD_MAPS, SampleKey
from rgbx.models import checkpoint
from rgbx.models.checkpoint import to_plain
from rgbx.train.resumable import message_hub_from_plain, message_hub_to_plain


class Foreign:
    pass


def test_foreign_pickles_need_trust(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"state_dict": {}, "meta": pathlib.PurePosixPath("x"), "b": HistoryBuffer([1], [1])}, path)
    with pytest.raises(ValueError, match=r"foreign\.pth holds Python objects.*\([\w.]*\).*pass --trust"):
        checkpoint.read_checkpoint(path)
    assert checkpoint.read_checkpoint(path, trust=True)["b"].data[0] == [1]


def test_untrusted_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="--trust"):
        checkpoint.read_checkpoint(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pth is damaged or no checkpoint"):
        checkpoint.read_checkpoint(tmp_path / "broken.pth")


def test_torn_file_is_named(tmp_path):
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "whole.pth")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"torn\.pth is damaged"):
        checkpoint.read_checkpoint(tmp_path / "torn.pth")


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        checkpoint.read_checkpoint(tmp_path / "none.pth")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "epoch_1.pth"
    checkpoint.save_atomically({"epoch": 1}, path)

    class Unwritable:
        def __reduce__(self):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.save_atomically({"epoch": 2, "x": Unwritable()}, path)
    assert checkpoint.read_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["epoch_1.pth"]


@pytest.fixture
def interruptible():
    """Python's own handler, also where the tests run in the background and SIGINT is ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_the_whole_file(tmp_path):
    class Interrupted:
        def __reduce__(self):
            signal.raise_signal(signal.SIGINT)
            return (int, (7,))

    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_atomically({"epoch": Interrupted()}, tmp_path / "epoch_1.pth")
    assert torch.load(tmp_path / "epoch_1.pth", weights_only=False) == {"epoch": 7}
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        checkpoint.save_atomically({"epoch": 1}, tmp_path / "epoch_1.pth")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


def test_last_checkpoint_stays_inside_its_directory(tmp_path):
    here, there = tmp_path / "copy", tmp_path / "original"
    for folder in (here, there):
        folder.mkdir()
        (folder / "epoch_2.pth").touch()
    (here / "last_checkpoint").write_text(str(there / "epoch_2.pth"))  # as mmengine writes it
    assert _runs.find_last(here) == here / "epoch_2.pth"


def test_last_checkpoint_without_a_note(tmp_path):
    assert _runs.find_last(tmp_path / "nowhere") is None
    for name in ("epoch_9.pth", "epoch_10.pth", "best_mIoU_epoch_11.pth", ".epoch_12.pth.tmp"):
        (tmp_path / name).touch()
    assert _runs.find_last(tmp_path).name == "epoch_10.pth"
    checkpoint.write_last(tmp_path, "epoch_9.pth")
    assert _runs.find_last(tmp_path).name == "epoch_9.pth"
    assert _runs.find_result(tmp_path).name == "best_mIoU_epoch_11.pth"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_newest_intact_checkpoint_is_found_and_the_damaged_ones_are_told(tmp_path):
    names = ["epoch_8.pth", "epoch_9.pth", "epoch_10.pth", "best_mIoU_epoch_9.pth"]
    for name in names:
        checkpoint.save_atomically({"x": torch.rand(1000)}, tmp_path / name)
    checkpoint.write_last(tmp_path, "epoch_10.pth")
    assert _runs.find_intact(tmp_path).name == "epoch_10.pth" and _runs.passed_over(tmp_path / "epoch_10.pth") == []
    flip(tmp_path / "epoch_10.pth")
    assert _runs.find_intact(tmp_path) == tmp_path / "epoch_9.pth"
    (told,) = _runs.passed_over(tmp_path / "epoch_9.pth")
    assert told.startswith(f"checkpoint {tmp_path / 'epoch_10.pth'} is damaged: its bytes are not those")
    with pytest.raises(
        ValueError, match=r"epoch_10\.pth is dam.*; intact in its folder: epoch_9\.pth and best_mIoU_epoch_9"
    ):
        checkpoint.read_checkpoint(tmp_path / "epoch_10.pth")
    (tmp_path / "epoch_9.pth").write_bytes(b"")
    flip(tmp_path / "best_mIoU_epoch_9.pth")
    with pytest.raises(ValueError, match=r"best_mIoU_epoch_9\.pth is damaged.*; intact in its folder: epoch_8\.pth$"):
        checkpoint.read_checkpoint(_runs.find_result(tmp_path))
    assert _runs.find_intact(tmp_path).name == "epoch_8.pth"
    flip(tmp_path / "epoch_8.pth")
    with pytest.raises(
        ValueError, match=r"no checkpoint of .* is intact \(epoch_10\.pth: its .*; epoch_9\.pth: it is empty; ep"
    ):
        _runs.find_intact(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == sorted(names)


def test_weights_of_a_bare_state_dict():
    weights = {"module.w": torch.ones(1)}
    assert list(checkpoint.model_weights(weights, "x")) == ["w"]
    with pytest.raises(ValueError, match="has no `state_dict`"):
        checkpoint.model_weights({"epoch": 3}, "x")


def test_plain_types():
    maps = {"depth": STANDARD_MAPS["depth"]}
    plain = to_plain(
        {
            "maps": maps,
            "key": SampleKey(1, 2),
            "path": pathlib.Path("a/b"),
            "x": torch.ones(2, requires_grad=True),
            "f": len,
            "kind": Foreign,
            3: (1,),
        }
    )
    assert plain["maps"]["depth"]["unit"] == "metre"
    assert plain["key"] == {"index": 1, "seed": 2}
    assert plain["path"] == "a/b"
    assert not plain["x"].requires_grad
    assert "f" not in plain
    assert plain["kind"].endswith("Foreign")
    assert plain[3] == (1,)
    with pytest.raises(TypeError, match=r"cannot keep .*Foreign"):
        to_plain([Foreign()])


def test_message_hub_round_trip(tmp_path):
    hub = MessageHub("test_message_hub_round_trip")
    for value in (1.5, 2.5):
        hub.update_scalar("train/loss", value)
    hub.update_info("epoch", 3)
    hub.update_info("odd", Foreign())
    torch.save(message_hub_to_plain(hub), tmp_path / "hub.pth")
    state = torch.load(tmp_path / "hub.pth", weights_only=True)
    other = MessageHub("test_message_hub_round_trip_2")
    other.load_state_dict(message_hub_from_plain(state))
    assert other.get_scalar("train/loss").data[0].tolist() == [1.5, 2.5]
    assert other.get_scalar("train/loss").mean() == 2.0
    assert other.get_info("epoch") == 3
    assert other.get_info("odd") is None
