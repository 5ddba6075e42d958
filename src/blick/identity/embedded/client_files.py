"""What clients need to log in, as files in the data folder: clouds.yaml, openrc and openrc-admin, mode 0600."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blick.identity.embedded.bootstrap import FirstUsers
from blick.identity.embedded.names import DOMAIN_ID, REGION

_MODE = 0o600


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """Where the files are; None for one that is not there."""

    clouds_yaml: Path | None
    openrc: Path | None
    openrc_admin: Path | None


def write_client_files(data_dir: Path, auth_url: str, first_users: FirstUsers | None) -> ClientFiles:
    """Write the files with the first users' passwords; without them only follow a changed `auth_url`.

    A file that was there before is touched in two cases only: it is still as written here (passwords may have been
    replaced by hand), then its address is brought up to date; or there are new first users, then what does not come
    from here is kept beside it as `<name>.before`. Each file changes at once or not at all.
    Raises OSError where the folder cannot be written.
    """
    demo = ("demo", first_users.demo_password) if first_users else None
    admin = ("admin", first_users.admin_password) if first_users else None

    def place(
        name: str, render: Callable[[str, list[str]], str], accounts: list[tuple[str, str] | None]
    ) -> Path | None:
        passwords = [account[1] for account in accounts if account]
        return _place(data_dir / name, render, auth_url, passwords or None)

    return ClientFiles(
        clouds_yaml=place("clouds.yaml", _clouds_yaml, [demo, admin]),
        openrc=place("openrc", lambda url, secrets: _openrc("demo", url, secrets), [demo]),
        openrc_admin=place("openrc-admin", lambda url, secrets: _openrc("admin", url, secrets), [admin]),
    )


def _place(
    path: Path, render: Callable[[str, list[str]], str], auth_url: str, passwords: list[str] | None
) -> Path | None:
    present = _read(path)
    ours = _values(present, render) if present is not None else None
    if passwords is not None:
        if present is not None and ours is None:
            path.replace(path.with_name(path.name + ".before"))
        _write(path, render(auth_url, passwords))
    elif ours is not None and ours[0] != auth_url:
        _write(path, render(auth_url, ours[1]))
    return path if present is not None or passwords is not None else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _values(text: str, render: Callable[[str, list[str]], str]) -> tuple[str, list[str]] | None:
    """Address and passwords of a file that was rendered here; None for any other file."""
    try:
        urls = _found(text, "auth_url: ", json.loads) or _found(text, "export OS_AUTH_URL=", _unquoted)
        passwords = _found(text, "password: ", json.loads) or _found(text, "export OS_PASSWORD=", _unquoted)
    except ValueError:
        return None
    if not urls or not passwords:
        return None
    try:
        rendered = render(urls[0], passwords)
    except IndexError:
        return None
    return (urls[0], passwords) if rendered == text else None


def _found(text: str, label: str, decode: Callable[[str], object]) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [str(decode(line.removeprefix(label))) for line in lines if line.startswith(label)]


def _unquoted(text: str) -> str:
    return "".join(shlex.split(text))


def _write(path: Path, text: str) -> None:
    """In one step: a reader sees the old file or the new one, and nobody else may read either."""
    # Always the same name, so that the next start replaces what a killed one left: it has passwords in it.
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _clouds_yaml(auth_url: str, passwords: list[str]) -> str:
    lines = [
        "# Written by blick serve, which keeps auth_url up to date. export OS_CLIENT_CONFIG_FILE=<this file>",
        "clouds:",
    ]
    for cloud, name, password in (("blick", "demo", passwords[0]), ("blick-admin", "admin", passwords[1])):
        lines += [
            f"  {cloud}:",
            "    auth:",
            f"      auth_url: {json.dumps(auth_url)}",
            f"      username: {name}",
            f"      password: {json.dumps(password)}",
            f"      project_name: {name}",
            f"      user_domain_id: {DOMAIN_ID}",
            f"      project_domain_id: {DOMAIN_ID}",
            f"    region_name: {REGION}",
            "    interface: public",
            "    identity_api_version: 3",
        ]
    return "\n".join(lines) + "\n"


def _openrc(name: str, auth_url: str, passwords: list[str]) -> str:
    values = {
        "OS_AUTH_URL": auth_url,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_IMAGE_API_VERSION": "2",
        "OS_REGION_NAME": REGION,
        "OS_USERNAME": name,
        "OS_PASSWORD": passwords[0],
        "OS_USER_DOMAIN_ID": DOMAIN_ID,
        "OS_PROJECT_NAME": name,
        "OS_PROJECT_DOMAIN_ID": DOMAIN_ID,
        "OS_INTERFACE": "public",
    }
    lines = [f"export {key}={shlex.quote(value)}" for key, value in values.items()]
    return "\n".join(["# Written by blick serve, which keeps OS_AUTH_URL up to date. Use: . openrc", *lines]) + "\n"
