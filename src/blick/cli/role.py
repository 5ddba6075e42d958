"""`blick role`: who may do what in which project of a standalone service."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from blick.cli.database import database_options, identity_database
from blick.cli.output import format_option, print_record, print_records
from blick.db import identity as directory
from blick.db.engine import Database
from blick.db.identity import Project, Role, User
from blick.identity.embedded.names import checked_name

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def role() -> None:
    """Manage roles and who holds them, in a standalone service.

    admin includes manager, manager includes member, member includes reader. The role admin is admin everywhere,
    on whatever project it is held.
    """


def _holder_options(command: F) -> F:
    command = click.option("--project", required=True, help="On this project (name or id).")(command)
    return click.option("--user", required=True, help="Who (name or id).")(command)


@role.command("list")
@click.option("--user", help="What this user holds (name or id).")
@click.option("--project", help="What is held on this project (name or id).")
@database_options
@format_option
def list_(user: str | None, project: str | None, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """List roles; with --user or --project, who holds which."""
    with identity_database(data, config_files) as database:
        if user is None and project is None:
            records = [{"id": one.id, "name": one.name} for one in database.read_now(directory.list_roles)]
            print_records(records, ("id", "name"), format_name)
            return
        held = database.read_now(
            directory.list_assignments,
            user_id=database.read_now(directory.find_user, user).id if user is not None else None,
            project_id=database.read_now(directory.find_project, project).id if project is not None else None,
        )
    rows = [{"user": one.user.name, "project": one.project.name, "role": one.role.name} for one in held]
    print_records(rows, ("user", "project", "role"), format_name)


@role.command()
@click.argument("name", metavar="ROLE")
@_holder_options
@database_options
def add(name: str, user: str, project: str, data: Path, config_files: tuple[Path, ...]) -> None:
    """Give a user a role on a project."""
    with identity_database(data, config_files) as database:
        who, where, what = _named(database, user, project, name)
        added = database.write_now(directory.add_role, user_id=who.id, project_id=where.id, role_id=what.id)
    verb = "is now" if added else "already was"
    click.echo(f"{who.name} {verb} {what.name} on {where.name}.")


@role.command()
@click.argument("name", metavar="ROLE")
@_holder_options
@database_options
def remove(name: str, user: str, project: str, data: Path, config_files: tuple[Path, ...]) -> None:
    """Take a role on a project from a user; ends the user's log-ins and application credentials there."""
    with identity_database(data, config_files) as database:
        who, where, what = _named(database, user, project, name)
        removed = database.write_now(directory.remove_role, user_id=who.id, project_id=where.id, role_id=what.id)
    verb = "is no longer" if removed else "was not"
    click.echo(f"{who.name} {verb} {what.name} on {where.name}.")


@role.command()
@click.argument("name")
@database_options
@format_option
def create(name: str, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Create a role, for policies of your own. Names of roles are lower case."""
    made = Role(uuid.uuid4().hex, checked_name(name).lower())
    with identity_database(data, config_files) as database:
        database.write_now(directory.insert_role, made)
    print_record({"id": made.id, "name": made.name}, format_name)


@role.command()
@click.argument("name")
@database_options
def delete(name: str, data: Path, config_files: tuple[Path, ...]) -> None:
    """Delete a role (name or id) that nobody holds."""
    with identity_database(data, config_files) as database:
        found = database.read_now(directory.find_role, name)
        database.write_now(directory.delete_role, found.id)
    click.echo(f"Deleted role {found.name}.")


def _named(database: Database, user: str, project: str, role_name: str) -> tuple[User, Project, Role]:
    return (
        database.read_now(directory.find_user, user),
        database.read_now(directory.find_project, project),
        database.read_now(directory.find_role, role_name),
    )
