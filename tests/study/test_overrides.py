import ast

import pytest

from rgbx.study.declaration import as_options, merge_overrides
from rgbx.train.flat import differences, flatten

NESTED = {"name": "asymmetric", "stages": (3, 4), "note": "a,b='c'", "none": None, "rate": 0.1 + 0.2}


def test_later_values_replace_the_whole_of_earlier_ones():
    base = {"model.fusion": {"name": "asymmetric", "fraction": 0.5}, "model.norm": "private", "a": 1}
    merged = merge_overrides(base, {"model.fusion": {"name": "early"}, "a": None})
    assert merged == {"model.norm": "private", "model.fusion": {"name": "early"}, "a": None}


def test_a_dict_replaces_what_was_set_inside_it():
    merged = merge_overrides({"model.fusion.fraction": 0.5, "model.fusions": 1}, {"model.fusion": {"name": "early"}})
    assert merged == {"model.fusions": 1, "model.fusion": {"name": "early"}}


def test_what_is_set_inside_a_dict_follows_it():
    merged = merge_overrides({"model.fusion": NESTED}, {"model.fusion.stages": (4,)})
    assert list(merged) == ["model.fusion", "model.fusion.stages"]


@pytest.mark.parametrize("value", [None, (), ("rgb",), NESTED, "0.1", "None", 1e-300, [[], {}], -1, True])
def test_options_come_back_exactly(value):
    (option,) = as_options({"model.x": value})
    path, _, text = option.partition("=")
    back = ast.literal_eval(text)
    assert (path, back, type(back)) == ("model.x", value, type(value))


def test_differences_name_each_value():
    before = flatten({"train": {"epochs": 6, "list": [{"end": 1}, 2]}, "empty": {}, "none": [], "x": (1, 2)})
    now = flatten({"train": {"epochs": 8, "list": [{"end": 1}]}, "empty": {"a": "6"}, "none": [], "x": (1, 2)})
    assert before == {
        "train.epochs": "6",
        "train.list.0.end": "1",
        "train.list.1": "2",
        "empty": "{}",
        "none": "[]",
        "x": "(1, 2)",
    }
    assert differences(before, now) == [
        "empty: {} → absent",
        "empty.a: absent → '6'",
        "train.epochs: 6 → 8",
        "train.list.1: 2 → absent",
    ]
    assert differences(now, now) == []
