"""Options that stand behind an action of the database and belong before it."""

import pytest
from click.testing import CliRunner

from blick.cli.programs import parser


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("blick db purge --config-file /x.conf", "blick db --config-file …"),
        ("blick db sync --data x", "blick db --data …"),
        ("glance-manage db sync --config-file /x.conf", "glance-manage --config-file …"),
        ("glance-manage db load_metadefs --debug", "glance-manage --debug …"),
    ],
)
def test_are_told_where(words: str, place: str) -> None:
    program, *arguments = words.split()
    refused = CliRunner().invoke(parser(program), arguments, prog_name=program)
    option = place.split()[-2]
    assert refused.exit_code == 2
    assert refused.output.endswith(f"Error: No such option '{option}' here; it stands before the action: {place}\n")


@pytest.mark.parametrize(
    "words", ["blick db sync --nonsense", "glance-manage db sync --data x", "blick db purge --max"]
)
def test_others_are_unknown(words: str) -> None:
    program, *arguments = words.split()
    refused = CliRunner().invoke(parser(program), arguments, prog_name=program)
    assert refused.exit_code == 2
    assert "No such option" in refused.output
    assert "before" not in refused.output
