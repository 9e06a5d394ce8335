import json
import re

import cv2
import pytest
import torch
from processes import free_port, set_rank, two_processes
from tiny import Halves

from rgbx.cli.arguments import ConfigError, parse
from rgbx.cli.compare import main as compare
from rgbx.cli.evaluate import main, subset_table
from rgbx.cli.train import main as train
from rgbx.evaluate.result import read_result
from rgbx.metrics import confusion_matrix, scores
from rgbx.models import PROTOCOLS
from rgbx.models.checkpoint import to_plain
from rgbx.tasks.classes import ClassCounter
from rgbx.transforms import PackSample


@pytest.fixture
def trained(write_config, tmp_path):
    """A config and the directory of a short training of it."""
    config = str(write_config())
    assert train([config, "--work-dir", str(tmp_path / "run")]) == 0
    return config, tmp_path / "run"


def test_subsets_from_one_checkpoint(trained, tmp_path):
    config, run = trained
    report, pictures = tmp_path / "out/scores.json", tmp_path / "pictures"
    assert (
        main(
            [
                config,
                str(run / "epoch_2.pth"),
                "--modalities",
                "rgb",
                "depth",
                "rgb+depth",
                "--json",
                str(report),
                "--draw",
                str(pictures),
                "--draw-count",
                "2",
            ]
        )
        == 0
    )
    assert json.loads(report.read_text())["protocol"]["name"] == "rgbx"
    found = read_result(report)["heads"]["labels"]
    assert list(found["subsets"]) == ["rgb+depth", "rgb", "depth"]  # the largest is the headline
    for subset, predictions in found["subsets"].items():
        counts = reference(run / "epoch_2.pth", subset.split("+"))
        assert predictions["ensemble"]["confusion"] == counts.tolist()
        assert predictions["ensemble"]["mIoU"] == scores(counts)["mIoU"]
        assert list(predictions) == ["ensemble", *subset.split("+")]
    drawn = sorted(pictures.glob("half_*.png"))
    assert len(drawn) == 2 and (pictures / "grid.png").is_file()
    height, width = cv2.imread(str(drawn[0])).shape[:2]
    assert width > 3 * height  # six pictures of 8 x 12 side by side


def reference(path, names):
    """Scores by a loop over single samples, without the runner."""
    from tiny import tiny_segmentor

    model = tiny_segmentor(("rgb", "depth"), 3).eval()
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    dataset = Halves(length=3, modalities=("rgb", "depth"), transforms=[PackSample()])
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for i in range(3):
        sample = dataset[i]
        data = model.data_preprocessor({name: sample[name][None] for name in names})
        with torch.no_grad():
            logits = model(data["inputs"])["ensemble"]
        counts += confusion_matrix(logits.argmax(1)[0], sample["label"], 3)
    return counts


def test_a_directory_stands_for_its_best_checkpoint(trained, tmp_path, capsys):
    """Chosen on the very frames that are scored, which is said."""
    config, run = trained
    report = tmp_path / "scores.json"
    assert main([config, str(run), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert "best_mIoU_epoch_" in found["checkpoint"]["file"]
    assert (found["checkpoint"]["selected_on"], found["checkpoint"]["overlap"]) == ("Halves, by mIoU", "3 of 3 frames")
    assert "3 of 3 frames scored here are frames that the checkpoint was chosen on" in capsys.readouterr().out
    assert main([config, str(run / "epoch_2.pth"), "--json", str(report)]) == 0
    last = json.loads(report.read_text())["checkpoint"]
    assert last["selected_on"] == "no split: epoch 2 of its run, not selected" and "overlap" not in last
    assert "chosen on no split: epoch 2" in capsys.readouterr().out
    assert list(found["heads"]["labels"]["subsets"]) == ["rgb+depth"]
    assert (run / "test").is_dir()


def test_a_protocol_on_a_part_of_the_frames(trained, tmp_path, capsys):
    config, run = trained
    folder, files = tmp_path / "labels", [tmp_path / f"{name}.json" for name in ("part", "other", "whole")]
    base = [config, str(run / "epoch_2.pth"), "--json"]
    saving = ["--protocol", "dformer-ms", "--every", "2", "--boundary", "--calibration"]
    saving += ["--save-predictions", str(folder)]
    assert main([*base, str(files[0]), *saving]) == 0
    assert main([*base, str(files[1]), "--every", "2"]) == 0
    assert main([*base, str(files[2])]) == 0
    part, other, whole = (read_result(file) for file in files)
    assert part["protocol"] == json.loads(json.dumps(PROTOCOLS["dformer-ms"].as_dict()))
    assert (part["dataset"]["samples"], part["dataset"]["every"], part["dataset"]["type"]) == (2, 2, "Halves")
    heads = [result["heads"]["labels"] for result in (part, other, whole)]
    assert [image["sample_id"] for image in heads[0]["images"]] == ["half/0", "half/2"]
    assert part["config"] == other["config"] == whole["config"]
    assert part["dataset"] == other["dataset"]
    assert heads[0]["fingerprint"] == heads[1]["fingerprint"] != heads[2]["fingerprint"]
    ensemble = heads[0]["subsets"]["rgb+depth"]["ensemble"]
    assert 0 <= ensemble["ece"] <= 1 and 0 <= ensemble["boundary_f"] <= 1
    assert 0 < part["speed"]["metric_share"] < 1

    assert sorted(path.name for path in folder.rglob("*.png")) == ["0.png", "2.png"]
    saved = torch.from_numpy(cv2.imread(str(folder / "half/2.png"), cv2.IMREAD_UNCHANGED))
    label = Halves(length=3, transforms=[PackSample()])[2]["label"]
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for true, predicted, pixels in heads[0]["images"][1]["confusion"]:
        counts[true, predicted] = pixels
    assert torch.equal(confusion_matrix(saved, label, 3), counts)

    assert main([*base, str(files[0]), *saving]) == 2
    assert "choose an empty folder, or pass --overwrite" in capsys.readouterr().err
    assert main([*base, str(files[0]), *saving, "--overwrite"]) == 0


def scored_by_two(rank, port, arguments):
    set_rank(rank, port)
    assert main([*arguments, "--launcher", "pytorch"]) == 0


def test_two_processes_find_what_one_finds(trained, tmp_path):
    """Three samples on two processes, damaged in every way."""
    config, run = trained
    files = {name: tmp_path / f"{name}.json" for name in ("one", "two")}
    arguments = [config, str(run), "--robustness", "--json"]
    two_processes(scored_by_two, free_port(), [*arguments, str(files["two"])])
    assert main([*arguments, str(files["one"])]) == 0
    results = {name: json.loads(path.read_text())["heads"]["labels"] for name, path in files.items()}
    assert results["two"]["subsets"] == results["one"]["subsets"]
    assert results["two"]["robustness"] == results["one"]["robustness"]
    assert results["two"]["images"] == results["one"]["images"]


def numbers(file):
    """A result file without when, where and how fast it came about."""
    told = ('"date"', '"speed"', '"machine"')
    return [line for line in file.read_bytes().splitlines() if not line.decode().startswith(told)]


def test_shards_in_any_order_and_after_a_kill(trained, tmp_path, monkeypatch, capsys):
    """11 images in 3 jobs and parts of 2: what the last leaves is, to the byte, what one job leaves.

    One image at a time, as the last bits of a confidence may depend on what else is in a batch.
    """
    monkeypatch.setattr("rgbx.evaluate.parts.PART", 2)
    config, run = trained
    base = [config, str(run / "epoch_2.pth"), "--modalities", "rgb+depth", "rgb", "--boundary", "--calibration"]
    base += ["--cfg-options", "test_dataloader.dataset.length=11", "test_dataloader.batch_size=1", "--json"]
    file, whole, counted, limit = tmp_path / "shards.json", tmp_path / "whole.json", [], [99]
    assert main([*base, str(whole)]) == 0
    count = ClassCounter.count

    def counting(self, sample_id, *rest):
        if len(counted) == limit[0]:
            raise KeyboardInterrupt
        counted.append(int(sample_id.removeprefix("half/")))
        return count(self, sample_id, *rest)

    monkeypatch.setattr(ClassCounter, "count", counting)
    assert main([*base, str(file), "--shard", "3/3"]) == 0 and counted == [2, 5, 8] * 2
    assert "Shard 3 of 3 is done; missing: 1, 2" in capsys.readouterr().out and not file.exists()
    counted.clear()
    limit[0] = 7
    assert main([*base, str(file), "--shard", "1/3"]) == 130 and counted == [0, 3, 6, 9, 0, 3, 6]
    counted.clear()
    limit[0] = 99
    assert main([*base, str(file), "--shard", "1/3"]) == 0 and counted == [6, 9]
    counted.clear()
    assert main([*base, str(file), "--shard", "3/3"]) == 0 and counted == []
    for further, message in (
        (["--shard", "2/4"], "shards is 3 there, 4 here"),
        (["--shard", "2/3", "--protocol", "dformer-ms"], "protocol.sum_of is 'logits' there, 'softmax' here"),
        (["--shard", "2/3", "--every", "2"], "every is 1 there, 2 here; images is 11 there, 6 here"),
    ):
        assert main([*base, str(file), *further]) == 2
        found = capsys.readouterr().err
        assert message in found and "Choose another --json" in found
    assert main([*base, str(file), "--shard", "2/3"]) == 0 and counted == [1, 4, 7, 10] * 2
    assert numbers(file) == numbers(whole)
    speed = read_result(file)["speed"]
    assert speed["images_per_second"] > 0 and 0 < speed["metric_share"] < 1
    file.unlink()
    part = tmp_path / "shards.json.parts/shard_2/subset_1_00000002.json"
    kept = part.read_bytes()
    part.write_bytes(kept.replace(b'"second', b'"secone', 1))
    assert main([*base, str(file), "--shard", "1/3"]) == 2
    assert f"{part}: its bytes are not those that were written: delete it, and run" in capsys.readouterr().err
    part.write_bytes((tmp_path / "shards.json.parts/shard_2/subset_0_00000002.json").read_bytes())
    assert main([*base, str(file), "--shard", "1/3"]) == 2
    assert f"{part}: it is of another evaluation, shard or subset" in capsys.readouterr().err
    part.unlink()
    counted.clear()
    assert main([*base, str(file), "--shard", "2/3"]) == 0 and counted == [7, 10]
    assert numbers(file) == numbers(whole)
    assert main([*base, str(file), "--shard", "2/3", "--no-images"]) == 0
    short, long = (read_result(each)["heads"]["labels"] for each in (file, whole))
    assert len(long["images"]) == 11 and short == {**long, "images": []}
    assert compare([str(file), str(whole)]) == 2
    assert "head 'labels' of A holds 0 images" in capsys.readouterr().err
    assert compare([str(whole), str(whole)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--shard 1/2", "--shard needs --json FILE"),
        ("--shard 1/2 --json a.json --report out --draw p", "--report, --draw is of one job that does it all"),
        ("--shard 1/2 --json a.json --launcher pytorch", "give each job a --shard of its own"),
    ],
)
def test_what_shards_cannot_do(trained, words, message):
    config, run = trained
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse("test", [config, str(run), *words.split()])


def test_robustness_of_one_checkpoint(trained, tmp_path, capfd):
    """Every subset, every damage, on the stated part of the frames; saved predictions are those without damage."""
    config, run = trained
    out, plain, damaged = tmp_path / "report", tmp_path / "plain", tmp_path / "damaged"
    arguments = [config, str(run / "epoch_2.pth"), "--every", "2"]
    assert main([*arguments, "--save-predictions", str(plain)]) == 0
    assert main([*arguments, "--save-predictions", str(damaged), "--robustness", "--report", str(out)]) == 0
    found = read_result(out / "results.json")["heads"]["labels"]
    assert list(found["subsets"]) == ["rgb+depth", "rgb", "depth"]
    robustness = found["robustness"]
    assert (robustness["every"], len(robustness["corruptions"])) == (2, 60)
    assert robustness["clean"] == found["subsets"]["rgb+depth"]["ensemble"]["mIoU"]
    assert robustness["mean"] == pytest.approx(sum(entry["value"] for entry in robustness["corruptions"]) / 60)
    files = [sorted((path.name, path.read_bytes()) for path in folder.rglob("*.png")) for folder in (plain, damaged)]
    assert len(files[0]) == 2 and files[0] == files[1]
    page = (out / "report.html").read_text()
    assert 'id="robustness"' in page and "every second" in page
    assert (out / "robustness.csv").read_text().count("\n") == 13
    printed = capfd.readouterr()
    assert "2 frames (1 in 2)" in printed.out + printed.err and "depth_holes" in printed.out + printed.err
    assert "mIoU over all 3 subsets, what is missing left out (EMM). Mean: " in printed.out + printed.err


def test_named_benchmarks_of_one_checkpoint(trained, tmp_path, capfd):
    """Their tables in the result, the page and CSV files; other subsets are evaluated where they are shown."""
    config, run = trained
    out = tmp_path / "report"
    arguments = ["--robustness", "liao-emm", "liao-nm", config, str(run / "epoch_2.pth"), "--report", str(out)]
    assert main([*arguments, "--protocol", "deliver"]) == 0
    head = read_result(out / "results.json")["heads"]["labels"]
    assert list(head["subsets"]) == ["rgb+depth", "rgb", "depth"] and head["robustness"] is None
    table = head["benchmarks"]["liao-emm"]
    assert [row["name"] for row in table["rows"]] == ["RGB + depth", "depth", "RGB"]
    left = [head["subsets"][subset]["ensemble"]["mIoU"] for subset in ("rgb+depth", "depth", "rgb")]
    assert [row["values"][1] for row in table["rows"]] == left
    assert table["summary"][0]["values"][1] == pytest.approx(sum(left) / 3)
    page = (out / "report.html").read_text()
    assert 'id="benchmarks"' in page and "Liao et al." in page and "liao-nm" in page
    lines = (out / "benchmark_liao-emm.csv").read_text().splitlines()
    assert lines[0] == "failure,zeros,omitted" and len(lines) == 8 and lines[4].startswith("mean,")
    printed = "".join(capfd.readouterr())
    assert "liao-emm, left depth: mIoU" in printed and "expected, p = 0.05" in printed and "Source: Liao" in printed
    arguments = [config, str(run / "epoch_2.pth"), "--every", "2", "--json", str(tmp_path / "found.json")]
    assert main([*arguments, "--robustness", "liao-nm"]) == 0
    head = read_result(tmp_path / "found.json")["heads"]["labels"]
    assert list(head["subsets"]) == ["rgb+depth"] and list(head["benchmarks"]) == ["liao-nm"]
    assert any("one frame in 2" in text for text in head["benchmarks"]["liao-nm"]["deviations"])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("{c} {k}", []),
        ("{c} {k} --robustness", ["corruptions"]),
        ("--robustness {c} {k}", ["corruptions"]),
        ("{c} --robustness liao-emm miss {k} --every 2", ["liao-emm", "miss"]),
        (
            "{c} {k} --robustness=liao-rmm --robustness --robustness conditions",
            ["liao-rmm", "corruptions", "conditions"],
        ),
    ],
)
def test_names_of_robustness(write_config, tmp_path, words, names):
    config, run = write_config(), tmp_path / "epoch_1.pth"
    run.touch()
    found = parse("test", words.format(c=config, k=run).split())
    assert (found.robustness, found.config, found.checkpoint) == (names, str(config), str(run))


def test_a_misspelt_benchmark_is_told(write_config, tmp_path, capsys):
    config, run = write_config(), tmp_path / "epoch_1.pth"
    run.touch()
    with pytest.raises(SystemExit):
        parse("test", [config, str(run), "--robustness", "liao-enm"])
    assert "'liao-enm' is none of corruptions, liao-emm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{run}/epoch_2.pth", "--modalities", "rgb", "thermal"],
            "modalities ['thermal'] given; this model knows rgb, depth",
        ),
        (["{run}/epoch_2.pth", "--cfg-options", "model.width=8"], "does not fit the config's model"),
        (["{run}/epoch_7.pth"], "no such file or work directory"),
        (["{run}/foreign.pth"], "pass --trust"),
        (["{run}/epoch_2.pth", "--draw", "x", "--draw-count", "0"], "must be >= 1"),
        (["{run}/epoch_2.pth", "--every", "0"], "--every must be >= 1"),
        (
            ["{run}/epoch_2.pth", "--cfg-options", "test_cfg.protocol=cmx"],
            "test_cfg.protocol is 'cmx'; expected one of",
        ),
    ],
)
def test_mistakes_are_one_sentence(trained, capsys, arguments, message):
    config, run = trained
    torch.save({"state_dict": {}, "config": Halves()}, run / "foreign.pth")
    before = set(run.rglob("*"))
    assert main([config, *(text.format(run=run) for text in arguments)]) == 2
    assert set(run.rglob("*")) == before
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]


def test_trusted_files_are_read(trained):
    config, run = trained
    weights = torch.load(run / "epoch_2.pth", weights_only=True)["state_dict"]
    torch.save({"state_dict": weights, "config": Halves()}, run / "foreign.pth")
    assert main([config, str(run / "foreign.pth"), "--trust"]) == 0
    assert to_plain(weights).keys() == weights.keys()


def test_table():
    scores = [{"name": name, "unit": "fraction", "digits": 3, "lower": False} for name in ("mIoU", "mAcc", "aAcc")]
    subsets = {"rgb": dict(mIoU=0.01234, mAcc=0.02, aAcc=0.3), "rgb+depth": dict(mIoU=0.512, mAcc=0.6, aAcc=0.7)}
    head = {"task": "classes", "scores": scores, "subsets": {name: {"ensemble": row} for name, row in subsets.items()}}
    assert subset_table({"heads": {"labels": {**head, "about": {}}}}, "labels").splitlines() == [
        "in percent:",
        "given       mIoU  mean accuracy  pixel accuracy",
        "---------  -----  -------------  --------------",
        "RGB alone   1.23           2.00           30.00",
        "both       51.20          60.00           70.00",
    ]
    errors = [{"name": "MAE", "unit": "m", "digits": 3, "lower": True}]
    branches = {"ensemble": {"MAE": 0.25}, "rgb": {"MAE": 0.3}, "thermal": {"MAE": 0.35}}
    found = {"rgb+thermal": branches, "rgb": {"ensemble": {"MAE": 0.5}, "rgb": {"MAE": 0.5}}}
    depth = {"task": "map", "scores": errors, "subsets": found, "about": {"name": "depth", "unit": "metre"}}
    assert subset_table({"heads": {"depth": depth}}, "depth").splitlines() == [
        "depth (metre):",
        "given                 MAE (m) ↓",
        "--------------------  ---------",
        "both                      0.250",
        "both: RGB branch          0.300",
        "both: thermal branch      0.350",
        "RGB alone                 0.500",
    ]
