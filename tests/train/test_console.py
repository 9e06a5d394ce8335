import io
import logging
import sys

from rgbx.train.console import ProgressBarHook, shorten_console, show_control_characters


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_only_on_a_terminal(make_runner, monkeypatch):
    for stream, expected in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        make_runner(epochs=2, custom_hooks=[dict(type=ProgressBarHook)]).train()
        assert ("epoch 2/2" in stream.getvalue()) == expected
        assert ("validation" in stream.getvalue()) == expected


def test_long_records_go_to_the_file_only(tmp_path):
    logger, terminal = logging.Logger("test"), io.StringIO()
    logger.addHandler(logging.StreamHandler(terminal))
    logger.addHandler(logging.FileHandler(tmp_path / "log.txt"))
    shorten_console(logger)
    logger.info("Config:\nmodel=...")
    logger.info("Epoch(train) [1]")
    assert terminal.getvalue() == "Epoch(train) [1]\n"
    assert (tmp_path / "log.txt").read_text() == "Config:\nmodel=...\nEpoch(train) [1]\n"


def test_a_log_file_shows_control_characters(tmp_path):
    logger = logging.Logger("test")
    logger.addHandler(logging.FileHandler(tmp_path / "log.txt", encoding="utf-8"))
    logger.handlers[0].setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    show_control_characters(logger)
    logger.info("a \x1b[2J of %s", "\udcff")
    assert (tmp_path / "log.txt").read_text() == "INFO a \\x1b[2J of \\udcff\n"
