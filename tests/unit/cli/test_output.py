"""Tables in terminals of every width."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

ID = "0a692bae-72e3-42fd-9bd8-ccf3da3b78d0"
TEXT = "The download broke off after 100 bytes; the server does not tell whether its data is still the same."
PROGRAM = "import sys; from blick.cli.output import {0}; {0}(*eval(sys.argv[1]), 'table')"


def shown(function: str, *arguments: object, columns: int) -> list[str]:
    """What people see of it in a terminal that is so wide."""
    here, there = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "25", "TERM": "dumb"}
    command = [sys.executable, "-c", PROGRAM.format(function), repr(arguments)]
    process = subprocess.Popen(command, stdout=there, env=environment)
    os.close(there)
    told = b""
    try:
        while piece := os.read(here, 1 << 16):
            told += piece
    except OSError:  # Linux says the end of a terminal so
        pass
    os.close(here)
    assert process.wait(60) == 0
    return told.decode().splitlines()


def table(records: Sequence[Mapping[str, object]], columns: int) -> list[str]:
    return shown("print_records", records, tuple(records[0]), columns=columns)


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_ids_stay_whole(columns: int) -> None:
    lines = table([{"id": ID, "project": ID, "image": ID, "status": "failure", "message": TEXT}], columns)
    assert [line for line in lines if line.count(ID) == 3]
    assert len({len(line) for line in lines}) == 1, "a table is as wide everywhere"
    told = [line.split("│")[-2].strip() for line in lines if "│" in line][1:]
    assert " ".join(told) == TEXT


def test_texts_give_way_first() -> None:
    lines = table([{"id": ID, "message": TEXT}], 80)
    assert {len(line) for line in lines} == {80}
    assert [line for line in lines if ID in line]


def test_a_table_that_fits_takes_what_it_needs() -> None:
    assert {len(line) for line in table([{"id": ID, "status": "queued"}], 80)} == {len(ID) + len("queued") + 7}


def test_one_record() -> None:
    lines = shown("print_record", {"id": ID, "message": TEXT, "enabled": True}, columns=60)
    assert {len(line) for line in lines} == {60}
    assert [line for line in lines if "enabled" in line and "yes" in line]


def test_a_long_uri_is_folded() -> None:
    uri = f"https://images.example.com/{'x' * 300}"
    lines = shown("print_record", {"id": ID, "source": uri}, columns=70)
    assert {len(line) for line in lines} == {70}
    assert [line for line in lines if ID in line]
    assert uri in "".join(line.split("│")[2].strip() for line in lines if "│" in line)
