"""Running the service: from nothing (standalone) or from Glance's configuration files."""

import fcntl
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import click

from blick import boot
from blick.cli import processes
from blick.conf import load
from blick.conf.log import set_up_logging
from blick.conf.settings import ServerSettings, Settings
from blick.model.errors import StartRefused


def run_standalone(data_dir: Path, listener: Mapping[str, Any], *, debug: bool) -> None:
    """Serve alone from `data_dir`, which is created; blocks until told to stop. Raises StartRefused."""
    data_dir = data_dir.absolute()
    settings = load.standalone(
        data_dir, listener["host"] or "127.0.0.1", _port(listener, 9292), listener["workers"] or 1
    )
    settings = _with_listener(replace(settings, log=replace(settings.log, debug=debug)), listener)
    set_up_logging(settings.log)
    boot.require_safe_listener(settings)
    _require_certificate(settings.server)
    os.umask(0o077)  # keys and password hashes lie in there: nobody else reads them, whatever the folder's mode
    lock = _take_data_dir(data_dir)
    listening = _listen(settings.server)
    settings = replace(settings, server=replace(settings.server, bind_port=listening.getsockname()[1]))
    boot.prepare(settings)
    url = f"{'https' if settings.server.cert_file else 'http'}://{_reachable(settings.server)}"
    boot.first_start(settings, data_dir, url)
    _greet(data_dir, url)
    with lock:
        processes.serve(settings, listening)


def run_configured(
    files: Sequence[Path], folders: Sequence[Path], listener: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Serve as configuration files say; blocks until told to stop. Raises StartRefused.

    `options` come from the command line and win over the files: names in [DEFAULT] to values.
    """
    found = files or (() if folders else load.default_files("glance-api"))
    if not found and not folders:
        raise StartRefused("No configuration file found. Name one with --config-file.")
    settings = _read(found, folders, listener, options)
    listening = _listen(settings.server)
    boot.prepare(settings)
    boot.ready_identity(settings)
    click.echo(f"Blick serves on {_reachable(settings.server)}", err=True)

    def reread() -> Settings:
        again = _read(found, folders, listener, options)
        boot.prepare(again)
        boot.ready_identity(again)
        return again

    processes.serve(settings, listening, reread)


def _read(
    files: Sequence[Path], folders: Sequence[Path], listener: Mapping[str, Any], options: Mapping[str, Any]
) -> Settings:
    """Settings of configuration files, checked; says what there is to say about them. Raises StartRefused."""
    loaded = load.load(files, folders, os.environ, overrides=options)
    settings = _with_listener(loaded.settings, listener)
    set_up_logging(settings.log)
    for finding in loaded.findings:
        if finding.level == "warning" or finding.kind == "not-yet":
            click.echo(f"warning: {finding}", err=True)
    boot.require_safe_listener(settings)
    _require_certificate(settings.server)
    return settings


def _with_listener(settings: Settings, listener: Mapping[str, Any]) -> Settings:
    names = {"host": "bind_host", "port": "bind_port"}
    given = {
        names.get(name, name): value for name, value in listener.items() if value is not None and value is not False
    }
    return replace(settings, server=replace(settings.server, **given))


def _port(listener: Mapping[str, Any], usual: int) -> int:
    return usual if listener["port"] is None else int(listener["port"])


def _take_data_dir(data_dir: Path) -> TextIO:
    """Create the folder and hold it for this process. Raises StartRefused if it can't be used, or another has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / "lock").open("a+")
    except OSError as error:
        raise StartRefused(f"The data folder {data_dir} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise StartRefused(f"The data folder {data_dir} is in use by {owner}.") from None
    lock.seek(0)
    lock.truncate()
    lock.write(f"process {os.getpid()}\n")
    lock.flush()
    return lock


def _require_certificate(server: ServerSettings) -> None:
    """Load the certificate once, so that a wrong one is told of before anything is made. Raises StartRefused."""
    if server.cert_file is None:
        if server.key_file is not None:
            raise StartRefused(
                "A TLS key is given, but no certificate: --cert-file, or cert_file in the configuration."
            )
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.cert_file, server.key_file)
        if server.ca_file is not None:
            context.load_verify_locations(server.ca_file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        files = ", ".join(str(file) for file in (server.cert_file, server.key_file, server.ca_file) if file)
        raise StartRefused(f"TLS cannot be set up from {files}: {reason}.") from error


def _listen(server: ServerSettings) -> socket.socket:
    host = server.bind_host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, server.bind_port))
        listening.listen(server.backlog)
    except OSError as error:
        listening.close()
        raise StartRefused(
            f"Cannot listen on {server.bind_host} port {server.bind_port}: {error.strerror}. "
            "Is another service running there? Choose another port with --port."
        ) from error
    listening.set_inheritable(True)
    return listening


def _reachable(server: ServerSettings) -> str:
    host = server.bind_host
    return f"[{host}]:{server.bind_port}" if ":" in host else f"{host}:{server.bind_port}"


def _greet(data_dir: Path, url: str) -> None:
    clouds = data_dir / "clouds.yaml"
    installed = Path(sys.executable).with_name("openstack")
    openstack = installed if installed.exists() else "openstack"
    click.echo(
        f"""Blick serves images at {url}

  client settings   {clouds}
                    {data_dir / "openrc"} (and openrc-admin)
  data              {data_dir}

Try, in another terminal:

  export OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD=blick
  {openstack} image create --disk-format raw --container-format bare --file /etc/os-release first
  {openstack} image list

Stop with Ctrl-C."""
    )
