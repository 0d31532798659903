from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.compare.report.markup import element, join, script_hash, script_json, trusted

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["</script>", "<!--", "]]>", "&lt;"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(st.characters(exclude_characters="\r\0")), st.text(st.characters(exclude_characters="\r\0")))
def test_text_stays_text_wherever_it_stands(child: str, attribute: str) -> None:
    reader = read(element("p", child, title=attribute))
    assert reader.tags == [("p", {"title": attribute})]
    assert reader.text == child


def test_elements_nest_and_what_is_trusted_stays() -> None:
    assert element("p", "a < b ", element("b", "&"), trusted("<i>c</i>")) == "<p>a &lt; b <b>&amp;</b><i>c</i></p>"
    assert join("<", element("br")) == "&lt;<br>"


def test_attributes() -> None:
    assert element("input", type="checkbox", checked=True, hidden=False, data_x=3, class_="k", name=None) == (
        '<input type="checkbox" checked data-x="3" class="k">'
    )


@given(VALUES)
def test_json_in_a_script_is_the_same_value_and_cannot_end_it(value: object) -> None:
    embedded = script_json(json.dumps(value))
    assert json.loads(embedded) == value
    assert not set("<>&") & set(embedded)


def test_a_script_is_named_by_its_digest() -> None:
    # `printf 'alert(1)' | openssl dgst -sha256 -binary | base64`
    assert script_hash("alert(1)") == "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
