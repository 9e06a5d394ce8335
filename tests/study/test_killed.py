"""A real study that is killed by SIGKILL; `killed.KilledStudy` can kill it at more moments."""

import re

from killed import KilledStudy

from rgbx.cli.study import main


def test_killed_in_the_middle_of_a_training(tmp_path, monkeypatch, capsys):
    """The repeated command goes on from the epoch that was finished, to the same weights and the same table.

    A second call leaves the run to the first while that is at work, says so in its table, and times nothing meanwhile;
    after the kill, one of a study file that has changed is refused.
    """
    monkeypatch.chdir(tmp_path)
    study = KilledStudy(tmp_path, methods=("fused",))
    moment, text = "in the second epoch", study.file.read_text()
    words = study.words("in_the_second_epoch")

    def meanwhile(process):
        holder = rf"at work: process {process.pid} on \S+ since 20[\d: -]+\d"
        assert main([word for word in words if word != "--no-latency"]) == 0
        printed = capsys.readouterr().out
        assert re.search(rf"fused, seed 0: {holder}; left to it", printed) and "The methods are not timed" in printed
        document = (tmp_path / "in_the_second_epoch/small.md").read_text()
        assert "| fused | 1 at work |" in document and re.search(rf"- fused, seed 0: {holder}\n", document)
        assert main([*words, "--dry-run"]) == 0
        assert "rgb: at work (process" in capsys.readouterr().out

    def after():
        study.file.write_text(text + "budget['train_cfg.max_epochs'] = 3")
        assert main(words) == 2
        assert "the config of fused, seed 0 is not that of the run" in capsys.readouterr().err
        study.file.write_text(text)

    found = study.kill(moment, meanwhile=meanwhile, after=after)
    assert (found.code, found.ended, found.equal) == (0, True, True), (tmp_path / "study.log").read_text()
    assert found.seconds > 0.05
    log = (tmp_path / "in_the_second_epoch/fused/seed_0/log.txt").read_text()
    assert log.count("$ rgbx train") == 2 and re.search(r"Resumed .*epoch_1\.pth after epoch 1", log)
