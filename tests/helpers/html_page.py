"""Parses the HTML pages that the project writes, for tests."""

import base64
import collections
import hashlib
import html.parser
import re

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes. Fails if a tag is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements = collections.defaultdict(list)
        self.open = []
        self.text = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements[tag].append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements[tag].append(dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of_class(self, tag: str, name: str) -> list[dict]:
        return [attributes for attributes in self.elements[tag] if name in (attributes.get("class") or "").split()]


def check_self_contained(text: str, page: Page) -> None:
    """Check that a page refers to no other file and no address, so that it opens from disk without a network."""
    attributes = [pair for elements in page.elements.values() for element in elements for pair in element.items()]
    sources = [value for name, value in attributes if name == "src"]
    assert sources
    assert all(source.startswith(("data:image/jpeg;base64,", "data:video/mp4;base64,")) for source in sources)
    assert all(value.startswith("#") for name, value in attributes if name in ("href", "xlink:href"))
    assert not page.elements["link"]
    assert set(re.findall(r"https?://[^\"'\s<)]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"@import|url\((?!#)", text)
    check_policy(text, page)


def check_policy(text: str, page: Page) -> None:
    """Check that the page lets a browser run its own script only, and fetch nothing."""
    first, second = page.elements["meta"][:2]
    assert first == {"charset": "utf-8"}
    assert second["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.split(" ", 1) for rule in second["content"].split("; "))
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    names = {name for elements in page.elements.values() for element in elements for name in element}
    assert not [name for name in names if name.startswith("on")]
