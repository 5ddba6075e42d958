"""Where the records live."""

from collections.abc import Mapping

from blick.conf.options.option import Option

_DATABASE = (
    Option("sqlite_synchronous", "bool", True, "SQLite synchronous mode"),
    Option("backend", "str", "sqlalchemy", "Layer name; only sqlalchemy existed", keep="no"),
    Option("connection", "str", None, "Database URL", secret=True),
    Option("slave_connection", "str", None, "Read replica URL; never read from, as in Glance", secret=True, keep="no"),
    Option(
        "asyncio_connection",
        "str",
        None,
        "Database URL with an async driver; counts where connection is unset",
        secret=True,
    ),
    Option("asyncio_slave_connection", "str", None, "Read replica URL with an async driver", secret=True, keep="no"),
    Option("synchronous_reader", "bool", True, "Reader causality hint of the old layer", keep="no"),
    Option("mysql_sql_mode", "str", "TRADITIONAL", "SQL mode set on each MySQL session; empty = server default"),
    Option("mysql_wsrep_sync_wait", "int", None, "Galera causality level"),
    Option("connection_recycle_time", "int", 3600, "Age in seconds after which a pooled connection is replaced"),
    Option("max_pool_size", "int", 5, "Connections kept per process"),
    Option("max_retries", "int", 10, "Connect attempts at start (-1 forever)"),
    Option("retry_interval", "int", 10, "Seconds between connect attempts"),
    Option("max_overflow", "int", 50, "Connections allowed above max_pool_size"),
    Option("connection_debug", "int", 0, "SQL log verbosity: 50 logs statements, 100 rows too", minimum=0, maximum=100),
    Option("connection_trace", "bool", False, "Stack traces as SQL comments", keep="no"),
    Option("pool_timeout", "int", None, "Wait for a free connection, seconds"),
    Option("use_db_reconnect", "bool", False, "Retry queries on lost connection"),
    Option("db_retry_interval", "int", 1, "First retry delay, seconds"),
    Option("db_inc_retry_interval", "bool", True, "Grow the delay per retry"),
    Option("db_max_retry_interval", "int", 10, "Largest retry delay"),
    Option("db_max_retries", "int", 20, "Query retries (-1 forever)"),
    Option("connection_parameters", "str", "", "Text appended to connection URL"),
)

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "database": _DATABASE,
}
