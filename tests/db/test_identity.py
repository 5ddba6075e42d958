"""Users, projects, roles, credentials, keys, revocations and failure counts, on a real database."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blick.conf.settings import DatabaseSettings
from blick.db import identity as directory
from blick.db import identity_tables, identity_tokens
from blick.db.engine import Database, open_database
from blick.db.identity import ApplicationCredential, Project, Role, User
from blick.db.identity_tokens import FailureRule, SigningKey
from blick.identity.embedded.bootstrap import FirstUsers, bootstrap
from blick.model.errors import Conflict, NotFound

NOW_MS = 1_800_000_000_000
ANN = User("ann-id", "ann", "hash", enabled=True, created_ms=NOW_MS, email="ann@example.org")
BOB = User("bob-id", "bob", "hash", enabled=True, created_ms=NOW_MS)
LAB = Project("lab-id", "lab", enabled=True, created_ms=NOW_MS, description="for trying")
ROLES = [Role(f"{name}-id", name) for name in ("admin", "manager", "member", "reader", "service")]
CREDENTIAL = ApplicationCredential("cred-id", "ann-id", "lab-id", "ci", "hash", ("reader-id",), NOW_MS)
RULE = FailureRule(free=2, first_ms=1000, cap_ms=8000, forget_ms=60_000)


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    opened = open_database(DatabaseSettings(connection=database_url, sqlite_synchronous=False))
    yield opened
    opened.close()


@pytest.fixture
def database(empty: Database) -> Database:
    """Ann is member of lab; bob is nobody."""
    empty.write_now(directory.insert_first, ROLES, [(ANN, LAB, "member")], lambda: None)
    empty.write_now(directory.insert_user, BOB)
    return empty


def _roles(database: Database, user_id: str = "ann-id") -> list[str]:
    subject = database.read_now(
        identity_tokens.subject, database.read_now(directory.find_user, user_id), project_id="lab-id", now_ms=NOW_MS
    )
    return [role.name for role in subject.roles] if subject else []


def test_tables_are_recognized(tmp_path: Path, database: Database) -> None:
    assert database.read_now(directory.tables_exist)
    other = open_database(DatabaseSettings(connection=f"sqlite:///{tmp_path}/other.sqlite3"))
    assert not other.read_now(directory.tables_exist)
    other.close()


def test_records_come_back_as_they_went_in(database: Database) -> None:
    assert database.read_now(directory.user, "ann-id") == ANN
    assert database.read_now(directory.user_named, "bob") == BOB
    assert database.read_now(directory.find_user, "ann") == ANN
    assert database.read_now(directory.project, "lab-id") == LAB
    assert database.read_now(directory.find_project, "lab") == LAB
    assert database.read_now(directory.list_users) == [ANN, BOB]
    assert database.read_now(directory.list_roles) == ROLES
    assert database.read_now(directory.find_role, "READER") == ROLES[3]


def test_names_are_taken_once_and_differ_by_case(database: Database) -> None:
    with pytest.raises(Conflict):
        database.write_now(directory.insert_user, replace(ANN, id="other"))
    with pytest.raises(Conflict):
        database.write_now(directory.insert_project, replace(LAB, id="other"))
    with pytest.raises(Conflict):
        database.write_now(directory.insert_role, Role("other", "admin"))
    database.write_now(directory.insert_user, replace(ANN, id="other", name="Ann"))
    assert database.read_now(directory.find_user, "Ann").id == "other"


def test_a_user_whose_name_is_taken_leaves_no_role_behind(database: Database) -> None:
    with pytest.raises(Conflict):
        database.write_now(
            directory.insert_user_with_role, replace(ANN, id="x"), project_id="lab-id", role_id="admin-id"
        )
    assert len(database.read_now(directory.list_assignments)) == 1


@pytest.mark.parametrize("name", ["ghost", ""])
def test_what_is_not_there_is_not_found(database: Database, name: str) -> None:
    for find in (directory.find_user, directory.find_project, directory.find_role):
        with pytest.raises(NotFound):
            database.read_now(find, name)
    changes = (
        directory.delete_user,
        directory.delete_project,
        directory.delete_role,
        directory.delete_application_credential,
        directory.revoke_tokens,
    )
    for change in changes:
        with pytest.raises(NotFound):
            database.write_now(change, name)
    with pytest.raises(NotFound):
        database.write_now(directory.set_password, name, "hash")
    with pytest.raises(NotFound):
        database.write_now(directory.set_project, name, enabled=False)


def test_disabling_and_a_new_password_raise_the_generation(database: Database) -> None:
    database.write_now(directory.set_user, "ann-id", email="")
    assert database.read_now(directory.find_user, "ann") == replace(ANN, email=None)
    database.write_now(directory.set_user, "ann-id", enabled=False)
    database.write_now(directory.set_user, "ann-id", enabled=True)
    assert database.read_now(directory.find_user, "ann").generation == 1
    database.write_now(directory.set_password, "ann-id", "other hash")
    changed = database.read_now(directory.find_user, "ann")
    assert (changed.generation, changed.password_hash, changed.enabled) == (2, "other hash", True)


def test_a_project_is_changed_and_deleted_with_what_hangs_on_it(database: Database) -> None:
    database.write_now(directory.insert_project, replace(LAB, id="b", name="barn"))
    with pytest.raises(Conflict):
        database.write_now(directory.set_project, "lab-id", name="barn")
    database.write_now(directory.set_project, "lab-id", name="shed", description="", enabled=False)
    assert database.read_now(directory.find_project, "shed") == Project("lab-id", "shed", False, NOW_MS, "")
    database.write_now(directory.insert_application_credential, CREDENTIAL)
    database.write_now(directory.delete_project, "lab-id")
    assert database.read_now(directory.list_assignments) == []
    assert database.read_now(directory.application_credential, "cred-id") is None


def test_a_user_is_deleted_with_what_hangs_on_it(database: Database) -> None:
    database.write_now(directory.insert_application_credential, CREDENTIAL)
    database.write_now(directory.delete_user, "ann-id")
    assert database.read_now(directory.list_users) == [BOB]
    assert database.read_now(directory.list_assignments) == []
    assert database.read_now(directory.application_credentials_of, "ann-id") == []


@pytest.mark.parametrize(
    ("given", "effective"),
    [
        ("admin", ["admin", "manager", "member", "reader"]),
        ("manager", ["manager", "member", "reader"]),
        ("member", ["member", "reader"]),
        ("reader", ["reader"]),
        ("service", ["service"]),
    ],
)
def test_roles_bring_what_they_imply(database: Database, given: str, effective: list[str]) -> None:
    assert database.write_now(directory.add_role, user_id="bob-id", project_id="lab-id", role_id=f"{given}-id")
    assert not database.write_now(directory.add_role, user_id="bob-id", project_id="lab-id", role_id=f"{given}-id")
    assert _roles(database, "bob-id") == effective


def test_a_role_taken_back_takes_tokens_and_credentials_with_it(database: Database) -> None:
    database.write_now(directory.insert_application_credential, CREDENTIAL)
    taken = {"user_id": "ann-id", "project_id": "lab-id", "role_id": "member-id"}
    assert database.write_now(directory.remove_role, **taken)
    assert not database.write_now(directory.remove_role, **taken)
    assert _roles(database) == []
    assert database.read_now(directory.find_user, "ann").generation == 1
    assert database.read_now(directory.application_credential, "cred-id") is None


def test_a_held_role_is_not_deleted(database: Database) -> None:
    with pytest.raises(Conflict):
        database.write_now(directory.delete_role, "member-id")
    database.write_now(directory.delete_role, "service-id")
    assert "service" not in [role.name for role in database.read_now(directory.list_roles)]


def test_assignments_are_listed_by_user_project_and_role(database: Database) -> None:
    database.write_now(directory.add_role, user_id="bob-id", project_id="lab-id", role_id="admin-id")
    everything = database.read_now(directory.list_assignments)
    assert [(one.user.name, one.project.name, one.role.name) for one in everything] == [
        ("ann", "lab", "member"),
        ("bob", "lab", "admin"),
    ]
    assert database.read_now(directory.list_assignments, user_id="bob-id", role_id="member-id") == []
    assert database.read_now(directory.list_assignments, project_id="lab-id", role_id="admin-id") == everything[1:]
    assert database.read_now(directory.projects_of, "ann-id") == [LAB]


def test_application_credentials_have_one_name_per_user(database: Database) -> None:
    database.write_now(directory.insert_application_credential, CREDENTIAL)
    with pytest.raises(Conflict):
        database.write_now(directory.insert_application_credential, replace(CREDENTIAL, id="other"))
    of_bob = replace(CREDENTIAL, id="z", user_id="bob-id", role_ids=("admin-id", "reader-id"))
    database.write_now(directory.insert_application_credential, of_bob)
    assert database.read_now(directory.application_credentials_of, "bob-id") == [of_bob]
    assert database.read_now(directory.application_credential, "cred-id") == CREDENTIAL
    assert database.read_now(directory.application_credentials_of, "ann-id", name="ci") == [CREDENTIAL]
    assert database.read_now(directory.application_credentials_of, "ann-id", name="other") == []


def test_a_credential_gives_its_roles_only_and_ends(database: Database) -> None:
    ends = replace(CREDENTIAL, expires_ms=NOW_MS + 10)
    database.write_now(directory.insert_application_credential, ends)

    def roles(**changes: object) -> list[str] | None:
        arguments: dict[str, object] = {
            "project_id": "lab-id",
            "application_credential_id": "cred-id",
            "now_ms": NOW_MS,
            **changes,
        }
        found = database.read_now(identity_tokens.subject, ANN, **arguments)  # type: ignore[arg-type]
        return None if found is None else [role.name for role in found.roles]

    assert roles() == ["reader"]
    assert roles(now_ms=NOW_MS + 9) == ["reader"]
    assert roles(now_ms=NOW_MS + 10) is None
    assert roles(application_credential_id="ghost") is None
    assert roles(project_id="ghost") is None


def test_a_token_stands_for_nobody_once_anything_of_it_is_void(database: Database) -> None:
    def holds(**changes: object) -> bool:
        claims: dict[str, object] = {
            "user_id": "ann-id",
            "generation": 0,
            "project_id": "lab-id",
            "application_credential_id": None,
            "audit_id": "audit",
            "now_ms": NOW_MS,
            **changes,
        }
        return database.read_now(identity_tokens.token_subject, **claims) is not None  # type: ignore[arg-type]

    assert holds()
    assert holds(project_id=None)
    assert not holds(generation=1)
    assert not holds(user_id="ghost")
    assert not holds(project_id="ghost")
    assert not holds(user_id="bob-id")
    database.write_now(directory.set_project, "lab-id", enabled=False)
    assert not holds()
    assert holds(project_id=None)
    database.write_now(identity_tokens.revoke_token, audit_id="audit", expires_ms=NOW_MS + 1, now_ms=NOW_MS)
    database.write_now(identity_tokens.revoke_token, audit_id="audit", expires_ms=NOW_MS + 1, now_ms=NOW_MS)
    assert not holds(project_id=None)
    assert holds(project_id=None, audit_id="other")


def test_revocations_of_expired_tokens_are_dropped(database: Database) -> None:
    database.write_now(identity_tokens.revoke_token, audit_id="old", expires_ms=NOW_MS, now_ms=NOW_MS)
    database.write_now(identity_tokens.revoke_token, audit_id="new", expires_ms=NOW_MS + 9, now_ms=NOW_MS + 5)
    with database.engine.connect() as connection:
        kept = connection.execute(identity_tables.revocations.select()).all()
    assert [row.audit_id for row in kept] == ["new"]


def test_keys_are_renewed_and_dropped_when_no_token_needs_them(empty: Database) -> None:
    def renew(secret: str, at_ms: int) -> list[str]:
        key = SigningKey(secret, at_ms)
        empty.write_now(identity_tokens.renew_signing_key, key, max_age_ms=1000, token_ttl_ms=100)
        return [known.secret for known in empty.read_now(identity_tokens.signing_keys)]

    assert renew("one", 0) == ["one"]
    assert renew("unused", 1000) == ["one"]
    assert renew("two", 1001) == ["two", "one"]
    assert renew("unused", 1101) == ["two", "one"]
    assert renew("unused", 1102) == ["two"]


def test_failures_are_counted_slow_down_and_are_forgotten(database: Database) -> None:
    def fail(at_ms: int) -> tuple[int, int]:
        database.write_now(identity_tokens.record_failures, [("s", RULE)], now_ms=at_ms)
        count = database.read_now(identity_tokens.failure_counts, ["s", "other"])["s"]
        return count.failures, count.blocked_until_ms - at_ms

    assert [fail(NOW_MS) for _ in range(4)] == [(1, 0), (2, 0), (3, 1000), (4, 2000)]
    assert fail(NOW_MS + RULE.forget_ms) == (5, 4000)
    assert fail(NOW_MS + 2 * RULE.forget_ms + 1) == (1, 0)
    database.write_now(identity_tokens.forget_failures, "s")
    assert database.read_now(identity_tokens.failure_counts, ["s"]) == {}


def test_failures_counted_side_by_side_are_all_counted(database: Database) -> None:
    def fail() -> None:
        for _ in range(5):
            database.write_now(identity_tokens.record_failures, [("s", RULE)], now_ms=NOW_MS)

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read_now(identity_tokens.failure_counts, ["s"])["s"].failures == 20


def test_bootstrap_makes_first_users_once(empty: Database) -> None:
    published: list[FirstUsers] = []
    first = bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=published.append)
    assert published == [first]
    assert first is not None
    assert first.admin_password != first.demo_password
    assert first.demo_password not in repr(first)
    held = empty.read_now(directory.list_assignments)
    assert [(one.user.name, one.project.name, one.role.name) for one in held] == [
        ("admin", "admin", "admin"),
        ("demo", "demo", "member"),
    ]
    assert len(empty.read_now(identity_tokens.signing_keys)) == 1
    assert bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=published.append) is None
    assert len(empty.read_now(identity_tokens.signing_keys)) == 1


def test_bootstrap_fills_up_a_database_whose_users_are_gone(empty: Database) -> None:
    bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=lambda _: None)
    for user in empty.read_now(directory.list_users):
        empty.write_now(directory.delete_user, user.id)
    projects = empty.read_now(directory.list_projects)
    assert bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=lambda _: None) is not None
    assert empty.read_now(directory.list_projects) == projects
    assert len(empty.read_now(directory.list_assignments)) == 2


def test_no_user_is_made_whose_password_could_not_be_published(empty: Database) -> None:
    def fail(_: FirstUsers) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=fail)
    assert empty.read_now(directory.list_users) == []
    assert bootstrap(empty, token_ttl_s=60, now_ms=NOW_MS, publish=lambda _: None) is not None
