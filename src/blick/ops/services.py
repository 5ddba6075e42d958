"""What every verb needs: handed to each op as its first argument, so that nothing is global."""

import asyncio
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from blick.conf.settings import Settings
from blick.db.engine import Database
from blick.jobs.sealing import Sealer
from blick.model.schema import ImageSchema
from blick.ops.uploads_here import UploadsHere
from blick.policy.enforcer import Enforcer
from blick.policy.limits import Limits
from blick.policy.properties import PropertyProtections
from blick.stores.registry import Stores
from blick.stores.staging import Staging
from blick.stream.fetch import Fetcher
from blick.stream.node_relay import NodeRelay
from blick.stream.nodes import Nodes
from blick.stream.threads import TransferThreads


def utc_now() -> datetime:
    """The time as the database keeps it: naive, UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def epoch_ms() -> int:
    """Milliseconds since 1970, for leases and retries."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Services:
    """Built by `boot`, one per process. Clock, ids and tokens come from here, so that tests can set them."""

    settings: Settings
    database: Database
    stores: Stores
    policy: Enforcer
    image_schema: ImageSchema
    threads: TransferThreads
    holder: str
    staging: Staging
    fetcher: Fetcher
    sealer: Sealer
    nodes: Nodes = field(default_factory=Nodes)  # other nodes of this service, which may have what is needed
    relay: NodeRelay = field(default_factory=NodeRelay)  # the same, for requests with bodies of any length
    protections: PropertyProtections | None = None  # of custom properties; None: all are everybody's
    limits: Limits | None = None  # unified limits; None where they are not in use
    running_uploads: set[str] = field(default_factory=set)  # tokens of the leases that this process works under
    running_jobs: set[str] = field(default_factory=set)  # tokens of the jobs that this process works on
    uploads_here: UploadsHere = field(default_factory=UploadsHere)  # what is going on with resumable uploads
    jobs_wanted: asyncio.Event = field(default_factory=asyncio.Event)  # set by whoever has just added a job
    now: Callable[[], datetime] = utc_now
    now_ms: Callable[[], int] = epoch_ms
    new_id: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))
    new_token: Callable[[], str] = field(default=lambda: secrets.token_hex(16))


def this_process() -> str:
    """A name for this process that no other process, alive or dead, on any machine has (see `is_dead`)."""
    boot = _read("/proc/sys/kernel/random/boot_id") or socket.gethostname()
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a magic link, not a path
    except OSError:
        space = ""
    return "/".join((boot.strip(), space, str(os.getpid()), _started_at(os.getpid())))


def is_dead(holder: str) -> bool:
    """Is the process of that name known not to run any more? False where that can't be told from here."""
    boot, space, pid, started_at = holder.rsplit("/", 3) if holder.count("/") >= 3 else ("", "", "", "")
    own_boot, own_space, *_ = this_process().rsplit("/", 3)
    if not pid.isdecimal() or (boot, space) != (own_boot, own_space):
        return False
    return _started_at(int(pid)) != started_at


def _started_at(pid: int) -> str:
    """The kernel's start time of a running process; empty if there is none. Tells a reused pid from the old one."""
    text = _read(f"/proc/{pid}/stat")
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - procfs
            return file.read()
    except OSError:
        return ""
