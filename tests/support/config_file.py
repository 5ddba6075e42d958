"""A glance-api.conf of a small deployment, as an operator has it: SQLite, one file store, nobody is asked who he is."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.remains import DATABASE, STAGING, STORE
from tests.support.server import HOST, BlickServer, free_port


def config_text(data_dir: Path, port: int, groups: Mapping[str, Mapping[str, object]] | None = None) -> str:
    """The file's text; `groups` are further options by group and name, which also replace those written here."""
    usual: dict[str, dict[str, object]] = {
        "DEFAULT": {
            "bind_host": HOST,
            "bind_port": port,
            "workers": 1,
            "node_staging_uri": f"file://{data_dir / STAGING}",
        },
        "database": {"connection": f"sqlite:///{data_dir / DATABASE}"},
        "glance_store": {"filesystem_store_datadir": data_dir / STORE},
        "paste_deploy": {"flavor": "none"},
    }
    return ini_text(usual, groups or {})


def ini_text(*layers: Mapping[str, Mapping[str, object]]) -> str:
    """A configuration file of options by group and name; later layers replace what earlier ones say."""
    merged: dict[str, dict[str, object]] = {}
    for group, options in (item for layer in layers for item in layer.items()):
        merged.setdefault(group, {}).update(options)
    sections = (
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in options.items())])
        for group, options in merged.items()
    )
    return "\n\n".join(sections) + "\n"


def configured_server(
    folder: Path,
    groups: Mapping[str, Mapping[str, object]] | None = None,
    program: str = "blick",
    *,
    port: int | None = None,
) -> BlickServer:
    """A server of such a file, not started yet. Its data is where a standalone server in `folder` would have it.

    `port` None takes a free one.
    """
    port = port or free_port()
    server = BlickServer(folder, config_file=folder / "glance-api.conf", port=port, program=program)
    server.data_dir.mkdir(parents=True)
    (folder / "glance-api.conf").write_text(config_text(server.data_dir, port, groups))
    return server
