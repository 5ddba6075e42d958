"""What holds for every program and every command: completion, manual pages, formats of listings."""

import re
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from click.shell_completion import CompletionItem, get_completion_class
from click.testing import CliRunner

from blick.cli.completion import SHELLS
from blick.cli.main import blick
from blick.cli.manual import manual, page
from blick.cli.programs import PROGRAMS, children, commands, parser

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
COMMANDS = [pytest.param(context, id=context.command_path) for name in PROGRAMS for context in commands(name)]
# Shows records, whatever its name.
SHOWS = {"list", "show", "deletes", "status"}


def options(context: click.Context) -> list[click.Option]:
    return [one for one in context.command.get_params(context) if isinstance(one, click.Option) and not one.hidden]


def test_every_program_of_the_installation_is_known() -> None:
    scripts = tomllib.loads(PROJECT.read_text())["project"]["scripts"]
    assert scripts == {name: f"{module}:main" for name, (module, _) in PROGRAMS.items()}


@pytest.mark.parametrize("context", COMMANDS)
def test_every_command_says_what_it_does(context: click.Context) -> None:
    assert context.command.get_short_help_str(200).endswith((".", "..."))
    for option in options(context):
        assert option.help, f"{option.opts} has no help"


@pytest.mark.parametrize("context", COMMANDS)
def test_every_command_has_short_and_long_help(context: click.Context) -> None:
    assert set(context.help_option_names) == {"-h", "--help"}


@pytest.mark.parametrize("context", COMMANDS)
def test_every_listing_has_three_formats(context: click.Context) -> None:
    if context.command_path.split()[0] != "blick" or context.info_name not in SHOWS:
        return
    [format_] = [one for one in options(context) if "--format" in one.opts]
    assert isinstance(format_.type, click.Choice)
    assert set(format_.type.choices) == {"json", "table", "yaml"}
    assert "-f" in format_.opts


# Completion


def complete(program: str, *words: str) -> list[str]:
    """What a shell is offered for the last of `words`."""
    kind = get_completion_class("bash")
    assert kind is not None
    found: list[CompletionItem] = kind(parser(program), {}, program, "_X").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


def test_commands_options_and_values_are_completed() -> None:
    assert complete("blick", "st") == ["stores", "status"]
    assert complete("blick", "db", "purge_i") == ["purge_images_table"]
    assert complete("blick", "stores", "list", "--format", "j") == ["json"]
    assert complete("glance-manage", "db_v") == ["db_version", "db_version_control"]
    assert complete("glance-control", "api", "sh") == ["shutdown"]
    assert complete("glance-scrubber", "--rest") == ["--restore"]
    assert complete("glance-replicator", "l") == ["livecopy", "load"]


@pytest.mark.parametrize("shell", SHELLS)
def test_one_script_is_for_every_program(shell: str) -> None:
    script = CliRunner().invoke(blick, ["completion", shell]).output
    for name in PROGRAMS:
        assert f"_{name.replace('-', '_').upper()}_COMPLETE={shell}_complete" in script
    one = CliRunner().invoke(blick, ["completion", shell, "--program", "glance-api"]).output
    assert one in script
    assert "BLICK" not in one


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["glance-api", "glance-manage", "glance-scrubber", "glance-replicator"])
def test_the_old_flag_prints_it_too(program: str, shell: str) -> None:
    printed = CliRunner().invoke(parser(program), ["--shell_completion", shell], prog_name=program).output
    assert printed == CliRunner().invoke(blick, ["completion", shell, "--program", program]).output


@pytest.mark.parametrize("shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in SHELLS])
def test_the_shell_takes_the_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(blick, ["completion", shell]).output)
    begin = "autoload -Uz compinit; compinit -u; " if shell == "zsh" else ""
    asked = {
        "bash": "complete -p blick glance-manage",
        "zsh": "print ${_comps[blick]} ${_comps[glance-manage]}",
        "fish": "complete --command blick; complete --command glance-manage",
    }
    done = subprocess.run(
        [shell, "-c", f"{begin}source {script}; {asked[shell]}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_blick_completion" in done.stdout
    assert "_glance_manage_completion" in done.stdout


# Manual pages


def plain(text: str) -> str:
    """The words of a page, as a reader sees them."""
    unescaped = text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
    return re.sub(r"\\\[u([0-9A-F]{4})\]", lambda found: chr(int(found[1], 16)), unescaped)


@pytest.mark.parametrize("context", COMMANDS)
def test_a_page_has_every_option_and_command(context: click.Context) -> None:
    text = plain(page(context))
    for option in options(context):
        for name in (*option.opts, *option.secondary_opts):
            assert name in text
        assert " ".join(str(option.help).split()) in text
    for child in children(context):
        assert f"\\fB{child.info_name}\\fR" in text


def test_there_is_a_page_for_every_command(tmp_path: Path) -> None:
    assert CliRunner().invoke(manual, [str(tmp_path)]).exit_code == 0
    written = {file.name for file in (tmp_path / "man1").iterdir()}
    assert written == {f"{one.id.replace(' ', '-')}.1" for one in COMMANDS if one.id}
    assert {"blick.1", "blick-db-purge.1", "glance-manage.1", "glance-manage-db-purge.1"} <= written


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "man1").write_text("")
    refused = CliRunner().invoke(manual, [str(tmp_path)])
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


@pytest.mark.needs("groff")
def test_pages_are_shown_whole(tmp_path: Path) -> None:
    """By the program behind `man`, with every warning that it has."""
    CliRunner().invoke(manual, [str(tmp_path)])
    for name, context in ((f"{one.id.replace(' ', '-')}.1", one.values[0]) for one in COMMANDS if one.id):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=2000n", str(tmp_path / "man1" / name)],
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b""), name
        shown = done.stdout.decode().replace("−", "-").replace("‐", "-")
        assert isinstance(context, click.Context)
        for option in options(context):
            assert " ".join(str(option.help).split()) in " ".join(shown.split()), name
            for each in (*option.opts, *option.secondary_opts):
                assert each in shown, name
