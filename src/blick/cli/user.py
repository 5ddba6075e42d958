"""`blick user`: the accounts of a standalone service."""

import time
import uuid
from pathlib import Path
from typing import IO, Any

import click

from blick.cli.database import database_options, identity_database
from blick.cli.output import format_option, print_record, print_records
from blick.db import identity as directory
from blick.db.engine import Database
from blick.db.identity import User
from blick.identity.embedded.names import checked_name
from blick.identity.embedded.passwords import MAX_PASSWORD_BYTES, generate_password, hash_password
from blick.model.errors import Invalid

_PASSWORD_FILE = click.option(
    "--password-file", type=click.File("r"), help="Read the password from a file's first line; - is standard input."
)


@click.group()
def user() -> None:
    """Manage the users of a standalone service."""


@user.command()
@click.argument("name")
@click.option("--project", help="Give a role on this project (name or id).")
@click.option("--role", default="member", show_default=True, help="The role on that project.")
@click.option("--email", help="An address for people.")
@_PASSWORD_FILE
@database_options
@format_option
def create(
    name: str,
    project: str | None,
    role: str,
    email: str | None,
    password_file: IO[str] | None,
    data: Path,
    config_files: tuple[Path, ...],
    format_name: str,
) -> None:
    """Create a user. Without --password-file a password is made up, and printed this once."""
    checked_name(name)
    given = _password(password_file)
    password = given or generate_password()
    account = User(
        uuid.uuid4().hex,
        name,
        hash_password(password),
        enabled=True,
        created_ms=int(time.time() * 1000),
        email=checked_name(email) if email else None,
    )
    with identity_database(data, config_files) as database:
        if project is None:
            database.write_now(directory.insert_user, account)
        else:
            place = database.read_now(directory.find_project, project)
            title = database.read_now(directory.find_role, role)
            database.write_now(directory.insert_user_with_role, account, project_id=place.id, role_id=title.id)
        record = _record(database, account)
    print_record(record if given else {**record, "password": password}, format_name)


@user.command("list")
@click.option("--project", help="Only those with a role on this project (name or id).")
@database_options
@format_option
def list_(project: str | None, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """List users."""
    with identity_database(data, config_files) as database:
        users = database.read_now(directory.list_users)
        if project is not None:
            place = database.read_now(directory.find_project, project)
            held = database.read_now(directory.list_assignments, project_id=place.id)
            members = {one.user.id for one in held}
            users = [one for one in users if one.id in members]
    records = [{"id": one.id, "name": one.name, "enabled": one.enabled, "email": one.email} for one in users]
    print_records(records, ("id", "name", "enabled", "email"), format_name)


@user.command()
@click.argument("name")
@database_options
@format_option
def show(name: str, data: Path, config_files: tuple[Path, ...], format_name: str) -> None:
    """Show a user (name or id) and its roles."""
    with identity_database(data, config_files) as database:
        record = _record(database, database.read_now(directory.find_user, name))
    print_record(record, format_name)


@user.command("set")
@click.argument("name")
@click.option("--enable/--disable", "enabled", default=None, help="Disabling ends every log-in of the user at once.")
@click.option("--email", help="An address for people; empty for none.")
@_PASSWORD_FILE
@click.option("--generate-password", "generate", is_flag=True, help="Make up a new password and print it this once.")
@database_options
@format_option
def set_(
    name: str,
    enabled: bool | None,
    email: str | None,
    password_file: IO[str] | None,
    generate: bool,
    data: Path,
    config_files: tuple[Path, ...],
    format_name: str,
) -> None:
    """Change a user (name or id). A new password ends every log-in with the old one."""
    if generate and password_file:
        raise Invalid("Give either --password-file or --generate-password.")
    password = generate_password() if generate else _password(password_file)
    if email:
        checked_name(email)
    with identity_database(data, config_files) as database:
        account = database.read_now(directory.find_user, name)
        database.write_now(directory.set_user, account.id, enabled=enabled, email=email)
        if password is not None:
            database.write_now(directory.set_password, account.id, hash_password(password))
        record = _record(database, database.read_now(directory.find_user, account.id))
    print_record({**record, "password": password} if generate else record, format_name)


@user.command()
@click.argument("name")
@database_options
def delete(name: str, data: Path, config_files: tuple[Path, ...]) -> None:
    """Delete a user (name or id) with its roles and application credentials. Images stay."""
    with identity_database(data, config_files) as database:
        account = database.read_now(directory.find_user, name)
        database.write_now(directory.delete_user, account.id)
    click.echo(f"Deleted user {account.name}.")


def _record(database: Database, account: User) -> dict[str, Any]:
    held = database.read_now(directory.list_assignments, user_id=account.id)
    return {
        "id": account.id,
        "name": account.name,
        "enabled": account.enabled,
        "email": account.email,
        "roles": [f"{one.role.name} on {one.project.name}" for one in held],
    }


def _password(file: IO[str] | None) -> str | None:
    """The first line of the file. Raises Invalid where there is none, or too much."""
    if file is None:
        return None
    try:
        password = file.readline(MAX_PASSWORD_BYTES + 2).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file.name}: not a text file in {error.encoding}.") from error
    if not password or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise Invalid(f"The password file must begin with a line of 1 to {MAX_PASSWORD_BYTES} bytes.")
    return password
