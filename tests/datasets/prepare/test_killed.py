"""Preparations that are killed by SIGKILL; `killed.preparations_killed` can kill them before every change."""

import pytest
from killed import preparations_killed


@pytest.mark.parametrize("dataset", ["mfnet", "cityscapes", "shards"])
def test_a_killed_preparation_is_repeated(dataset, tmp_path):
    """Wherever it was killed, the folder is in the end, byte for byte, that of an undisturbed one."""
    kills = preparations_killed(dataset, tmp_path, every=8)
    assert len(kills) >= 6 and {(kill.code, kill.equal) for kill in kills} == {(0, True)}, kills
