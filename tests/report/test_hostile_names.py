"""Names that would be elements, attributes or scripts of a page are text in it."""

import copy
from collections import Counter
from html.parser import HTMLParser

import pytest
from made_result import WORDS, make_map_result, make_result

from rgbx.evaluate.result import write_result
from rgbx.report import write_report

HOSTILE = (
    """"'><script>alert(1)</script><img src=x onerror=alert(1)><a href="javascript:alert(1)">&lt;</title></style>"""
)
OF_THE_FORM = {"format", "task", "unit", "absent", "kind", "fingerprint", "sha256", "name"}


class Elements(HTMLParser):
    """How often each element with its attributes' names is in a page, and where links and pictures lead."""

    def __init__(self):
        super().__init__()
        self.found, self.places = Counter(), set()

    def handle_starttag(self, tag, attributes):
        self.found[tag, *sorted(name for name, _ in attributes)] += 1
        self.places |= {
            value.partition(":")[0] for name, value in attributes if name in ("href", "src") and ":" in value
        }


def spoiled(value, key=""):
    """A result in which every text that is nobody's form ends with what is hostile."""
    if isinstance(value, dict):
        return {name: spoiled(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [spoiled(item, key) for item in value]
    return value + HOSTILE if isinstance(value, str) and key not in OF_THE_FORM else value


def page_of(result, folder):
    folder.mkdir()
    write_result(result, folder / "results.json")
    found = Elements()
    found.feed(write_report(folder / "results.json", folder / "report").read_text())
    return found


@pytest.mark.parametrize("make", [make_result, make_map_result])
def test_a_report_has_the_elements_that_it_has_without_hostile_names(make, tmp_path):
    right = make(classes=[f"{word}x" for word in WORDS]) if make is make_result else make()
    for head in right["heads"].values():
        head["pictures"] = head["robustness"] = None
    wrong = spoiled(copy.deepcopy(right))
    clean, hostile = page_of(right, tmp_path / "clean"), page_of(wrong, tmp_path / "hostile")
    assert hostile.found - clean.found - Counter({("wbr",): 10**4}) == Counter()
    assert hostile.places <= clean.places | {"data"}
    assert sum(count for (tag, *_), count in hostile.found.items() if tag == "script") == 1
