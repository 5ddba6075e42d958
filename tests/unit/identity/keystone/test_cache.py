"""What is remembered of tokens, for how long, and how often Keystone is asked."""

import asyncio
import hashlib
from collections import Counter

import pytest

from blick.identity.keystone import cache as cache_module
from blick.identity.keystone.cache import Entry, TokenCache
from blick.model.errors import ServiceUnavailable
from tests.support.waiting import eventually_here
from tests.unit.identity.keystone.answers import answer

TTL_S = 300


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Keystone:
    """Says of every token that its user has that token's name; answers when `open` is set."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, bool]] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self.valid = True
        self.down = False
        self.nonsense = False

    async def ask(self, token: str, *, allow_expired: bool) -> bytes | None:
        self.asked[token, allow_expired] += 1
        await self.open.wait()
        if self.down:
            raise ServiceUnavailable("down")
        if self.nonsense:
            return b"{}"
        return answer(user={"id": token}) if self.valid else None


class Shelf:
    """A cache that several processes would share."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}

    async def find(self, digest: bytes) -> Entry | None:
        return self.entries.get(digest)

    async def keep(self, digest: bytes, entry: Entry, ttl_s: int) -> None:
        assert ttl_s == TTL_S
        self.entries[digest] = entry

    async def aclose(self) -> None:
        self.entries.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keystone() -> Keystone:
    return Keystone()


async def user(cache: TokenCache, token: str, *, allow_expired: bool = False) -> str | None:
    found = await cache.get(token, allow_expired=allow_expired)
    return found and found.context.user_id


async def test_a_good_token_is_asked_for_once_until_its_time_is_over(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    assert [await user(cache, "t") for _ in range(3)] == ["t"] * 3
    clock.now_s += TTL_S - 1
    assert await user(cache, "t") == "t"
    assert keystone.asked["t", False] == 1
    clock.now_s += 1
    assert await user(cache, "t") == "t"
    assert keystone.asked["t", False] == 2
    clock.now_s -= 3600  # somebody sets the clock back: the entry would live for ever
    assert await user(cache, "t") == "t"
    assert keystone.asked["t", False] == 3


async def test_a_known_token_is_found_without_a_pause(keystone: Keystone, clock: Clock) -> None:
    """No thread, no other task: whoever has a known token waits for nobody."""
    cache = TokenCache(keystone, TTL_S, Shelf(), clock)
    await cache.get("t")
    with pytest.raises(StopIteration):
        cache.get("t").send(None)


async def test_what_is_not_valid_is_not_remembered(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    keystone.valid = False
    assert [await user(cache, "t") for _ in range(2)] == [None, None]
    keystone.valid = True
    assert await user(cache, "t") == "t"
    assert keystone.asked["t", False] == 3


async def test_trouble_is_not_remembered_and_remembered_tokens_go_on(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    assert await user(cache, "old") == "old"
    keystone.down = True
    with pytest.raises(ServiceUnavailable):
        await cache.get("new")
    assert await user(cache, "old") == "old"
    keystone.down = False
    keystone.nonsense = True
    with pytest.raises(ServiceUnavailable):
        await cache.get("new")
    keystone.nonsense = False
    assert await user(cache, "new") == "new"


async def test_many_at_once_are_one_question(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    keystone.open.clear()
    callers = [asyncio.create_task(user(cache, f"t{number % 2}")) for number in range(2000)]
    await eventually_here(lambda: len(keystone.asked) == 2)
    keystone.open.set()
    assert Counter(await asyncio.gather(*callers)) == {"t0": 1000, "t1": 1000}
    assert keystone.asked == {("t0", False): 1, ("t1", False): 1}


async def test_the_question_outlives_who_asked_it_first(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    keystone.open.clear()
    first = asyncio.create_task(user(cache, "t"))
    await eventually_here(lambda: len(keystone.asked) == 1)
    others = [asyncio.create_task(user(cache, "t")) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    keystone.open.set()
    assert await asyncio.gather(*others) == ["t"] * 10
    assert keystone.asked["t", False] == 1


async def test_one_failure_reaches_all_who_wait(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, None, clock)
    keystone.open.clear()
    keystone.down = True
    callers = [asyncio.create_task(user(cache, "t")) for _ in range(10)]
    await eventually_here(lambda: len(keystone.asked) == 1)
    keystone.open.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * 10
    assert keystone.asked["t", False] == 1


async def test_nobody_waits_for_ever(keystone: Keystone, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_PATIENCE_S", 0.01)
    cache = TokenCache(keystone, TTL_S, None, clock)
    keystone.open.clear()
    with pytest.raises(ServiceUnavailable, match="too long"):
        await cache.get("t")
    keystone.open.set()
    await eventually_here(lambda: not cache._flights)
    assert await user(cache, "t") == "t"
    assert keystone.asked["t", False] == 1
    await cache.aclose()


async def test_a_close_ends_what_is_under_way(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, TTL_S, Shelf(), clock)
    keystone.open.clear()
    caller = asyncio.create_task(user(cache, "t"))
    await eventually_here(lambda: len(keystone.asked) == 1)
    await cache.aclose()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_tokens_that_may_be_late_are_another_question(keystone: Keystone, clock: Clock) -> None:
    cache = TokenCache(keystone, 0, None, clock)
    await cache.get("t")
    await cache.get("t", allow_expired=True)
    assert keystone.asked == {("t", False): 1, ("t", True): 1}


async def test_nothing_is_remembered_where_the_operator_says_so(keystone: Keystone, clock: Clock) -> None:
    shelf = Shelf()
    cache = TokenCache(keystone, 0, shelf, clock)
    assert [await user(cache, "t") for _ in range(3)] == ["t"] * 3
    assert keystone.asked["t", False] == 3
    assert not shelf.entries


async def test_the_longest_unused_tokens_are_forgotten(
    keystone: Keystone, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_MOST_TOKENS", 3)
    cache = TokenCache(keystone, TTL_S, None, clock)
    for token in ("a", "b", "c", "a", "d", "a", "b"):
        await cache.get(token)
    assert [keystone.asked[token, False] for token in "abcd"] == [1, 2, 1, 1]
    monkeypatch.setattr(cache_module, "_MOST_BYTES", 1)
    await cache.get("e")
    assert cache._size_bytes == 0
    assert not cache._remembered


async def test_other_processes_are_told(keystone: Keystone, clock: Clock) -> None:
    shelf = Shelf()
    one, two = (TokenCache(keystone, TTL_S, shelf, clock) for _ in range(2))
    assert await user(one, "t") == "t"
    await eventually_here(lambda: bool(shelf.entries))
    clock.now_s += TTL_S / 2
    assert await user(two, "t") == "t"
    assert keystone.asked["t", False] == 1
    clock.now_s += TTL_S / 2  # since Keystone said it, not since the second process heard of it
    assert await user(two, "t") == "t"
    assert keystone.asked["t", False] == 2


@pytest.mark.parametrize("kept", [b"", b"nonsense", b'{"token": {}}'])
async def test_what_others_kept_is_looked_at_closely(keystone: Keystone, clock: Clock, kept: bytes) -> None:
    shelf = Shelf()
    shelf.entries[hashlib.sha256(b"t").digest()] = Entry(clock(), kept)
    assert await user(TokenCache(keystone, TTL_S, shelf, clock), "t") == "t"
    assert keystone.asked["t", False] == 1


@pytest.mark.parametrize(("age_s", "counts"), [(0, True), (TTL_S, False), (-30, True), (-3600, False)])
async def test_what_others_kept_has_its_time(keystone: Keystone, clock: Clock, age_s: float, counts: bool) -> None:
    shelf = Shelf()
    shelf.entries[hashlib.sha256(b"t").digest()] = Entry(clock() - age_s, answer(user={"id": "kept"}))
    assert await user(TokenCache(keystone, TTL_S, shelf, clock), "t") == ("kept" if counts else "t")
