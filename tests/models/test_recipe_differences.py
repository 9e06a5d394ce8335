"""What makes two recipes answer differently is said in lines that can be read."""

import pytest
from small_models import small

from rgbx.models.recipe import check_recipe, recipe_differences

FUSION = {"name": "addition"}


def parameters(**options):
    return check_recipe(small("classes", **options).recipe)


@pytest.mark.parametrize("ours, theirs", [(None, FUSION), (FUSION, None)])
def test_what_one_side_alone_has_is_one_line(ours, theirs):
    pair = parameters(fusion=ours), parameters(fusion=theirs)
    (line,) = recipe_differences(*pair)
    assert line == f"fusion: {pair[0]['fusion']!r} against {pair[1]['fusion']!r}"


def test_a_head_too():
    one, both = parameters(), check_recipe(small("both").recipe)
    name = next(name for name in both["heads"] if name not in one["heads"])
    (line,) = recipe_differences(one, both)
    assert line.startswith(f"heads.{name}: absent against {{'")


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_dict_says_nothing(nothing):
    assert recipe_differences({**parameters(), "stems": {}}, {**parameters(), "stems": nothing}) == []
