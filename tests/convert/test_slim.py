"""Slim checkpoints: what stays, what is rounded, and what is refused."""

import pytest
import torch
from small_models import batch, small

import rgbx
from rgbx.cli.convert import main
from rgbx.convert import slim
from rgbx.models.checkpoint import read_checkpoint, to_plain


@pytest.fixture
def saved(tmp_path):
    """A checkpoint as training writes them, and its model."""
    model = small("classes").eval()
    moments = {index: {"exp_avg": torch.zeros_like(p)} for index, p in enumerate(model.parameters())}
    state = {
        "state_dict": dict(model.state_dict()),
        "model": model.recipe,
        "meta": {"epoch": 3, "seed": 5, "cfg": "work_dir = '/home/x'", "dataset_meta": {"classes": ["a", "b"]}},
        "optimizer": {"state": moments},
        "message_hub": {"epoch": 3},
    }
    torch.save(to_plain(state), tmp_path / "epoch_3.pth")
    return tmp_path / "epoch_3.pth", model


def test_weights_are_rounded_to_half_precision_and_the_rest_is_kept(saved, tmp_path, capsys):
    source, model = saved
    out = tmp_path / "slim.pth"
    assert main(["slim", str(source), str(out)]) == 0
    assert "slim.pth is written" in capsys.readouterr().out
    content = read_checkpoint(out)
    assert set(content) == {"meta", "model", "state_dict"}
    assert content["meta"] == {"epoch": 3, "seed": 5, "dataset_meta": {"classes": ["a", "b"]}}
    assert out.stat().st_size < source.stat().st_size / 3  # half of the weights, and no moments
    found = rgbx.load(out).state_dict()
    assert found.keys() == model.state_dict().keys()
    for name, x in model.state_dict().items():
        expected = x.half().float() if x.ndim > 1 and not name.startswith("data_preprocessor.") else x
        assert found[name].dtype == x.dtype and torch.equal(found[name], expected), name


def test_it_predicts_as_before(saved, tmp_path):
    source, model = saved
    slim(source, tmp_path / "slim.pth")
    maps = {name: batch()[name] for name in ("rgb", "depth")}
    with torch.no_grad():
        before, after = (
            m(m.data_preprocessor(maps)["inputs"])["ensemble"] for m in (model, rgbx.load(tmp_path / "slim.pth"))
        )
    torch.testing.assert_close(after, before, atol=0.02, rtol=0)
    assert not torch.equal(after, before)


def test_refusals(saved, tmp_path, capsys):
    source, model = saved
    assert main(["slim", str(source), str(source), "--force"]) == 2
    assert "choose another name" in capsys.readouterr().err
    taken = tmp_path / "taken.pth"
    taken.write_bytes(b"mine")
    assert main(["slim", str(source), str(taken)]) == 2
    assert "--force" in capsys.readouterr().err and taken.read_bytes() == b"mine"
    name = next(name for name, x in model.named_parameters() if x.ndim > 1)
    state = read_checkpoint(source)
    state["state_dict"][name].fill_(70000.0)
    torch.save(state, source)
    assert main(["slim", str(source), str(tmp_path / "other.pth")]) == 2
    assert f"{name} has values up to 70000" in capsys.readouterr().err
    assert not (tmp_path / "other.pth").exists()


def test_a_work_directory_is_its_best_checkpoint_and_a_folder_is_no_file_to_write(saved, tmp_path, capsys):
    source, model = saved
    model.get_parameter(next(iter(dict(model.named_parameters())))).data.fill_(0.5)
    torch.save(to_plain({"state_dict": dict(model.state_dict()), "model": model.recipe}), tmp_path / "best_x.pth")
    assert main(["slim", str(tmp_path), str(tmp_path / "one.pth")]) == 0
    weights = rgbx.load(tmp_path / "one.pth").state_dict()
    assert (weights[next(iter(dict(model.named_parameters())))] == 0.5).all()
    (tmp_path / "taken").mkdir()
    for words in ([], ["--force"]):
        capsys.readouterr()
        assert main(["slim", str(source), str(tmp_path / "taken"), *words]) == 2
        assert "taken is a folder; expected a file to write" in capsys.readouterr().err
    assert list((tmp_path / "taken").iterdir()) == [] and not list(tmp_path.glob(".*"))
