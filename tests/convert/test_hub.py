"""A model as a folder and its card: read by the hub's libraries, loaded to the bit, pushed by a stand-in client."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
from made_result import make_result
from safetensors import safe_open
from small_models import batch, small

import rgbx
from rgbx.convert import push_model, save_model, slim
from rgbx.maps.files import file_hash
from rgbx.models.checkpoint import read_checkpoint, to_plain

META = {
    "classes": ("wall", "floor", "chair", "table", "bed"),
    "palette": [[200, 10, 3 * k] for k in range(5)],
    "maps": {
        "thermal": dict(name="thermal", channels=1, unit="sensor", dtype="float32", interpolation="linear", fill=0.0)
    },
    "stored": {"thermal": {"scale": 100.0, "add": -273.15}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint as training writes them, one with weights of 16 bits, and a result file of the first."""
    folder = tmp_path_factory.mktemp("trained")
    statistics = {"thermal": {"mean": [20.0], "std": [5.0], "max": math.inf}}
    model = small("classes", modalities=("rgb", "thermal"), statistics=statistics, modality_dropout=0.3)
    meta = {"epoch": 3, "seed": 5, "cfg": "work_dir = '/home/x'", "dataset_meta": META}
    state = {"state_dict": dict(model.state_dict()), "model": model.recipe, "meta": meta, "optimizer": {}}
    torch.save(to_plain(state), folder / "epoch_3.pth")
    slim(folder / "epoch_3.pth", folder / "slim.pth")
    result = make_result(classes=META["classes"], absent=())
    result["checkpoint"] = {"file": "epoch_3.pth", "sha256": file_hash(folder / "epoch_3.pth")}
    (folder / "results.json").write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="module")
def shared(trained):
    return save_model(
        trained / "epoch_3.pth", trained / "night", results=[trained / "results.json"], license_name="mit"
    )


@pytest.mark.parametrize("name", ["epoch_3.pth", "slim.pth"])
def test_the_folder_is_the_model_to_the_bit(trained, tmp_path, name):
    before, state = rgbx.load(trained / name), read_checkpoint(trained / name)
    after = rgbx.load(save_model(trained / name, tmp_path / "out"))
    assert after.recipe == before.recipe and after.trained_on == before.trained_on
    assert after.recipe["parameters"]["statistics"]["thermal"]["max"] == math.inf
    assert read_checkpoint(tmp_path / "out/model.safetensors")["meta"]["dataset_meta"] == META  # tuples and all
    ours, theirs = before.state_dict(), after.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    with torch.no_grad(), safe_open(tmp_path / "out/model.safetensors", "pt") as file:
        data = {name: batch()[name] for name in ("rgb", "thermal")}
        found = [model.predict(data)[0]["heads"]["labels"].prediction["ensemble"] for model in (before, after)]
        assert torch.equal(*found)
        for key in file.keys():  # noqa: SIM118
            assert file.get_tensor(key).dtype == state["state_dict"][key].dtype, key


def test_what_is_written_says_nothing_of_the_machine(shared):
    assert sorted(path.name for path in shared.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for name in ("config.json", "README.md"):
        text = (shared / name).read_text()
        assert "/home" not in text and "optimizer" not in text and str(shared.parent) not in text
    assert json.loads((shared / "config.json").read_text())["rgbx"] == rgbx.__version__


def test_the_card_is_what_the_hub_reads(trained, shared):
    result = json.loads((trained / "results.json").read_text())["heads"]["labels"]["subsets"]
    card = ModelCard.load(shared / "README.md")
    assert (card.data.library_name, card.data.license) == ("rgbx", "mit")
    assert card.data.pipeline_tag == "image-segmentation" and {"rgb", "thermal", "rgbx"} <= set(card.data.tags)
    shown = {(entry.metric_args["given"], entry.metric_type): entry.metric_value for entry in card.data.eval_results}
    assert shown == {
        (given, name): found["ensemble"][name]
        for given, found in result.items()
        for name in ("mIoU", "mAcc", "aAcc", "fwIoU", "boundary_f", "ece")
    }


def test_the_card_tells_scores_with_protocol_and_interval(trained, shared):
    text = (shared / "README.md").read_text()
    result = json.loads((trained / "results.json").read_text())["heads"]["labels"]["subsets"]
    both = 100 * result["rgb+depth"]["ensemble"]["mIoU"]
    assert f"| both | {both:.1f} |" in text and f"| RGB alone | {100 * result['rgb']['ensemble']['mIoU']:.1f} |" in text
    assert "protocol `rgbx`" in text and "9 frames (1 in 4) of Rooms" in text
    low, high = (float(word) for word in text.split("over the images: ")[1].split(" %")[0].split(" to "))
    assert low < both < high
    assert "scale = 100.0, add = -273.15" in text and "wall, floor, chair, table, bed" in text
    assert "always there" not in text  # it was trained with modality dropout


def test_a_card_without_a_result_file_has_no_score(trained, tmp_path):
    text = (save_model(trained / "slim.pth", tmp_path / "out") / "README.md").read_text()
    assert "No result file was given" in text and "mIoU" not in text and "license" not in text


def test_scores_of_another_checkpoint_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"results\.json was measured on another checkpoint than .*slim\.pth"):
        save_model(trained / "slim.pth", tmp_path / "out", results=[trained / "results.json"])
    assert not (tmp_path / "out").exists()


def test_a_folder_takes_the_scores_of_the_checkpoint_that_it_was_made_of(trained, shared, tmp_path):
    out = save_model(shared / "model.safetensors", tmp_path / "out", results=[trained / "results.json"])
    assert "| both |" in (out / "README.md").read_text()


def test_files_are_not_replaced_unasked(trained, shared, tmp_path):
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        save_model(trained / "slim.pth", shared)
    with pytest.raises(FileExistsError, match=r"choose another folder$"):
        save_model(shared / "model.safetensors", shared, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        save_model(trained / "slim.pth", tmp_path / "file")


BROKEN = {
    "no JSON": ("{", "not valid JSON"),
    "another program's": ('{"architectures": ["Bert"]}', "no format; expected 'rgbx-model/1'"),
    "a later form": ('{"format": "rgbx-model/2"}', "the format 'rgbx-model/2'; expected"),
    "a list": ("[1]", "no format"),
    "no recipe": ('{"format": "rgbx-model/1"}', "no recipe"),
    "no number": ('{"format": "rgbx-model/1", "model": {"$float": "big"}}', "cannot be used"),
    "in each other": ('{"format": "rgbx-model/1", "meta": ' + '{"a": ' * 99999 + "1" + "}" * 100000, "json"),
    "too large": (" " * 2**22 + "1", "at most 4194304"),
    "another model": (None, "does not fit"),
    "absurd": (None, "expected a number of at most"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_strangers_description_is_refused_in_a_sentence(shared, tmp_path, name):
    text, message = BROKEN[name]
    content = json.loads((shared / "config.json").read_text())
    head = content["model"]["parameters"]["heads"]["labels"]
    head["num_classes"] = 7 if name == "another model" else 10**9
    (tmp_path / "config.json").write_text(json.dumps(content) if text is None else text)
    (tmp_path / "model.safetensors").write_bytes((shared / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=message):
        rgbx.load(tmp_path)


def test_half_a_folder_is_refused(shared, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((shared / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(FileNotFoundError, match=r"no config\.json lies beside it"):
        rgbx.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        rgbx.load(tmp_path)
    (tmp_path / "config.json").write_bytes((shared / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        rgbx.load(tmp_path)


class Client:
    """Stands in for `HfApi`: keeps what it is asked for, and what lay in the folder then."""

    def __init__(self, error=None, private=True):
        self.asked, self.error, self.private, self.files = [], error, private, {}

    def create_repo(self, repository, **options):
        if self.error:
            raise self.error
        self.asked.append(("create_repo", repository, options))

    def repo_info(self, repository):
        return SimpleNamespace(private=self.private)

    def create_branch(self, repository, **options):
        self.asked.append(("create_branch", repository, options))

    def upload_folder(self, *, folder_path, **options):
        self.asked.append(("upload_folder", options.pop("repo_id"), options))
        allowed = options["allow_patterns"]
        self.files = {path.name: path.read_bytes() for path in folder_path.iterdir() if path.name in allowed}
        return SimpleNamespace(commit_url="https://hub/owner/night/commit/1")


def test_a_checkpoint_is_pushed_as_a_folder(trained, tmp_path):
    client = Client()
    options = dict(private=True, revision="v1", results=[trained / "results.json"], license_name="mit")
    assert push_model(trained / "epoch_3.pth", "owner/night", client=client, **options) == client_url()
    created, branch, upload = client.asked
    assert created == ("create_repo", "owner/night", {"private": True, "exist_ok": True})
    assert branch == ("create_branch", "owner/night", {"branch": "v1", "exist_ok": True})
    assert upload[2]["revision"] == "v1"
    for name, content in client.files.items():
        (tmp_path / name).write_bytes(content)
    assert rgbx.load(tmp_path).recipe == rgbx.load(trained / "epoch_3.pth").recipe
    assert 'rgbx.load("hf-hub:owner/night@v1")' in client.files["README.md"].decode()


def client_url():
    return "https://hub/owner/night/commit/1"


def test_a_folder_is_pushed_as_it_lies_and_nothing_else_of_it(shared, tmp_path):
    out = Path(shutil.copytree(shared, tmp_path / "out"))
    (out / "README.md").write_text("my own words")
    (out / "secret.txt").touch()
    client = Client()
    push_model(out / "model.safetensors", "owner/night", client=client)
    assert client.asked[0][2]["private"] is None  # the owner's default
    assert client.files == {
        name: (out / name).read_bytes() for name in ("README.md", "config.json", "model.safetensors")
    }


def test_a_folder_that_cannot_be_loaded_is_not_pushed(shared, tmp_path):
    out, client = Path(shutil.copytree(shared, tmp_path / "out")), Client()
    (out / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(ValueError, match=r"config\.json has no format; expected 'rgbx-model/1'"):
        push_model(out / "model.safetensors", "owner/night", client=client)
    assert client.asked == []


class Refused(Exception):  # noqa: N818
    def __init__(self, code):
        super().__init__("page of HTML")
        self.response = SimpleNamespace(status_code=code)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (LocalTokenNotFoundError("no token"), PermissionError, "owner/night: .*log in .*HF_TOKEN"),
        (Refused(401), PermissionError, "log in"),
        (Refused(403), PermissionError, "does not let your token write"),
        (Refused(500), ConnectionError, r"refused it \(500\)$"),
        (OfflineModeIsEnabled("offline"), ConnectionError, "HF_HUB_OFFLINE is set"),
        (TimeoutError(), ConnectionError, r"cannot be reached \(TimeoutError\)"),
    ],
)
def test_what_the_hub_says_is_one_sentence(shared, error, kind, message):
    with pytest.raises(kind, match=message):
        push_model(shared / "model.safetensors", "owner/night", client=Client(error))


def test_private_stays_private(shared):
    client = Client(private=False)
    with pytest.raises(ValueError, match="already and public"):
        push_model(shared / "model.safetensors", "owner/night", private=True, client=client)
    assert not client.files
