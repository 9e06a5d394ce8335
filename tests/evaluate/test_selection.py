"""What a checkpoint notes of its choice, and what a result says of it."""

import pytest

from rgbx.datasets import EveryKth, SyntheticRooms
from rgbx.evaluate.selection import selection_facts, split_name


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (dict(type=SyntheticRooms, split="val", root="x"), "val"),
        (dict(split="train", holdout="only"), "train (holdout only)"),
        (dict(list_file="val.txt", holdout=None), "val.txt"),
        (dict(split="train", cities=("ulm", "zurich")), "train (cities ulm, zurich)"),
        (dict(type=EveryKth, every=4, dataset=dict(split="val")), "val (every 4)"),
        (dict(type=SyntheticRooms), "SyntheticRooms"),
        (SyntheticRooms(split="test", num_frames=1), "test"),
    ],
)
def test_a_part_of_the_data_has_a_name(dataset, name):
    assert split_name(dataset) == name


def noted(**note):
    return {"meta": {"selected": {"on": "val", "by": "mIoU", "frames": ["a", "b"], **note}}}


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        (noted(), {"selected_on": "val, by mIoU", "overlap": "2 of 3 frames"}),
        (noted(frames=["x"]), {"selected_on": "val, by mIoU"}),
        ({"meta": {"epoch": 7}, "optimizer": {}}, {"selected_on": "no split: epoch 7 of its run, not selected"}),
        ({"meta": {"epoch": 7}}, {}),
        ({"state_dict": {}}, {}),
        ({"meta": [1]}, {}),
    ],
    ids=["chosen on what is scored", "on other frames", "an epoch", "an old best one", "weights alone", "no meta"],
)
def test_what_a_result_says(state, facts):
    assert selection_facts(state, "x.pth", ["a", "b", "c"]) == facts


@pytest.mark.parametrize("note", [3, {"on": "val"}, {"on": 1, "by": "x", "frames": []}])
def test_a_note_of_another_form_is_refused(note):
    with pytest.raises(
        ValueError, match=r"checkpoint x\.pth: meta\.selected is .*; expected a dict of on, by and frames"
    ):
        selection_facts({"meta": {"selected": note}}, "x.pth", [])
