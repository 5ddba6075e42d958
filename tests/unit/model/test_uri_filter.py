"""Which URIs and addresses pass (spec: import-and-tasks §8)."""

import re
from ipaddress import IPv4Address, ip_address, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import Invalid, SourceUnavailable
from blick.model.uri_filter import UriFilter, parse_target, shown
from blick.stream.addresses import resolve

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
    everything = UriFilter(allowed_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    for filter_ in (USUAL, everything):
        with pytest.raises(Invalid):
            filter_.screen(target, [address])
        assert filter_.screen(target, [address, "8.8.8.8"]) == ("8.8.8.8",)
    named = UriFilter(allowed_hosts=("images.example",))
    assert named.screen(named.target("http://images.example/"), [address]) == (address,)


PRIVATE = [
    "10.0.0.1",
    "100.64.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.7.7",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "fc00::1",
    "fd00::1",
    "fec0::1",
    "2001:db8::1",
    "2001:10::1",
    "3fff::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "2001:0:808:808:0:0:f5ff:fffe",  # Teredo of 10.0.0.1
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_for_those_who_may(address: str) -> None:
    target = USUAL.target("http://images.example/")
    with pytest.raises(Invalid):
        USUAL.screen(target, [address])
    assert USUAL.screen(target, [address, "8.8.8.8"]) == ("8.8.8.8",)
    named = UriFilter(allowed_hosts=("images.example",))
    assert named.screen(target, [address]) == (address,)
    everything = UriFilter(allowed_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert everything.screen(target, [address]) == (address,)


def test_networks_open_what_lies_in_them() -> None:
    filter_ = UriFilter(allowed_networks=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))
    target = filter_.target("http://images.example/")
    addresses = ["10.0.0.1", "10.1.0.1", "::ffff:10.1.0.2", "fd00:1::1", "fd00:2::1", "192.168.0.1", "127.0.0.1"]
    assert filter_.screen(target, addresses) == ("10.1.0.1", "::ffff:10.1.0.2", "fd00:1::1")
    here = UriFilter(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("fe80::/10")))
    addresses = ["127.0.0.1", "::ffff:127.0.0.1", "::1", "fe80::1%eth0", "0.0.0.0", "169.254.169.254", "10.0.0.1"]
    assert here.screen(target, addresses) == ("127.0.0.1", "::ffff:127.0.0.1", "::1", "fe80::1%eth0")


@pytest.mark.parametrize("address", ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2a00::1", "2001:200::1"])
def test_addresses_that_are(address: str) -> None:
    assert USUAL.screen(USUAL.target("http://images.example/"), [address]) == (address,)


@pytest.mark.parametrize(
    ("uri", "passes"),
    [
        ("http://images.example/", True),
        ("http://nothing.invalid/", True),
        ("http://8.8.8.8/", True),
        ("http://[2a00::1]/", True),
        ("http://localhost/", False),
        ("http://LocalHost./", False),
        ("http://x.localhost/", False),
        ("http://127.0.0.1/", False),
        ("http://169.254.169.254/", False),
        ("http://10.0.0.1/", False),
        ("http://[::1]/", False),
        ("http://[::ffff:127.0.0.1]/", False),
    ],
)
def test_what_a_proxy_resolves_is_judged_by_its_text(uri: str, passes: bool) -> None:
    """As far as that goes."""
    target = USUAL.target(uri)
    if passes:
        USUAL.screen_unresolved(target)
    else:
        with pytest.raises(Invalid):
            USUAL.screen_unresolved(target)


def _spellings(address: IPv4Address) -> list[str]:
    """How an IPv4 address can be written so that some program or other understands it."""
    number, parts = int(address), address.packed
    dotted = str(address)
    return [
        dotted,
        f"{dotted}.",
        str(number),
        hex(number),
        hex(number).upper(),
        f"0{number:o}",
        f"0x{number:016x}",
        ".".join(f"0x{part:x}" for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        ".".join(f"{part:03d}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"0x{parts[0]:x}.{number & 0xFFFFFF}",
        f"[::ffff:{dotted}]",
        f"[::{dotted}]",
        f"[0:0:0:0:0:ffff:{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}]",
        f"[64:ff9b::{dotted}]",
        f"[2002:{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}::1]",
        f"user@{dotted}",
        f"8.8.8.8@{dotted}",
        dotted.replace(".", "。"),
        "".join(f"%{ord(character):02x}" for character in dotted),
        dotted.translate({48 + digit: 0xFF10 + digit for digit in range(10)}),
        f" {dotted}",
        f"{dotted}\t",
        f"{dotted}\\@8.8.8.8",
        f"{dotted}%00.example",
    ]


@given(
    st.one_of(
        st.ip_addresses(v=4, network="127.0.0.0/8"),
        st.ip_addresses(v=4, network="169.254.0.0/16"),
        st.ip_addresses(v=4, network="10.0.0.0/8"),
        st.ip_addresses(v=4, network="0.0.0.0/8"),
    )
)
def test_no_spelling_of_a_closed_address_passes(address: IPv4Address) -> None:
    """Either the text is refused, or what the system resolves it to is."""
    for spelling in _spellings(address):
        try:
            target = USUAL.target(f"http://{spelling}/")
            found = resolve(target)
        except (Invalid, SourceUnavailable):
            continue
        with pytest.raises(Invalid):
            USUAL.screen(target, found)


@given(st.text(alphabet="0123456789abcdefx.:[]@/?#%\\- lo", max_size=40))
def test_what_passes_is_an_address_in_canonical_text_or_a_name(text: str) -> None:
    """Whatever is written, nobody can read another host out of it than we do."""
    try:
        target = USUAL.target(f"http://{text}")
    except Invalid:
        return
    if target.host.replace(".", "").isdecimal() or ":" in target.host:
        assert str(ip_address(target.host)) == target.host
    else:
        assert re.fullmatch(r"[a-z0-9_.-]+", target.host)
    assert urlsplit(f"http://{text}").hostname is not None
    assert parse_target(f"http://{target.authority}{target.path}").host == target.host


def test_denied_addresses_count_after_resolution_too() -> None:
    deny = UriFilter(disallowed_hosts=("8.8.0.1", "2A00::1"))
    target = deny.target("http://images.example/")
    addresses = ["8.8.0.1", "::ffff:8.8.0.1", "8.8.0.2", "2a00::1"]
    assert deny.screen(target, addresses) == ("8.8.0.2",)
    assert refuses(deny, "http://8.8.0.1/")
    with pytest.raises(Invalid):
        deny.screen(target, [])
