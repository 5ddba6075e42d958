"""Which URIs and addresses pass (spec: import-and-tasks §8)."""

import pytest

from blick.model.errors import Invalid
from blick.model.uri_filter import UriFilter, parse_target, shown

USUAL = UriFilter()


def refuses(filter_: UriFilter, uri: str) -> bool:
    try:
        filter_.target(uri)
    except Invalid:
        return True
    return False


@pytest.mark.parametrize(
    ("uri", "host", "port", "path"),
    [
        ("http://images.example/a.img", "images.example", 80, "/a.img"),
        ("HTTPS://Images.Example./a?b=c#d", "images.example", 443, "/a?b=c"),
        ("http://images.example", "images.example", 80, "/"),
        ("http://images.example?q", "images.example", 80, "/?q"),
        ("http://192.0.2.7:80/x", "192.0.2.7", 80, "/x"),
        ("http://[2001:DB8::1]:443/x", "2001:db8::1", 443, "/x"),
        ("http://a_b.example/x", "a_b.example", 80, "/x"),
    ],
)
def test_takes_apart(uri: str, host: str, port: int, path: str) -> None:
    target = USUAL.target(uri)
    assert (target.host, target.port, target.path, target.credentials) == (host, port, path, None)


def test_authority_and_credentials() -> None:
    target = parse_target("http://us%40er:se%3Acret@[2001:db8::1]:8080/x")
    assert target.authority == "[2001:db8::1]:8080"
    assert target.credentials == ("us@er", "se:cret")
    assert "se:cret" not in repr(target)
    assert parse_target("https://a.example:443/").authority == "a.example"
    assert shown("http://user:secret@a.example/x?y=@") == "http://a.example/x?y=@"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "images.example/a.img",
        "ftp://images.example/a",
        "file:///etc/passwd",
        "swift+config://x/y/z",
        "http:///path",
        "http://",
        "http://:80/",
        "http://images.example:port/",
        "http://images.example:0/",
        "http://images.example:65536/",
        "http://images.example:8080/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.01/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://images.example.0x1/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[::g]/",
        "http://images example/",
        "http://images.example/a b",
        "http://images.example/a\nb",
        "http://images.example\\@127.0.0.1/",
        "http://a@b@images.example/",
        "http://imäges.example/",
        "http://images%2eexample/",
        "http://-images.example/",
        "http://images..example/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
    ],
)
def test_refuses(uri: str) -> None:
    assert refuses(USUAL, uri)


def test_a_refusal_shows_no_secrets() -> None:
    with pytest.raises(Invalid) as refused:
        USUAL.target("http://user:secret@images.example:8080/")
    assert "secret" not in str(refused.value)
    assert "does not pass filtering" in str(refused.value)
    assert "images.example" in str(refused.value)


def test_an_allow_list_makes_the_deny_list_void() -> None:
    deny = UriFilter(
        allowed_schemes=(),
        allowed_ports=(),
        disallowed_schemes=("http",),
        disallowed_hosts=("bad.example",),
        disallowed_ports=(9000,),
    )
    assert refuses(deny, "http://good.example/")
    assert refuses(deny, "https://BAD.example./")
    assert refuses(deny, "https://good.example:9000/")
    assert deny.target("https://good.example:9001/").port == 9001
    both = UriFilter(
        disallowed_schemes=("http",),
        allowed_hosts=("one.example", "[::1]"),
        disallowed_hosts=("one.example",),
        allowed_ports=(80,),
        disallowed_ports=(80,),
    )
    assert both.target("http://one.example:80/").host == "one.example"
    assert both.target("http://[0:0::1]/").host == "::1"
    assert refuses(both, "http://two.example/")
    assert refuses(both, "http://one.example:443/")
    assert both.target("https://one.example/").port == 443, "a port that is not written is not looked at"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
    ],
)
def test_addresses_that_are_no_host_of_its_own(address: str) -> None:
    target = USUAL.target("http://images.example/")
    with pytest.raises(Invalid):
        USUAL.screen(target, [address])
    assert USUAL.screen(target, [address, "192.168.1.1"]) == ("192.168.1.1",)
    named = UriFilter(allowed_hosts=("images.example",))
    assert named.screen(named.target("http://images.example/"), [address]) == (address,)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.7.7", "172.16.0.1", "8.8.8.8", "fd00::1", "2a00::1"])
def test_addresses_that_are(address: str) -> None:
    assert USUAL.screen(USUAL.target("http://images.example/"), [address]) == (address,)


def test_denied_addresses_count_after_resolution_too() -> None:
    deny = UriFilter(disallowed_hosts=("10.0.0.1", "2001:DB8::1"))
    target = deny.target("http://images.example/")
    addresses = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "2001:db8::1"]
    assert deny.screen(target, addresses) == ("10.0.0.2",)
    assert refuses(deny, "http://10.0.0.1/")
    with pytest.raises(Invalid):
        deny.screen(target, [])
