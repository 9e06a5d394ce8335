import math
from fractions import Fraction

import pytest

from rgbx.study import declare_study


def test_defaults(declare, tmp_path):
    study = declare(_own=3)
    assert study.config == tmp_path / "base.py"
    assert (study.budget, study.modalities, study.baseline) == ({}, None, None)
    assert study.seeds_of("b") == (0, 1, 2)
    assert study.subsets_of("a", ("rgb", "depth")) == ("rgb+depth", "rgb", "depth")
    assert study.subsets_of("a", ("rgb",)) == ("rgb",)


def test_grid_goes_seed_by_seed(declare):
    """So that a study that is stopped half-way has compared all methods."""
    study = declare(method_seeds={"b": (7,)})
    assert study.grid() == [("a", 0), ("b", 7), ("c", 0), ("a", 1), ("c", 1), ("a", 2), ("c", 2)]


def test_a_method_is_tested_on_what_it_takes(declare):
    study = declare(modalities=("rgb+depth", "rgb", "depth"), method_modalities={"b": ("depth+rgb",)})
    assert study.subsets_of("a", ("rgb", "depth")) == ("rgb+depth", "rgb", "depth")
    assert study.subsets_of("a", ("depth",)) == ("depth",)
    assert study.subsets_of("b", ("rgb", "depth")) == ("depth+rgb",)
    with pytest.raises(ValueError, match="method 'a' takes the modalities \\('thermal',\\)"):
        study.subsets_of("a", ("thermal",))


def test_folders_have_plain_names(declare):
    study = declare(methods={"Fused: stages 3/4": {}})
    assert str(study.folder_of("Fused: stages 3/4", 2)) == "fused_stages_3_4/seed_2"


VALUES = [None, True, -3, 0.1, 1e-9, "a,b=c 'd' \"e\"", (), ("rgb",), [1, (2, [])], {"name": "x", "f": {"g": (None,)}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_are_kept(declare, value):
    (kept,) = declare(budget={"model.x": value}).budget.values()
    assert kept == value and type(kept) is type(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": {}}, "unknown name 'method'; a study has .*; did you mean 'methods'"),
        ({"seed": (1,)}, "unknown name 'seed'; a study has .*; did you mean 'seeds'"),
        ({"methods": {}}, "methods is {}; expected a dict of at least one"),
        ({"methods": {"a b": {}, "a/b": {}}}, "'a/b' would lie in a folder 'a_b', as that of 'a b'"),
        ({"methods": {"A": {}, "a": {}}}, "as that of 'A'"),
        ({"methods": {"..": {}}}, "method '..' would lie in a folder ''"),
        ({"methods": {"a": None}}, "method 'a' is None; expected a dict of dotted names"),
        ({"methods": {"a": {"model..x": 1}}}, "overrides 'model..x'; expected a dotted name"),
        ({"methods": {"a": {"--trust": 1}}}, "overrides '--trust'"),
        ({"methods": {"a": {"model.x": Fraction(1, 5)}}}, r"sets model.x to Fraction\(1, 5\); expected None"),
        ({"budget": {"model.x": {"y": [math.nan]}}}, "budget sets model.x to nan"),
        ({"budget": {"model.x": -math.inf}}, "budget sets model.x to -inf"),
        ({"budget": {"model.x": {1, 2}}}, r"budget sets model.x to \{1, 2\}"),
        ({"budget": 3}, "budget is 3; expected a dict"),
        ({"seeds": ()}, r"seeds is \(\); expected different integers"),
        ({"seeds": (0, 0)}, "different integers"),
        ({"seeds": (True,)}, "different integers"),
        ({"seeds": (2**32,)}, "different integers"),
        ({"seeds": 3}, "seeds is 3"),
        ({"method_seeds": {"d": (0,)}}, "method_seeds names 'd', which is no method"),
        ({"method_seeds": {"a": 1}}, r"method_seeds\['a'\] is 1"),
        ({"method_seeds": (1,)}, r"method_seeds is \(1,\); expected a dict of methods"),
        ({"modalities": ("rgb", "rgb")}, "expected different subsets"),
        ({"modalities": ("rgb+depth", "depth+rgb")}, "expected different subsets"),
        ({"modalities": "rgb"}, "expected different subsets"),
        ({"modalities": ("rgb+",)}, "expected different subsets"),
        ({"head": 3}, "head is 3; expected the name of one of the model's heads"),
        ({"baseline": "d"}, "baseline names 'd', which is no method"),
        ({"config": 3}, "config is 3; expected the path"),
    ],
)
def test_mistakes_name_the_field(declare, values, message):
    with pytest.raises(ValueError, match=message) as caught:
        declare(**values)
    assert "study.py: " in str(caught.value)


def test_missing_names(tmp_path):
    with pytest.raises(ValueError, match="'config' is missing; a study needs config, methods, seeds"):
        declare_study({"methods": {"a": {}}}, tmp_path / "study.py")


def test_missing_config(declare):
    with pytest.raises(FileNotFoundError, match=r"config 'bass.py' does not exist; did you mean 'base.py'"):
        declare(config="bass.py")
