"""Sizes of pages and the links between them."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from blick.model.errors import Invalid
from blick.model.page import PageLimits, page_links, page_size, refuse_nul

LIMITS = PageLimits(default=25, max=1000)


def test_links_keep_repeats_and_order() -> None:
    parameters = [("tag", "a b"), ("marker", "old"), ("sort", "name:asc,size"), ("tag", "ü&")]
    links = page_links(parameters, "last", "/v2/images")
    assert links.first == "/v2/images?tag=a+b&sort=name%3Aasc%2Csize&tag=%C3%BC%26"
    assert links.next == links.first + "&marker=last"
    assert parse_qsl(urlsplit(links.next).query) == [
        ("tag", "a b"), ("sort", "name:asc,size"), ("tag", "ü&"), ("marker", "last"),
    ]  # fmt: skip


def test_links_of_a_bare_list() -> None:
    assert page_links([], None, "/v2/images").first == "/v2/images"
    assert page_links([], None, "/v2/images").next is None
    assert page_links([("marker", "m")], "x", "/v2/tasks").next == "/v2/tasks?marker=x"


@pytest.mark.parametrize(
    ("text", "size"), [(None, 25), ("0", 0), ("1", 1), (" 7 ", 7), ("+7", 7), ("1000", 1000), ("9" * 30, 1000)]
)
def test_size(text: str | None, size: int) -> None:
    assert page_size(text, LIMITS) == size


def test_the_usual_size_is_within_the_maximum() -> None:
    assert page_size(None, PageLimits(default=25, max=10)) == 10


@pytest.mark.parametrize("text", ["", "x", "1.0", "-1", "0x10", "1e3", "9" * 41])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        page_size(text, LIMITS)


@pytest.mark.parametrize("pair", [("a\x00", "b"), ("a", "\x00")])
def test_nul(pair: tuple[str, str]) -> None:
    refuse_nul([("a", "b")])
    with pytest.raises(Invalid):
        refuse_nul([("x", "y"), pair])
