"""The namespaces that the benchmark of metadata definitions fills both services with."""

import json
from collections import Counter

from tests.bench.metadef_metrics import COLUMNS, METRICS, TARGETS, rows


def test_rows_fit_their_tables_and_hold_what_the_page_says() -> None:
    counts: Counter[str] = Counter()
    keys = set()
    for table, several in rows():
        counts[table] += len(several)
        for row in several:
            assert len(row) == len(COLUMNS[table])
            assert not any(mark in str(value) for value in row for mark in "\t\n\\")
            keys.add((table, row[:2] if table == "metadef_namespace_resource_types" else row[0]))
            if table in ("metadef_properties", "metadef_objects"):
                assert json.loads(str(row[COLUMNS[table].index("json_schema")]))
    assert (counts["metadef_namespaces"], counts["metadef_properties"]) == (1000, 50_000)
    assert (counts["metadef_objects"], counts["metadef_tags"]) == (4000, 3000)
    assert counts["metadef_namespace_resource_types"] == 2000
    assert len(keys) == counts.total()


def test_every_list_has_its_target() -> None:
    assert len(TARGETS) == sum(metric.name.startswith(("list", "walk")) for metric in METRICS)
