"""What of a URI errors, logs and tasks may quote."""

import pytest

from blick.model.task_input import without_secrets
from blick.model.uri_filter import shown


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://h/x", "http://h/x"),
        ("http://h:80/x@y?z=@", "http://h:80/x@y?z=@"),
        ("http://[::1]:80/x@y", "http://[::1]:80/x@y"),
        ("http://h?x=a@b", "http://h?x=a@b"),
        ("file:///images@home/x", "file:///images@home/x"),
        ("no uri at all", "no uri at all"),
        ("http://user:secret@h/x@y", "http://h/x@y"),
        ("HTTP://user:secret@h/x", "HTTP://h/x"),
        ("swift+https://a%3Auser:secret@h/v1/c/o", "swift+https://h/v1/c/o"),
        ("s3://key:sec/ret@h/bucket/o", "s3://h/bucket/o"),
        ("http://user:sec/ret@h/x", "http://h/x"),
        ("http://user:sec?ret@h/x", "http://h/x"),
        ("http://user:sec#ret@h/x", "http://h/x"),
        ("http://user:sec@ret@h/x", "http://h/x"),
        ("http:user:secret@h/x", "h/x"),
        ("http:/user:secret@h/x", "h/x"),
        ("http:///user:secret@h/x", "http://h/x"),
        ("http:\\\\user:secret@h/x", "h/x"),
        ("//user:secret@h/x", "//h/x"),
        (" http://user:secret@h/x", " http://h/x"),
        ("user:secret@h", "h"),
    ],
)
def test_no_password_is_quoted(uri: str, expected: str) -> None:
    assert shown(uri) == expected


def test_input_of_tasks() -> None:
    uri = "http://user:secret@h/x"
    asked = {
        "import_from": uri,
        "loc_url": uri,
        "import_req": {"method": {"name": "web-download", "uri": uri}, "also": [{"url": uri}]},
        "image_properties": {"contact": "user@example.org"},
        "urls": 7,
        "url": [uri, 7, None],
    }
    plain = "http://h/x"
    assert without_secrets(asked) == {
        "import_from": plain,
        "loc_url": plain,
        "import_req": {"method": {"name": "web-download", "uri": plain}, "also": [{"url": plain}]},
        "image_properties": {"contact": "user@example.org"},
        "urls": 7,
        "url": [plain, 7, None],
    }
