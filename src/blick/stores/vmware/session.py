"""Sessions with a vSphere: what has to be asked by its web service instead of by HTTP. Blocking, from any thread.

Every call logs in if need be, and once more if the session has ended. Errors of the library become store errors here;
FileMissing and FileThere are for whoever asked.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from threading import Lock
from typing import Any, TypeVar

from pyVmomi import SoapStubAdapter, vim, vmodl

from blick.model.errors import DataInUse, StoreDenied, StoreError, StoreFull, StoreUnavailable
from blick.stores.vmware.options import Datastore, VmwareOptions

T = TypeVar("T")

# vSphere 6.0, all of whose calls are in every later one.
_VERSION = "vim.version.version10"
_CALL_TIMEOUT_S = 30
_CONNECTIONS = 8
_COOKIE = re.compile(r'vmware_soap_session="?([^";]+)"?')


class FileMissing(Exception):
    """There is no such file or folder."""


class FileThere(Exception):
    """There is something under that name already."""


class NoAnswer(StoreUnavailable):
    """Nobody answered: asking again may help."""


class _NoSuchPlace(Exception):
    """A datacenter or a datastore that is not there."""


class Session:
    """One log-in, and what was looked up in it."""

    def __init__(self, options: VmwareOptions, tls: ssl.SSLContext) -> None:
        """Log in."""
        host, port = options.address
        self._stub = SoapStubAdapter(
            host,
            port,
            version=_VERSION,
            sslContext=tls,
            poolSize=_CONNECTIONS,
            httpConnectionTimeout=_CALL_TIMEOUT_S,
        )
        try:
            service: Any = vim.ServiceInstance("ServiceInstance", self._stub)
            self._content = service.RetrieveContent()
            self._content.sessionManager.Login(options.user_name, options.password)
        except BaseException:
            self._stub.DropConnections()
            raise
        self._datacenters: dict[str, Any] = {}
        self._datastores: dict[Datastore, Any] = {}

    @property
    def cookie(self) -> str:
        """The header Cookie for requests about files."""
        found = _COOKIE.search(str(self._stub.cookie))
        return f'vmware_soap_session="{found[1]}"' if found else ""

    @property
    def files(self) -> Any:
        """The file manager."""
        return self._content.fileManager

    def datacenter(self, path: str) -> Any:
        """The datacenter of that inventory path."""
        if path not in self._datacenters:
            found = self._content.searchIndex.FindByInventoryPath(path)
            if not isinstance(found, vim.Datacenter):
                raise _NoSuchPlace(f"no datacenter {path}")
            self._datacenters[path] = found
        return self._datacenters[path]

    def datastore(self, wanted: Datastore) -> Any:
        """The datastore of that name."""
        if wanted not in self._datastores:
            known = self.properties(self.datacenter(wanted.datacenter).datastore, vim.Datastore, ["name"])
            found = next((store for store, told in known if told["name"] == wanted.name), None)
            if found is None:
                raise _NoSuchPlace(f"no datastore {wanted.name} in the datacenter {wanted.datacenter}")
            self._datastores[wanted] = found
        return self._datastores[wanted]

    def properties(self, objects: Sequence[Any], kind: Any, names: list[str]) -> list[tuple[Any, dict[str, Any]]]:
        """These properties of all the objects in one call; unset ones are left out."""
        if not objects:
            return []
        collector = vmodl.query.PropertyCollector
        wanted = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=one) for one in objects],
            propSet=[collector.PropertySpec(type=kind, pathSet=names)],
        )
        answer = self._content.propertyCollector.RetrieveContents([wanted])
        for missing in [missing for one in answer for missing in one.missingSet]:
            raise missing.fault  # that the session has ended is told here, for one
        return [(one.obj, {told.name: told.val for told in one.propSet}) for one in answer]

    def end(self) -> None:
        """Log out, if the server listens."""
        try:
            self._content.sessionManager.Logout()
        except (OSError, HTTPException, vmodl.MethodFault):
            return  # it ends by itself when idle
        finally:
            self._stub.DropConnections()

    def forget(self) -> None:
        """It has ended at the other side."""
        self._stub.DropConnections()


class Sessions:
    """The current session of a store."""

    def __init__(self, store: str, options: VmwareOptions, tls: Callable[[], ssl.SSLContext]) -> None:
        self._store = store
        self._options = options
        self._tls = tls
        self._lock = Lock()
        self._session: Session | None = None

    def call(self, work: Callable[[Session], T]) -> T:
        """What `work` gives, in a live session. It may run twice: if the first session turns out to have ended,
        which it learns before anything was done. Raises StoreDenied, StoreUnavailable, StoreFull, DataInUse,
        StoreError, FileMissing, FileThere.
        """
        with as_store_errors(self._store):
            session = self.current()
            try:
                return work(session)
            except (vim.fault.NotAuthenticated, vmodl.fault.ManagedObjectNotFound):
                self.renew(session)
                return work(self.current())

    def current(self) -> Session:
        """The session, logged in."""
        with self._lock, as_store_errors(self._store):
            if self._session is None:
                self._session = Session(self._options, self._tls())
            return self._session

    def renew(self, ended: Session) -> None:
        """Have the next caller log in, unless somebody did since `ended`."""
        with self._lock:
            if self._session is not ended:
                return
            self._session = None
        ended.forget()

    def close(self) -> None:
        """Log out."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()


@contextmanager
def as_store_errors(store: str) -> Iterator[None]:
    """Say what went wrong in the words of a store. Texts of the server stay out: they name its folders."""
    try:
        yield
    except vim.fault.FileNotFound as error:
        raise FileMissing from error
    except vim.fault.FileAlreadyExists as error:
        raise FileThere from error
    except vim.fault.FileLocked as error:
        raise DataInUse(store) from error
    except vim.fault.NoDiskSpace as error:
        raise StoreFull(store) from error
    except (vim.fault.InvalidLogin, vim.fault.NoPermission, vmodl.fault.SecurityError) as error:
        raise StoreDenied(store, "the vSphere refuses the user, its password, or what it should do") from error
    except _NoSuchPlace as error:
        raise StoreUnavailable(store, f"there is {error}") from error
    except ssl.SSLCertVerificationError as error:
        raise StoreUnavailable(store, "the vSphere has no certificate that can be trusted") from error
    except (OSError, HTTPException) as error:
        raise NoAnswer(store, "the vSphere does not answer") from error
    except vmodl.MethodFault as error:
        raise StoreError(store, f"the vSphere refuses: {type(error).__name__.rpartition('.')[2]}") from error
