"""`blick completion`: what a shell has to know to complete the arguments of our programs."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from blick.cli.programs import PROGRAMS

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option(
    "--program",
    "programs",
    type=click.Choice(list(PROGRAMS)),
    multiple=True,
    help="Only for this program; repeatable. [default: blick and all glance-… programs]",
)
def completion(shell: str, programs: tuple[str, ...]) -> None:
    """Print the script that lets SHELL complete the arguments of blick and of the glance-… programs.

    \b
    bash: eval "$(blick completion bash)"           in ~/.bashrc
    zsh:  eval "$(blick completion zsh)"            in ~/.zshrc, after compinit
    fish: blick completion fish > ~/.config/fish/completions/blick.fish
    """
    click.echo("\n".join(script(shell, program) for program in programs or PROGRAMS))


def script(shell: str, program: str) -> str:
    """The script for one program."""
    kind = get_completion_class(shell)
    assert kind is not None, "one of SHELLS"
    # The parser is asked when somebody completes, by way of this variable.
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    asked: ShellComplete = kind(click.Command(program), {}, program, variable)
    # Not `source()`, which looks what bash this machine has: the script may be for another one.
    return asked.source_template % asked.source_vars()
