"""Settings of a service that reads images from the web servers of the tests."""

from dataclasses import replace

from blick.conf.settings import ImportSettings, Settings, StoreSettings
from blick.model.uri_filter import UriFilter

LOCAL = UriFilter(allowed_hosts=("127.0.0.1", "localhost"), allowed_ports=())
"""Lets the tests' servers through, which are on the loopback interface."""


def with_web_store(settings: Settings, *, multi_store: bool = False) -> Settings:
    """`settings` with a second store, of type http, and with locations shown."""
    web = StoreSettings("web" if multi_store else "http", "http", {"uri_filter": LOCAL})
    stores = replace(settings.stores, stores=(*settings.stores.stores, web), multi_store=multi_store)
    return replace(
        settings,
        stores=stores,
        imports=ImportSettings(uri_filter=LOCAL),
        api=replace(settings.api, show_multiple_locations=True),
    )
