"""Whoever asks glance-replicator for help, in whatever way, is told what its commands are."""

import click
import pytest
from click.testing import CliRunner

from blick.cli.manual import page
from blick.cli.replicator import glance_replicator, replicate

NAME = "glance-replicator"
COMMANDS = {
    "size": "SERVER", "dump": "SERVER PATH", "load": "SERVER PATH", "livecopy": "FROM TO", "compare": "FROM TO",
}  # fmt: skip


def test_commands_are_those_of_blick_replicate() -> None:
    assert set(COMMANDS) == set(replicate.commands)


@pytest.mark.parametrize("asked", ["--help", "-h", "help"])
def test_help(asked: str) -> None:
    shown = CliRunner().invoke(glance_replicator, [asked], prog_name=NAME)
    assert shown.exit_code == 0
    for name, arguments in COMMANDS.items():
        assert f"  {name} {arguments}: " in shown.output
    assert "  help [COMMAND]: " in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_manual_page() -> None:
    text = page(click.Context(glance_replicator, info_name=NAME))
    for name, arguments in COMMANDS.items():
        assert f"\n{name} {arguments}: " in text
