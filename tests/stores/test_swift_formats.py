"""What the swift store leaves and finds in Swift: manifests of both kinds, names; its options and locations."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from blick.model.blob import ByteRange
from blick.model.errors import DataExists, StartRefused, StoreUnavailable
from blick.stores.conformance import DATA, MIB, get, new_key, put
from blick.stores.swift.names import container_of, parse_name
from blick.stores.swift.options import Account
from blick.stores.swift.store import SwiftStore
from blick.stores.swift.uri import Place, of_account, of_storage_url, parse
from tests.stores.swift_fixtures import SMALL_SEGMENTS, Behind, everything, opened, options_for
from tests.support.swift import Swift

ACCOUNT = {"swift_store_auth_address": "http://host:5000/v3", "swift_store_user": "p:u", "swift_store_key": "hush-hush"}
PIECES = [bytes([number]) * MIB for number in range(3)]


@pytest.fixture
def behind(swift: Swift) -> Iterator[Behind]:
    with Behind(swift) as client:
        yield client


@pytest.fixture
async def store(swift: Swift) -> AsyncIterator[SwiftStore]:
    async with opened(options_for(swift, **SMALL_SEGMENTS)) as made:
        yield made


def path_of(store: SwiftStore, name: str) -> str:
    return f"{store._options.container}/{name}"


def put_as_glance(behind: Behind, store: SwiftStore, key: str) -> None:
    """What Glance's driver leaves of a large image."""
    behind.put(store._options.container)
    for number, piece in enumerate([*PIECES, b"end"], start=1):
        behind.put(path_of(store, f"{key}-{number:05}"), piece)
    behind.put(path_of(store, key), headers={"X-Object-Manifest": path_of(store, f"{key}-")})


@pytest.mark.needs("swift")
class TestManifests:
    async def test_glance_s_large_images(self, store: SwiftStore, behind: Behind) -> None:
        key, other = new_key(), new_key()
        put_as_glance(behind, store, key)
        put_as_glance(behind, store, other)
        found = {entry.key: entry for entry in await everything(store)}
        assert found.keys() == {key, other}
        location = found[key].location
        assert location is not None
        assert await store.size_bytes(location) == 3 * MIB + 3
        assert await get(store, location) == b"".join(PIECES) + b"end"
        assert await get(store, location, ByteRange(MIB - 1, 3)) == b"\0\1\1"
        with pytest.raises(DataExists):
            await put(store, key, DATA)
        assert await get(store, location, ByteRange(3 * MIB, 3)) == b"end"
        await store.delete(location)
        assert {name[:36] for name in behind.names(store._options.container)} == {other}
        await store.discard(other)
        assert behind.names(store._options.container) == []

    async def test_segments_are_listed_in_a_manifest(self, store: SwiftStore, behind: Behind) -> None:
        key = new_key()
        location = await put(store, key, *PIECES)
        answer = behind.request("GET", path_of(store, key) + "?multipart-manifest=get")
        assert answer.headers["X-Static-Large-Object"] == "True"
        names = [entry["name"] for entry in answer.json()]
        assert len(names) == 3
        assert all(name.startswith(f"/{path_of(store, key)}-") for name in names)
        assert len(behind.names(store._options.container)) == 4
        await store.delete(location)
        assert behind.names(store._options.container) == []

    @pytest.mark.parametrize(
        "cluster", [{"without": ("slo",)}, {"options": {"slo": {"max_manifest_segments": 2}}}], ids=["none", "too many"]
    )
    async def test_clusters_that_take_no_such_list(self, tmp_path: Path, cluster: dict[str, Any]) -> None:
        with Swift(tmp_path / "swift", **cluster) as swift, Behind(swift) as behind:
            async with opened(options_for(swift, **SMALL_SEGMENTS)) as store:
                key = new_key()
                location = await put(store, key, *PIECES, b"end")
                headers = behind.request("HEAD", path_of(store, key)).headers
                assert headers["X-Object-Manifest"].startswith(path_of(store, f"{key}-"))
                assert await get(store, location) == b"".join(PIECES) + b"end"
                await store.delete(location)
                assert behind.names(store._options.container) == []

    async def test_a_manifest_that_names_what_is_not_its_own(self, store: SwiftStore, behind: Behind) -> None:
        """Only the object itself is removed then."""
        key, other_key = new_key(), new_key()
        other = await put(store, other_key, DATA)
        behind.put(path_of(store, key), headers={"X-Object-Manifest": path_of(store, other_key)})
        (location,) = [entry.location for entry in await everything(store) if entry.key == key]
        assert location is not None
        await store.delete(location)
        assert await get(store, other) == DATA

    async def test_what_is_no_image_is_left_alone(self, store: SwiftStore, behind: Behind) -> None:
        behind.put(store._options.container)
        key = new_key()
        strangers = ["readme", f"{key}-notes", f"{key}.txt", "x-00001"]
        for name in strangers:
            behind.put(path_of(store, name), b"x")
        await store.discard(key)
        assert await everything(store) == []
        assert sorted(behind.names(store._options.container)) == sorted(strangers)

    async def test_buffers_are_files_that_nobody_sees(self, swift: Swift, tmp_path: Path) -> None:
        more = {"swift_buffer_on_upload": True, "swift_upload_buffer_dir": str(tmp_path)}
        async with (
            opened(options_for(swift, **SMALL_SEGMENTS, **more)) as store,
            store.writer(new_key(), None) as writer,
        ):
            await writer.write(memoryview(bytes(MIB // 2)))
            assert list(tmp_path.iterdir()) == []
            location = await writer.commit()
            assert await store.size_bytes(location) == MIB // 2

    async def test_no_room_for_buffers(self, swift: Swift, tmp_path: Path) -> None:
        folder = tmp_path / "buffers"
        folder.mkdir()
        more = {"swift_buffer_on_upload": True, "swift_upload_buffer_dir": str(folder)}
        async with opened(options_for(swift, **SMALL_SEGMENTS, **more)) as store:
            folder.rmdir()
            with pytest.raises(StoreUnavailable) as refused:
                await put(store, new_key(), DATA)
            assert str(folder) not in str(refused.value)
            assert await everything(store) == []

    async def test_properties(self, store: SwiftStore) -> None:
        assert await store.properties() == {
            "container": store._options.container,
            "large_object_size": MIB,
            "large_object_chunk_size": MIB,
        }

    async def test_a_section_with_the_old_log_in(self, swift: Swift, tmp_path: Path) -> None:
        file = tmp_path / "accounts"
        file.write_text(
            f'[ref1]\nuser = "{swift.user}"\nkey = {swift.key}\nauth_address = {swift.auth_url}\nauth_version = 1\n'
        )
        options = {"swift_store_config_file": str(file), "swift_store_create_container_on_put": True}
        async with opened(options) as store:
            location = await put(store, new_key(), DATA)
            assert location.uri.startswith("swift+config://ref1/glance/")
            await store.delete(location)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "swift_store_auth_address"),
        ({**ACCOUNT, "swift_store_key": ""}, "swift_store_key"),
        ({**ACCOUNT, "swift_store_auth_address": "host:5000"}, "auth_address"),
        ({**ACCOUNT, "swift_store_user": "u"}, "PROJECT:USER"),
        ({**ACCOUNT, "swift_store_container": "a/b"}, "swift_store_container"),
        ({**ACCOUNT, "swift_store_cacert": "/nowhere"}, "swift_store_cacert"),
        ({**ACCOUNT, "swift_buffer_on_upload": True}, "swift_upload_buffer_dir"),
        ({**ACCOUNT, "swift_buffer_on_upload": True, "swift_upload_buffer_dir": "/nowhere"}, "swift_upload_buffer_dir"),
        ({"swift_store_config_file": "/nowhere"}, "swift_store_config_file"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], named: str) -> None:
    with pytest.raises(StartRefused, match=named) as refused:
        SwiftStore("images", options)
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            "[ref1]\nauth_address = http://h/v3\nuser = p:u\nkey = hush-hush",
            {"swift_store_multi_tenant": True},
            "exclude",
        ),
        (
            "[ref1]\nauth_address = http://h/v3\nuser = p:u\nkey = hush-hush",
            {"default_swift_reference": "x"},
            "no section",
        ),
        ("[ref1]\nauth_address = http://h/v3\nuser = p:u", {}, "section ref1"),
        ("[ref1]\nkey hush-hush", {}, "no INI file"),
    ],
)
def test_accounts_files_that_make_no_sense(tmp_path: Path, text: str, options: dict[str, Any], said: str) -> None:
    file = tmp_path / "accounts"
    file.write_text(text)
    with pytest.raises(StartRefused, match=said) as refused:
        SwiftStore("images", {"swift_store_config_file": str(file), **options})
    assert "hush-hush" not in str(refused.value)


def test_domains_of_an_accounts_file(tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    account = "auth_address = http://h/v3\nuser = p:u\nkey = k\n"
    file.write_text(f"[ref1]\n{account}[named]\n{account}user_domain_name = Users\nproject_domain_id = 17\n")
    accounts = SwiftStore("images", {"swift_store_config_file": str(file)})._options.accounts
    assert (accounts["ref1"].user_domain_id, accounts["ref1"].user_domain_name) == ("default", None)
    assert (accounts["named"].user_domain_id, accounts["named"].user_domain_name) == (None, "Users")
    assert accounts["named"].project_domain_id == "17"


PLACE = Place("images", "1f2e")


@pytest.mark.parametrize(
    ("account", "uri"),
    [
        (Account("https://h:5000/v3", reference="ref1"), "swift+config://ref1/images/1f2e"),
        (Account("https://h:5000/v3/", "u", "a/b:c@d", "p"), "swift+https://p%3Au:a%2Fb%3Ac%40d@h:5000/v3/images/1f2e"),
        (Account("http://h/auth/v1.0", "u", "k", "p"), "swift+http://p%3Au:k@h/auth/v1.0/images/1f2e"),
        (
            Account("http://h/v3", application_credential_id="id", application_credential_secret="s"),
            "swift+http://id:s@h/v3/images/1f2e",
        ),
    ],
)
def test_locations_in_one_account(account: Account, uri: str) -> None:
    assert of_account(account, PLACE) == uri
    parsed = parse(uri)
    assert parsed is not None
    assert parsed.place == PLACE
    if account.reference:
        assert parsed.reference == account.reference
    else:
        assert parsed.account is not None
        assert of_account(parsed.account, PLACE) == uri


def test_locations_in_accounts_of_users() -> None:
    uri = of_storage_url("https://h:8080/v1/AUTH_1", Place("images_1f2e", "1f2e"))
    assert uri == "swift+https://h:8080/v1/AUTH_1/images_1f2e/1f2e"
    parsed = parse(uri)
    assert parsed is not None
    assert (parsed.storage_url, parsed.place) == ("https://h:8080/v1/AUTH_1", Place("images_1f2e", "1f2e"))


def test_the_oldest_scheme_means_https() -> None:
    parsed = parse("swift://p:u:k@h/v3/c/o")
    assert parsed is not None
    assert parsed.account is not None
    assert parsed.account.auth_address == "https://h/v3"


NO_LOCATIONS = """
    . swift swift:// swift://h swift://h/c swift+config://r/c swift+config://r/x/c/o s3://b/c/o swift+https://@h/c/o
    swift+https://u@h/c/o swift+https://h//o swift+https://h/c/ swift+ftp://h/c/o
"""


@pytest.mark.parametrize("uri", NO_LOCATIONS.split())
def test_what_is_no_location(uri: str) -> None:
    assert parse(uri) is None


def test_whose_locations_are_a_store_s_own() -> None:
    store = SwiftStore("images", ACCOUNT)
    assert store.owns("swift+http://p%3Au:hush-hush@host:5000/v3/any/thing")
    assert store.owns("swift+http://p%3Aother:key@host:5000/v3/any/thing")
    assert not store.owns("swift+http://p%3Au:hush-hush@elsewhere/v3/any/thing")
    assert not store.owns("swift+https://host:5000/v1/AUTH_1/any/thing")
    assert not store.owns("swift+config://ref1/any/thing")
    shared = SwiftStore("images", {"swift_store_multi_tenant": True})
    assert shared.owns("swift+https://host:5000/v1/AUTH_1/any/thing")
    assert not shared.owns("swift+http://p%3Au:hush-hush@host:5000/v3/any/thing")


@pytest.mark.parametrize(
    ("digits", "name"),
    [(0, "c"), (1, "c_f"), (8, "c_fdae39a1"), (9, "c_fdae39a1-b"), (32, "c_fdae39a1-bac5-4238-aba4-69bcc726e848")],
)
def test_seeded_containers(digits: int, name: str) -> None:
    assert container_of("c", "fdae39a1-bac5-4238-aba4-69bcc726e848", digits) == name


def test_names() -> None:
    key = new_key()
    parts = {
        name: parse_name(name) for name in (key, f"{key}-00001", f"{key}-0123456789abcdef-00012", f"{key}.blick-writer")
    }
    assert [part and (part.key, part.is_part) for part in parts.values()] == [(key, False)] + [(key, True)] * 3
    assert all(parse_name(name) is None for name in ("x", f"{key}-1", f"{key}x", f"x{key}", f"{key}-00001-"))
