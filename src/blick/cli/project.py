"""`blick project`: what images belong to, in a standalone service."""

import time
import uuid
from pathlib import Path
from typing import Any

import click

from blick.cli.database import database_options, identity_database
from blick.cli.output import format_option, print_record, print_records
from blick.db import identity as directory
from blick.db.engine import Database
from blick.db.identity import Project
from blick.identity.embedded.names import checked_name, checked_text


@click.group()
def project() -> None:
    """Manage the projects of a standalone service."""


@project.command()
@click.argument("name")
@click.option("--description", default="", help="A text for people.")
@database_options
@format_option
def create(name: str, description: str, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Create a project."""
    made = Project(
        uuid.uuid4().hex,
        checked_name(name),
        enabled=True,
        created_ms=int(time.time() * 1000),
        description=checked_text(description),
    )
    with identity_database(data, config_files) as database:
        database.write_now(directory.insert_project, made)
        record = _record(database, made)
    print_record(record, format_name)


@project.command("list")
@database_options
@format_option
def list_(data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """List projects."""
    with identity_database(data, config_files) as database:
        projects = database.read_now(directory.list_projects)
    records = [
        {"id": one.id, "name": one.name, "enabled": one.enabled, "description": one.description} for one in projects
    ]
    print_records(records, ("id", "name", "enabled", "description"), format_name)


@project.command()
@click.argument("name")
@database_options
@format_option
def show(name: str, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Show a project (name or id) and who has roles on it."""
    with identity_database(data, config_files) as database:
        record = _record(database, database.read_now(directory.find_project, name))
    print_record(record, format_name)


@project.command("set")
@click.argument("name")
@click.option("--name", "new_name", help="A new name.")
@click.option("--description", help="A text for people.")
@click.option("--enable/--disable", "enabled", default=None, help="Nobody can work in a disabled project.")
@database_options
@format_option
def set_(
    name: str,
    new_name: str | None,
    description: str | None,
    enabled: bool | None,
    data: Path,
    config_files: tuple[Path, ...],
    format_name: str,
) -> None:
    """Change a project (name or id)."""
    with identity_database(data, config_files) as database:
        found = database.read_now(directory.find_project, name)
        database.write_now(
            directory.set_project,
            found.id,
            enabled=enabled,
            description=None if description is None else checked_text(description),
            name=None if new_name is None else checked_name(new_name),
        )
        record = _record(database, database.read_now(directory.find_project, found.id))
    print_record(record, format_name)


@project.command()
@click.argument("name")
@database_options
def delete(name: str, data: Path, config_files: tuple[Path, ...]) -> None:
    """Delete a project (name or id) with all roles on it. Its images stay; only admins can reach them then."""
    with identity_database(data, config_files) as database:
        found = database.read_now(directory.find_project, name)
        database.write_now(directory.delete_project, found.id)
    click.echo(f"Deleted project {found.name}.")


def _record(database: Database, shown: Project) -> dict[str, Any]:
    held = database.read_now(directory.list_assignments, project_id=shown.id)
    return {
        "id": shown.id,
        "name": shown.name,
        "enabled": shown.enabled,
        "description": shown.description,
        "users": [f"{one.user.name} ({one.role.name})" for one in held],
    }
