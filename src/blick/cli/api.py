"""`glance-api`, the name that init scripts and packages call."""

from blick.cli.main import run
from blick.cli.serve import serve


def main() -> None:
    """Serve from Glance's configuration files."""
    run(serve, prog_name="glance-api", default_map={"drop_in": True})
