"""The storage that the benchmark of stores runs on: one server for both services, and how each is told of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blick.stores.ceph_bindings import DISTRIBUTION_FOLDERS
from tests.support import s3
from tests.support.ceph import USER, Ceph
from tests.support.config_file import ini_text
from tests.support.keystone import Keystone
from tests.support.keystone_accounts import ACCOUNTS
from tests.support.rclone import Rclone
from tests.support.swift import Swift

STORE = "bench"
Groups = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Backend:
    """A running one. `options` are those of the one store in it; `python_path` is what upstream alone needs."""

    driver: str
    options: Mapping[str, object] = field(repr=False)
    python_path: Path | None = None

    def groups(self, folder: Path) -> Groups:
        """What a glance-api.conf says of it; `folder` is the service's own, for what is not in the backend."""
        own = {name: {"filesystem_store_datadir": folder / name} for name in ("staging", "tasks")}
        files = {"filesystem_store_datadir": folder / "images"} if self.driver == "file" else {}
        return {
            "DEFAULT": {"enabled_backends": f"{STORE}:{self.driver}"},
            "glance_store": {"default_backend": STORE},
            STORE: {**self.options, **files},
            **{f"os_glance_{name}_store": options for name, options in own.items()},
        }


@contextmanager
def _file(folder: Path) -> Iterator[Backend]:
    """The disk that everything of the benchmark is on."""
    yield Backend("file", {})


@contextmanager
def _s3(folder: Path) -> Iterator[Backend]:
    """rclone's: moto and Swift are in Python, and would be what is measured."""
    with Rclone(folder) as server:
        yield Backend("s3", s3.options(server, s3.new_bucket(server)))


@contextmanager
def _rbd(folder: Path) -> Iterator[Backend]:
    """Ceph, in memory: what is measured is not this machine's disk."""
    with Ceph(folder, object_store="memstore") as cluster:
        options = {"rbd_store_pool": "images", "rbd_store_user": USER, "rbd_store_ceph_conf": cluster.conf_path}
        yield Backend("rbd", options, _ceph_modules(folder / "python"))


def _ceph_modules(folder: Path) -> Path:
    """The distribution's modules `rados` and `rbd`, and nothing else of the distribution's."""
    folder.mkdir()
    for name in ("rados", "rbd"):
        for path in (path for where in DISTRIBUTION_FOLDERS for path in where.glob(f"{name}.*.so")):
            (folder / path.name).symlink_to(path)
    return folder


@contextmanager
def _swift(folder: Path) -> Iterator[Backend]:
    """With a Keystone: upstream's driver knows no other way to log in."""
    with ExitStack() as running:
        keystone = running.enter_context(Keystone(folder / "keystone"))
        running.enter_context(Swift(folder / "swift", keystone=keystone))
        account = {
            "user": f"{ACCOUNTS['admin'].project}:admin",
            "key": keystone.password,
            "auth_address": keystone.url,
            "auth_version": 3,
        }
        accounts = folder / "swift-accounts.conf"
        accounts.write_text(ini_text({"ref1": account}))
        options = {
            "swift_store_config_file": accounts,
            "default_swift_reference": "ref1",  # upstream forgets its own default where there are several stores
            "swift_store_container": "glance",
            "swift_store_create_container_on_put": True,
        }
        yield Backend("swift", options)


BACKENDS: Mapping[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "file": _file,
    "s3": _s3,
    "rbd": _rbd,
    "swift": _swift,
}
