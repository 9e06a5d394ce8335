"""Classes by name: what is entered is found, and what cannot be found or entered says so."""

import pytest

from rgbx._registry import Registry


def test_a_file_may_replace_its_own_class_and_no_other():
    things: Registry[object] = Registry("thing")
    first, second = type("First", (), {}), type("Second", (), {})
    assert things.enter("a")(first) is first and things.enter("a")(second) is second
    assert things == {"a": second} and things.find("a", "thing is 'a'") is second
    foreign = type("Foreign", (), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match=f"thing 'a' is defined in {__name__} and in elsewhere"):
        things.enter("a")(foreign)
    assert things == {"a": second}


def test_classes_may_know_their_name():
    things: Registry[object] = Registry("thing", "called")
    entered, foreign = type("Entered", (), {}), type("Foreign", (), {"__module__": "elsewhere"})
    assert things.enter("a")(entered).called == "a"
    with pytest.raises(ValueError, match="is defined in"):
        things.enter("a")(foreign)
    assert not hasattr(foreign, "called")


@pytest.mark.parametrize("name", ["sumn", None, ["all", "sum"], 3])
def test_unknown_names_are_told_those_that_are_known(name):
    things: Registry[object] = Registry("thing")
    things.enter("sum")(object)
    things.enter("all")(object)
    with pytest.raises(ValueError) as told:
        things.find(name, f"thing is {name!r}", " or None")
    close = "; did you mean 'sum'?" if name == "sumn" else ""
    assert str(told.value).startswith(f"thing is {name!r}; expected one of all, sum or None{close}")
    assert "A thing of your own is known once its file is imported" in str(told.value)
    with pytest.raises(ValueError, match=r"expected one of \. An objective of your own is known once"):
        Registry("objective").find(name, "it is another")
