"""What a page of the list costs on a catalogue of some size, in rows read: never the whole table."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from blick.conf.settings import DatabaseSettings
from blick.db import image_pages
from blick.db.engine import open_database
from blick.db.image_visibility import Scope
from blick.db.image_weights import FEW
from blick.db.upgrade import ensure_current
from blick.model.image import Image
from blick.model.image_query import parse
from blick.model.page import PageLimits
from tests.bench.catalogue import Cast, Catalogue
from tests.bench.loading import load
from tests.support.databases import ENGINES, Databases
from tests.support.reads import rows_read

IMAGES = 20_000
CAST = Cast()
ORDINARY, NEWCOMER, MEMBER, OWNER = [
    Scope(project, is_admin=False) for project in (CAST.ordinary, CAST.newcomer, CAST.member, CAST.owner)
]
ADMIN = Scope("admin", is_admin=True)
PEOPLE = {"ordinary": ORDINARY, "newcomer": NEWCOMER, "member": MEMBER, "owner": OWNER, "admin": ADMIN}

# A page of 25 images: they, 14 rows of children each, and as many rows again for each way that they are found by.
PAGE = 1000
# Where something is weighed or searched, a few times what counts as few comes on top; the table has 22,000 rows.
SEARCH = 10 * FEW

USUAL = ("", "visibility=public", "visibility=shared", "visibility=all", "os_hidden=true")
SEARCHES = (
    "build=build-7", "os_distro=debian", "build=none", "tag=batch-7", "tag=kind-3", "tag=kind-3&tag=batch-7",
    "name=nightly-7", "name=ubuntu-24.04", "name=nothing", "status=queued", "status=active",
    "sort=size:desc", "sort=size:asc", "sort=name:asc", "sort=name:desc", "sort=updated_at:desc",
    f"owner={CAST.ordinary}", "checksum=none", "id=none", "visibility=private", "visibility=community",
)  # fmt: skip


@pytest.fixture(scope="module", params=ENGINES)
def catalogue(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A filled database; read only."""
    url = databases.untouched(request.param, tmp_path_factory.mktemp("catalogue"))
    opened = open_database(DatabaseSettings(connection=url, sqlite_synchronous=False))
    ensure_current(opened)
    load(url, Catalogue(IMAGES).rows())
    with opened.engine.connect() as connection:
        yield connection
    opened.close()


def page(connection: Connection, scope: Scope, query: str) -> list[Image]:
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]
    return image_pages.page(connection, parse(pairs, PageLimits()), scope)


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("query", USUAL)
def test_a_page_in_the_usual_order(catalogue: Connection, who: str, query: str) -> None:
    limit = PAGE if who != "member" else PAGE + 4 * 600  # all memberships are looked at
    assert rows_read(catalogue, lambda: page(catalogue, PEOPLE[who], query)) <= limit


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("query", SEARCHES)
def test_a_search(catalogue: Connection, who: str, query: str) -> None:
    if catalogue.dialect.name == "sqlite" and who == "owner" and query.startswith("sort="):
        pytest.skip("SQLite cannot be told to walk an index: it sorts a project's images, however many they are")
    assert rows_read(catalogue, lambda: page(catalogue, PEOPLE[who], query)) <= SEARCH


@pytest.mark.parametrize(
    ("who", "sort"),
    [
        ("owner", "created_at:desc"), ("admin", "created_at:desc"), ("admin", "size:desc"), ("admin", "name:asc"),
        ("admin", "updated_at:asc"),
    ],
)  # fmt: skip
def test_page_20_costs_what_page_2_costs(catalogue: Connection, who: str, sort: str) -> None:
    scope, costs = PEOPLE[who], []
    query = found = f"limit=50&sort={sort}"
    for _ in range(20):
        costs.append(rows_read(catalogue, lambda: page(catalogue, scope, found)))  # noqa: B023 - called at once
        found = f"{query}&marker={page(catalogue, scope, found)[-1].id}"
    assert max(costs[1:]) <= 1.3 * costs[1]
