"""What an error of a driver means: try again, wait for the database, or blame the value that was to be stored.

Codes are those of MySQL, MariaDB and Galera; SQLSTATEs are PostgreSQL's.
"""

import sqlite3
from enum import Enum

from sqlalchemy.exc import DataError, DBAPIError, OperationalError


class Fault(Enum):
    """The kinds of trouble that are handled; the last is a fault of ours."""

    CONFLICT = "another transaction was in the way: this one is undone as a whole and may be tried again"
    LOST = "the server went away, or does not want this connection any more: another connection may do"
    REFUSED = "the database cannot do it now: no room, no rights, a disk that fails"
    UNFIT = "a value that the database has no place for"
    OTHER = "anything else"


_MYSQL: dict[int, Fault] = {
    1020: Fault.CONFLICT,  # record has changed since last read (MariaDB's snapshot isolation)
    1205: Fault.CONFLICT,  # lock wait timeout
    1213: Fault.CONFLICT,  # deadlock; Galera's certification failure as well
    3101: Fault.CONFLICT,  # certification failure of Group Replication
    # Too many connections; "WSREP has not yet prepared node for application use"; shutting down, connection killed;
    # the network; read-only, because the node is a replica by now; what the client notices itself.
    **dict.fromkeys((1040, 1203, 1226, 1047, 1053, 1077, 1079, 1927), Fault.LOST),
    **dict.fromkeys((1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184), Fault.LOST),
    **dict.fromkeys((1290, 1792, 1836), Fault.LOST),
    **dict.fromkeys((2002, 2003, 2005, 2006, 2013, 2014, 2045, 2055, 4031), Fault.LOST),
    # Out of range, too long; characters that the column's character set lacks.
    **dict.fromkeys((1264, 1406, 1267, 1300, 1366, 1977, 3988), Fault.UNFIT),
}
# By the longest beginning that fits. 08: connection; 22: data; 53: resources; 57P: shutting down, starting, crashed.
_POSTGRESQL: dict[str, Fault] = {
    "40001": Fault.CONFLICT,  # serialization failure
    "40P01": Fault.CONFLICT,  # deadlock
    "55P03": Fault.CONFLICT,  # lock timeout
    "25006": Fault.LOST,  # read-only: a standby by now
    "08": Fault.LOST,
    "22": Fault.UNFIT,
    "53300": Fault.LOST,  # too many connections
    "53": Fault.REFUSED,
    "57P": Fault.LOST,
}


def fault_of(error: DBAPIError) -> Fault:
    """Which kind of trouble this is."""
    original = error.orig
    if isinstance(original, sqlite3.OperationalError) and ("locked" in str(original) or "busy" in str(original)):
        return Fault.CONFLICT
    if type(original) is sqlite3.DatabaseError:  # the file is damaged, or something else altogether
        return Fault.REFUSED
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    known = _by_number(original) or (_by_state(state) if isinstance(state, str) else None)
    if known is not None:
        return known
    if error.connection_invalidated:
        return Fault.LOST
    if isinstance(error, DataError):
        return Fault.UNFIT
    if not isinstance(error, OperationalError):
        return Fault.OTHER
    has_code = state is not None or _number(original) is not None or isinstance(original, sqlite3.Error)
    return Fault.REFUSED if has_code else _unreachable(str(original))


def _unreachable(text: str) -> Fault:
    """PostgreSQL's client has no code for why it got no connection. FATAL is the server's word: it is there."""
    soon = any(word in text for word in ("starting up", "shutting down", "too many", "remaining connection slots"))
    return Fault.LOST if soon or "FATAL:" not in text else Fault.REFUSED


def reason_of(error: DBAPIError) -> str:
    """What the driver said, in its own words and on one line; without the statement and its values."""
    said: object = error.orig
    if error.orig is not None and _number(error.orig) is not None:
        said = error.orig.args[-1]
    return " ".join(str(said).split()).rstrip(".")


def _number(original: BaseException | None) -> int | None:
    first = original.args[0] if original is not None and original.args else None
    return first if isinstance(first, int) else None


def _by_number(original: BaseException | None) -> Fault | None:
    number = _number(original)
    return None if number is None else _MYSQL.get(number)


def _by_state(state: str) -> Fault | None:
    beginnings = (state[:length] for length in (5, 3, 2))
    return next((_POSTGRESQL[beginning] for beginning in beginnings if beginning in _POSTGRESQL), None)
