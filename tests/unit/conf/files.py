"""Configurations for tests: a text becomes a file and is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blick.conf.load import Examined, Loaded, examine, load
from blick.model.errors import StartRefused

DATABASE = "\n[database]\nconnection = sqlite:////srv/blick.sqlite3\n"


class Config:
    """One configuration file with a database in it, unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "glance-api.conf"

    def write(self, text: str, *, database: str = DATABASE) -> Path:
        self.path.write_text(text + database, "utf-8")
        return self.path

    def load(self, text: str, environment: Mapping[str, str] | None = None, **overrides: Any) -> Loaded:
        return load([self.write(text)], (), environment or {}, overrides=overrides)

    def examine(self, text: str, environment: Mapping[str, str] | None = None) -> Examined:
        return examine([self.write(text)], (), environment or {})

    def refusal(self, text: str, environment: Mapping[str, str] | None = None) -> str:
        """The text with which a start is refused."""
        with pytest.raises(StartRefused) as refused:
            self.load(text, environment)
        return str(refused.value)

    def warnings(self, text: str) -> list[str]:
        return [str(finding) for finding in self.load(text).findings if finding.level == "warning"]
