"""Which URLs lead to which driver."""

import importlib.util
from typing import Any

import pytest

from blick.conf.settings import DatabaseSettings
from blick.db.connecting import make_engines
from blick.model.errors import StartRefused


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite://", "pysqlite"),
        ("sqlite+aiosqlite:///x", "pysqlite"),
        ("mysql+pymysql://u:p@h/glance?charset=utf8", "pymysql"),
        ("mysql://u:p@h/glance", "pymysql"),
        ("mariadb://u:p@h/glance", "pymysql"),
        ("mariadb+mariadbconnector://u:p@h/glance", "pymysql"),
        ("mysql+mysqldb://u:p@h/glance", "pymysql"),
        ("mysql+aiomysql://u:p@h/glance", "pymysql"),
        ("postgresql://u:p@h/glance", "psycopg"),
        ("postgres://u:p@h/glance", "psycopg"),
        ("postgresql+psycopg2://u:p@h/glance", "psycopg"),
        ("postgresql+asyncpg://u:p@h/glance", "psycopg"),
    ],
)
def test_operators_urls_work_with_the_driver_that_is_there(url: str, driver: str) -> None:
    engine = make_engines(DatabaseSettings(url)).writing
    assert engine.dialect.driver == driver
    if driver != "pysqlite":
        assert engine.url.host == "h"
        assert engine.url.password == "p"
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://u:secret@h/x", "not with oracle"),
        ("nothing", "URL"),
        ("mysql+pymysql://u:secret@h:port/x", "URL"),
        ("", "URL"),
    ],
)
def test_what_is_no_database_of_ours_is_refused(url: str, words: str) -> None:
    with pytest.raises(StartRefused, match=words) as refused:
        make_engines(DatabaseSettings(url))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("url", "extra"), [("mysql://h/x", r"\[mysql\]"), ("postgresql://h/x", r"\[postgresql\]")])
def test_a_missing_driver_names_what_to_install(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    find = importlib.util.find_spec
    drivers = ("pymysql", "MySQLdb", "psycopg", "psycopg2")

    def find_others(name: str, *rest: Any) -> Any:
        return None if name in drivers else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    with pytest.raises(StartRefused, match=extra):
        make_engines(DatabaseSettings(url))
