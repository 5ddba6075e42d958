"""Real programs that some tests need, each with a probe: one line in PARTS makes a new part known to `--require`.

A test says `@pytest.mark.needs("qemu")`. Where the part is missing the test is skipped, and the part is listed at the
end of the run; `--require qemu` turns that skip into a failure.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support import environments, npm_packages

VENV_BIN = Path(sys.executable).parent
"""Where the programs of the running virtual environment are (not resolved: its interpreter is a link out of it)."""

PACKAGED_ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
"""An ISO that somebody else made: a Debian package (grub-rescue-pc) ships it."""

GOVMOMI_FOLDER = Path("/usr/share/gocode/src/github.com/vmware/govmomi/simulator")
"""The source of a vCenter simulator: a Debian package (golang-github-vmware-govmomi-dev) ships it."""

GRUB_BIOS_FOLDER = Path("/usr/lib/grub/i386-pc")
OWN_MOUNTS = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
"""What makes `unshare` give a command mounts of its own."""

LOSETUP = "/sbin/losetup"

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""sfdisk lives in an sbin folder, which an ordinary user's PATH leaves out."""

Probe = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Part:
    """A real thing that tests can need. `missing()` says what is not there, or gives None when all is.

    One `on_demand` is used where `--require` names it, and is not among `all`: its tests take many minutes.
    """

    what: str
    missing: Probe
    on_demand: bool = False


def system_program(name: str) -> str:
    """The full path of a program of the system; FileNotFoundError says which one is not there."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise FileNotFoundError(f"no program {name}; `make deps` installs it")
    return found


def programs(*names: str) -> Probe:
    """A probe for programs of the system."""

    def missing() -> str | None:
        absent = [name for name in names if shutil.which(name, path=SYSTEM_PATH) is None]
        return f"no program {', '.join(absent)}" if absent else None

    return missing


def files(*paths: Path) -> Probe:
    """A probe for files or folders that a package brings."""

    def missing() -> str | None:
        absent = [str(path) for path in paths if not path.exists()]
        return f"no {', '.join(absent)}" if absent else None

    return missing


def runs(*command: str) -> Probe:
    """A probe for something that works here or does not: a command that ends well."""

    def missing() -> str | None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except OSError as error:
            return f"no {command[0]} ({error.strerror})"
        return f"no luck with {' '.join(command)}: {done.stderr.strip()}" if done.returncode else None

    return missing


def venv(*, scripts: tuple[str, ...] = (), modules: tuple[str, ...] = ()) -> Probe:
    """A probe for programs and modules of the virtual environment the tests run in."""

    def missing() -> str | None:
        absent = [name for name in scripts if not (VENV_BIN / name).exists()]
        absent += [name for name in modules if importlib.util.find_spec(name) is None]
        return f"no {', '.join(absent)} in the virtual environment" if absent else None

    return missing


def mounts() -> str | None:
    """A probe for the right to mount something that only one command sees."""
    try:
        command = [system_program("unshare"), *OWN_MOUNTS, "mount", "-t", "tmpfs", "blick-test", "/mnt"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        return str(error)
    return f"no right to mount: {done.stderr.strip()}" if done.returncode else None


def postgresql_folder() -> Path:
    """Where Debian keeps the programs of its PostgreSQL server; FileNotFoundError if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise FileNotFoundError("no PostgreSQL server; `make deps` installs it")
    return found[-1].parent


def postgresql() -> str | None:
    """A probe for a PostgreSQL server, and for whom to run it as: it refuses to be root."""
    try:
        postgresql_folder()
        if os.geteuid() == 0:
            pwd.getpwnam("postgres")
    except FileNotFoundError as error:
        return str(error)
    except KeyError:
        return "no user postgres, as whom root has to run the server"
    return None


def every(*probes: Probe) -> Probe:
    """A probe that is content when all of these are; it reports the first that is not."""

    def missing() -> str | None:
        return next((reason for probe in probes if (reason := probe()) is not None), None)

    return missing


def environment(name: str) -> Probe:
    """A probe for a virtual environment of tests/support/environments.py."""
    return lambda: environments.missing(name)


PARTS: dict[str, Part] = {
    "clients": Part(
        "the real clients: openstack, glance and openstacksdk",
        venv(scripts=("openstack", "glance"), modules=("openstack",)),
    ),
    "bash": Part("bash, a shell", programs("bash")),
    "zsh": Part("zsh, a shell", programs("zsh")),
    "fish": Part("fish, a shell", programs("fish")),
    "groff": Part("groff, which man shows its pages with", programs("groff")),
    "qemu": Part("qemu-img, to make and read images", programs("qemu-img")),
    "packers": Part(
        "programs that compress, each in its own format", programs("gzip", "bzip2", "xz", "zstd", "pzstd", "zip")
    ),
    "boot": Part(
        "a bootable disk, and qemu to boot it",
        every(
            programs("qemu-img", "qemu-system-x86_64", "grub-mkimage", "grub-editenv", "mformat", "mcopy", "sfdisk"),
            files(GRUB_BIOS_FOLDER / "boot.img"),
        ),
    ),
    "small-disk": Part(
        "a mount of our own, to run out of disk (user and mount namespaces)",
        runs("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=1m x /mnt"),
    ),
    "iso": Part(
        "an ISO from a Debian package, and xorriso to make one", every(programs("xorriso"), files(PACKAGED_ISO))
    ),
    "mounts": Part("mounts that only one process sees, for disks that fill up or turn read-only", mounts),
    "loop-disk": Part(
        "a disk in a file, with XFS: one that shares blocks, and can be frozen",
        every(programs("mkfs.xfs", "fsfreeze"), runs(LOSETUP, "--find"), mounts),
    ),
    "ceph": Part("a Ceph cluster", programs("ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "rados", "rbd", "setpriv")),
    "rbd": Part(
        "Ceph's Python modules",
        runs(sys.executable, "-c", "from blick.stores.ceph_bindings import load_bindings; load_bindings('test')"),
    ),
    "memcached": Part("a memcached server", programs("memcached", "setpriv")),
    "keystone": Part("a Keystone, the identity service", every(programs("setpriv"), environment("keystone"))),
    "swift": Part(
        "a Swift, the object store, with its S3 interface",
        every(programs("memcached", "setpriv"), environment("swift")),
    ),
    "radosgw": Part("Ceph's S3 server (with ceph)", programs("radosgw", "radosgw-admin", "setpriv")),
    "moto": Part("moto's server, a lenient S3", every(programs("setpriv"), environment("moto"))),
    "tuspy": Part("tuspy, a client for resumable uploads", environment("tuspy")),
    "tus-js-client": Part(
        "tus-js-client, another one", every(programs("node"), lambda: npm_packages.missing("tus-js-client"))
    ),
    "azurite": Part(
        "Azurite, an Azure Blob Storage", every(programs("node", "setpriv"), lambda: npm_packages.missing("azurite"))
    ),
    "upstream": Part("the reference service", every(programs("setpriv"), environment("upstream"))),
    "tempest": Part("Tempest, the field's own tests", environment("tempest")),
    "nx27017": Part("a server that speaks MongoDB's protocol", every(programs("setpriv"), environment("nx27017"))),
    "mariadb": Part("a MariaDB server", programs("mariadbd", "mariadb-install-db", "setpriv")),
    "postgresql": Part("a PostgreSQL server", every(programs("setpriv"), postgresql)),
    "vcsim": Part(
        "a vCenter simulator, and Go to build it",
        every(programs("go", "setpriv"), files(GOVMOMI_FOLDER), venv(modules=("pyVmomi",))),
    ),
    "cinder": Part(
        "a Cinder, the block storage service, with its RabbitMQ",
        every(programs("epmd", "setpriv"), files(Path("/usr/lib/rabbitmq")), environment("cinder")),
        on_demand=True,
    ),
}
