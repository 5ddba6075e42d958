"""Finding the import plugins that the operator chose, those of other packages too."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from blick import boot
from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    ImportSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from blick.model.errors import StartRefused
from blick.ops.imports.plugins import no_op
from blick.ops.imports.plugins.plugin import Plugin
from blick.ops.imports.plugins.registry import plugins_of

STAMP = """
class Stamp:
    name = "{name}"
    changes_data = False

    async def run(self, services, given, tell):
        raise AssertionError

stamp = Stamp()
unfinished = object()
"""


def chosen(*names: str) -> Settings:
    stores = StoresSettings(default_store="main", stores=(StoreSettings("main", "memory"),))
    return Settings(stores, imports=ImportSettings(plugins=names))


def package(folder: Path, module: str, entry_points: str, source: str) -> Path:
    """A distribution with that one module, as an installer leaves it."""
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[blick.import_plugins]\n{entry_points}\n")
    (folder / f"{module}.py").write_text(source)
    return folder


def test_none_are_chosen_by_default() -> None:
    assert plugins_of(chosen()) == ()


def test_our_own_are_found_in_the_operators_order_each_once() -> None:
    names = ["image_decompression", "image_conversion", "no_op", "inject_image_metadata"]
    found = plugins_of(chosen(*names, "no_op"))
    assert [plugin.name for plugin in found] == names
    assert [plugin.changes_data for plugin in found] == [True, True, False, False]
    assert all(isinstance(plugin, ModuleType) for plugin in found)
    plugin: Plugin = no_op  # modules are plugins for type checkers too
    assert plugin is found[2]


def test_another_package_may_bring_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = STAMP.format(name="acme_stamp")
    monkeypatch.syspath_prepend(package(tmp_path, "acme_one", "acme_stamp = acme_one:stamp", source))
    found = plugins_of(chosen("no_op", "acme_stamp"))
    assert [plugin.name for plugin in found] == ["no_op", "acme_stamp"]
    assert type(found[1]).__name__ == "Stamp"


@pytest.mark.parametrize(
    ("entry_point", "complaint"),
    [
        ("acme_broken = acme_two:missing", "cannot be loaded"),
        ("acme_broken = acme_three:stamp", "cannot be loaded: No module named"),
        ("acme_broken = acme_two:unfinished", "lacks name, changes_data or run"),
        ("acme_broken = acme_two:stamp", "calls itself 'other'"),
    ],
)
def test_what_is_no_plugin_keeps_the_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str, complaint: str
) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "acme_two", entry_point, STAMP.format(name="other")))
    with pytest.raises(StartRefused, match=complaint):
        plugins_of(chosen("acme_broken"))


def test_two_packages_with_one_name_are_not_chosen_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "acme_four", "no_op = acme_four:stamp", STAMP.format(name="no_op")))
    with pytest.raises(StartRefused, match="Two packages offer an import plugin 'no_op'"):
        plugins_of(chosen("no_op", "image_decompression"))


def test_an_unknown_plugin_is_told_before_any_worker_starts(tmp_path: Path) -> None:
    store = StoreSettings("main", "file", {"filesystem_store_datadir": str(tmp_path / "images")})
    settings = Settings(
        server=ServerSettings(bind_host="127.0.0.1"),
        identity=IdentitySettings(kind="none"),
        database=DatabaseSettings(connection=f"sqlite:///{tmp_path}/blick.sqlite"),
        stores=StoresSettings(default_store="main", stores=(store,)),
        imports=ImportSettings(plugins=("no_op", "image_convertion")),
    )
    with pytest.raises(StartRefused) as caught:
        boot.prepare(settings)
    assert str(caught.value) == (
        "[image_import_opts] image_import_plugins: there is no plugin 'image_convertion' "
        "(there is: image_conversion, image_decompression, inject_image_metadata, no_op)."
    )
    boot.prepare(replace(settings, imports=ImportSettings(plugins=("no_op",))))
