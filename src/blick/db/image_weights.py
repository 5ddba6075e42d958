"""Where a list had better start: how many rows each filter, and each way to see images, would find.

Engines guess that from statistics, and guess a limit's effect from nothing at all. Counting is better, for it need not
count far: one statement looks at FEW index entries for each candidate and no further.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, false, func, literal_column, select, true

from blick.db.hints import force
from blick.db.image_filters import Filter
from blick.db.image_visibility import EVERYTHING, Wanted, ways
from blick.db.tables import images

# A filter that finds no more rows than this is where a list starts from. One that finds more is checked image by image
# along the list's order: the more it finds, the sooner the page is full.
FEW = 1000
_MOST_CANDIDATES = 8  # of a query with more filters the first ones are looked at


@dataclass(frozen=True, slots=True)
class Weights:
    """`start`: the filter that finds the fewest rows, if those are few; else None.

    `small`: the places of those ways (image_visibility.ways) whose images are few.
    """

    start: Filter | None = None
    small: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be weighed; `ways` none where the list's order makes each way equally good."""

    dialect: str
    filters: tuple[Filter, ...]
    ways: Wanted | None
    os_hidden: bool


def weigh(connection: Connection, question: Question, parameters: dict[str, Any]) -> Weights:
    """At most one statement, whose cost is bounded; none where there is nothing to choose."""
    candidates = _candidates(question)
    statement = _counts(question)
    if statement is None:
        return Weights()
    counts = tuple(connection.execute(statement, parameters).one())
    for_filters, for_ways = counts[: len(candidates)], counts[len(candidates) :]
    fewest = min(for_filters, default=FEW + 1)
    if fewest <= FEW:
        return Weights(candidates[for_filters.index(fewest)])
    return Weights(small=frozenset([place for place, count in enumerate(for_ways) if count <= FEW]))


def _candidates(question: Question) -> tuple[Filter, ...]:
    return tuple([each for each in question.filters if each.indexed][:_MOST_CANDIDATES])


@lru_cache(maxsize=128)
def _counts(question: Question) -> Select[Any] | None:
    listed = (images.c.deleted == false(), images.c.os_hidden == (true() if question.os_hidden else false()))
    counted = []
    for each in _candidates(question):
        rows = select(each.table.c.deleted).where(each.condition(question.dialect))
        if each.table is images:
            rows = rows.where(*listed)
        counted.append(_count(force(rows, each.table, each.index)))
    for way in ways(question.ways) if question.ways is not None else ():
        if way.by_membership or way.condition is None or way.index == EVERYTHING:
            counted.append(literal_column(str(FEW + 1)))
        else:
            counted.append(_count(force(select(images.c.deleted).where(*listed, way.condition), images, way.index)))
    return select(*counted) if counted else None


def _count(rows: Select[Any]) -> Any:
    few = rows.limit(literal_column(str(FEW + 1)))
    return select(func.count()).select_from(few.subquery()).scalar_subquery()
