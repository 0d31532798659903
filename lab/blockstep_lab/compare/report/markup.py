"""HTML from Python values, so that no text from a file can become markup.

Decided here: every child and attribute is escaped unless it is `Html` already, which only `element` and `trusted` make;
JSON for a script element holds no character that could end it. Not known here: any page.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

__all__ = ["Html", "element", "join", "script_hash", "script_json", "trusted"]

_VOID = {"br", "col", "input", "meta"}


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def trusted(markup: str) -> Html:
    """For markup that is written in our own source."""
    return Html(markup)


def join(*children: str) -> Html:
    """One after the other; what is not `Html` is escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def element(tag: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """`element("td", "a < b", class_="x", data_value=3)`; True is an attribute without value, None and False none."""
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{join(*children)}</{tag}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def script_json(json_text: str) -> Html:
    """The same value, for between `<script type="application/json">` and its end. Expects ASCII, as `json` gives."""
    return Html(json_text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def script_hash(script: str) -> str:
    """How a Content-Security-Policy names an inline script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
