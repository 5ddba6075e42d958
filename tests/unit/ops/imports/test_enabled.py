"""Which import methods a site has."""

from dataclasses import replace

import pytest

from blick.conf.settings import ApiSettings, Settings, StoreSettings, StoresSettings
from blick.ops.imports.enabled import enabled_methods

SETTINGS = Settings(stores=StoresSettings("a", (StoreSettings("a", "file"),)))


def enabled(*names: str) -> tuple[str, ...]:
    return enabled_methods(replace(SETTINGS, api=ApiSettings(enabled_import_methods=names)))


def test_the_usual_methods() -> None:
    assert enabled_methods(SETTINGS) == ("glance-direct", "web-download", "copy-image")


@pytest.mark.parametrize(
    ("names", "methods"),
    [
        ((), ()),
        (("copy-image",), ("copy-image",)),
        (("glance-download", "web-download"), ("glance-download", "web-download")),
        (("web-download", "glance-direct", "web-download"), ("web-download", "glance-direct")),
        (("carrier-pigeon", "web-download"), ("web-download",)),
    ],
)
def test_what_the_operator_names_in_his_order(names: tuple[str, ...], methods: tuple[str, ...]) -> None:
    assert enabled(*names) == methods
