"""Control plane on the loopback interface (etcd, kube-apiserver, kube-controller-manager), for tests and manual use."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import yaml
from tests.apiserver import servers
from tests.apiserver.certificates import Pair
from tests.apiserver.rest import Rest, RestError
from tests.apiserver.supervision import Supervision, SupervisionError

READY_SECONDS = 120.0
POLL_SECONDS = 0.05
LONGEST_SOCKET_FOLDER = 80  # a Unix socket's whole path has 107 bytes at most
LOG_LINES = 15
DEFAULT_QPS = 200


class BedError(Exception):
    """Failure of a server of the bed to start; the message has the end of its log."""


class Bed:
    """A control plane; ``start`` starts its servers, ``stop`` or the end of this process removes everything.

    Args:
        binaries: the folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
        controller_manager_qps: limit of the controllers' requests per second; with Kubernetes' default of 20 the Job
            controller starts about 17 Jobs per second.
        controller_manager_options: more flags for kube-controller-manager.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        controller_manager_qps: int = DEFAULT_QPS,
        controller_manager_options: tuple[str, ...] = (),
    ) -> None:
        self.binaries = binaries
        self._qps = controller_manager_qps
        self._options = controller_manager_options

    def start(self) -> Bed:
        """Start the servers and wait until the API is ready.

        Raises:
            BedError: a server ended, or wasn't ready within READY_SECONDS.
        """
        temporary = tempfile.gettempdir()
        parent = temporary if len(temporary) < LONGEST_SOCKET_FOLDER else "/tmp"  # noqa: S108 - mkdtemp makes it private
        self.folder = Path(tempfile.mkdtemp(prefix="maskrcnn-bed-", dir=parent))
        self._supervision = Supervision(self.folder)
        self._supervision.start()
        # Bound but not listening while the bed lives, so that no process takes the port between two API servers.
        self._held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind((servers.LOOPBACK, 0))
        self.port = int(self._held.getsockname()[1])
        self.server = f"https://{servers.LOOPBACK}:{self.port}"
        self.audit_log = self.folder / "audit.log"
        self.kubeconfig = self.folder / "admin.kubeconfig"
        try:
            self.credentials = servers.Credentials.make(self.folder)
            self.ca = self.credentials.authority
            self.rest = Rest(servers.LOOPBACK, self.port, self.ca, self.credentials.admin)
            self._write_kubeconfig(self.kubeconfig, self._client_identity(self.credentials.admin))
            controllers = self.folder / "controllers.kubeconfig"
            self._write_kubeconfig(controllers, self._client_identity(self.credentials.controller_manager))
            self._command(start="etcd", argv=servers.etcd(self.binaries, self.folder))
            self.start_apiserver()
            manager = servers.kube_controller_manager(
                self.binaries, controllers, self.credentials, self._qps, self._options
            )
            self._command(start="kube-controller-manager", argv=manager)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the servers and remove every file."""
        self._supervision.end()
        self._held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Bed:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop_apiserver(self, grace: float = 0.0) -> None:
        """End kube-apiserver by SIGKILL, or by SIGTERM with ``grace`` seconds. Its port stays bound."""
        self._command(stop="kube-apiserver", grace=grace)

    def start_apiserver(self) -> None:
        """Start kube-apiserver on the bed's port and wait until it is ready.

        Raises:
            BedError: it ended, or wasn't ready within READY_SECONDS.
        """
        argv = servers.kube_apiserver(self.binaries, self.folder, self.port, self.credentials)
        self._command(start="kube-apiserver", argv=argv)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.rest.call("GET", "/readyz")
            except (OSError, RestError) as error:
                for name in ("etcd", "kube-apiserver"):
                    if (code := self.exit_code(name)) is not None:
                        raise BedError(f"{name} ended with exit code {code}:\n{self.log(name)}") from error
                if time.monotonic() > deadline:
                    raise BedError(f"kube-apiserver is not ready: {error}\n{self.log('kube-apiserver')}") from error
                time.sleep(POLL_SECONDS)
            else:
                return

    def start_server(self, name: str, argv: list[str]) -> None:
        """Start another server, which ends with the bed; its log is ``log(name)``."""
        self._command(start=name, argv=argv)

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of a server; None while it runs."""
        return cast("int | None", self._command(poll=name)["code"])

    def api(self, method: str, path: str, body: Any = None, content_type: str | None = None) -> Any:
        """Call the API as admin and return its answer, decoded; PATCH is a merge patch unless ``content_type`` differs.

        Raises:
            RestError: with the HTTP status, from 400 on.
        """
        return self.rest.call(method, path, body, content_type)

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as admin.

        Raises:
            AssertionError: kubectl failed and ``check`` is true; the message is its output.
        """
        done = subprocess.run(
            [str(self.binaries / "kubectl"), *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl-cache")},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def wait_established(self, *what: str) -> None:
        """Wait until CustomResourceDefinitions are served: ``wait_established("-f", file)``, ``("crd", "--all")``.

        Raises:
            AssertionError: they aren't after READY_SECONDS; the message is kubectl's output.
        """
        deadline = time.monotonic() + READY_SECONDS
        # kubectl fails at once if a new definition's status has no conditions yet
        while (
            done := self.kubectl("wait", "--for=condition=Established", "--timeout=60s", *what, check=False)
        ).returncode != 0:
            if time.monotonic() > deadline:
                raise AssertionError(f"{' '.join(what)}: not established\n{done.stdout}{done.stderr}")
            time.sleep(POLL_SECONDS)

    def create_namespace(self, prefix: str = "test") -> str:
        """Create a namespace, wait until its default service account exists, and return its name."""
        name = f"{prefix[:50].strip('-')}-{secrets.token_hex(3)}"
        self.api("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.api("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")
            except RestError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise BedError(
                        f"no service account in {name}: {error}\n{self.log('kube-controller-manager')}"
                    ) from error
                time.sleep(POLL_SECONDS)
            else:
                return name

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace without waiting; delete its pods at once, because no kubelet may be left to end them."""
        pods = f"/api/v1/namespaces/{name}/pods"
        self.api("DELETE", f"/api/v1/namespaces/{name}")
        self.api("DELETE", pods, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})

    def token_for(
        self,
        service_account: str,
        namespace: str,
        *,
        audience: str | None = None,
        pod: tuple[str, str] | None = None,
        seconds: int = 3600,
    ) -> str:
        """Return a token of a service account, which is created if it doesn't exist.

        Args:
            audience: of the token; None for the API server's own.
            pod: name and uid of the pod that the token is bound to, as for a projected token.
            seconds: lifetime of the token, at least 600.
        """
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.api("POST", accounts, {"metadata": {"name": service_account}})
        except RestError as error:
            if error.status != 409:
                raise
        spec: dict[str, Any] = {"expirationSeconds": seconds, "audiences": [audience] if audience else []}
        if pod:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod[0], "uid": pod[1]}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self.api("POST", f"{accounts}/{service_account}/token", request)
        return cast(str, answer["status"]["token"])

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Return a kubeconfig that authenticates a client as a service account."""
        path = self.folder / f"{namespace}.{service_account}.kubeconfig"
        self._write_kubeconfig(path, {"token": self.token_for(service_account, namespace)}, namespace)
        return path

    @contextmanager
    def apiserver_down(self) -> Iterator[None]:
        """Stop the API server for the duration of the ``with`` block."""
        self.stop_apiserver()
        try:
            yield
        finally:
            self.start_apiserver()

    def log(self, name: str) -> str:
        """Return the end of a server's log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-LOG_LINES:])

    def pids(self) -> list[int]:
        """Return the process ids of the bed, the supervisor's first."""
        assert self._supervision.process
        supervisor = self._supervision.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        return [supervisor, *map(int, children.split())]

    def apiserver_cpu_seconds(self) -> float:
        """Return the user and system time of kube-apiserver so far."""
        found = next(process for process in map(psutil.Process, self.pids()) if process.name() == "kube-apiserver")
        times = found.cpu_times()
        return float(times.user + times.system)

    def _command(self, **command: Any) -> dict[str, Any]:
        try:
            return self._supervision.command(**command)
        except SupervisionError as error:
            raise BedError(str(error)) from error

    @staticmethod
    def _client_identity(pair: Pair) -> dict[str, str]:
        return {
            "client-certificate-data": base64.b64encode(pair.certificate.read_bytes()).decode(),
            "client-key-data": base64.b64encode(pair.key.read_bytes()).decode(),
        }

    def _write_kubeconfig(self, path: Path, user: dict[str, str], namespace: str = "default") -> None:
        authority = base64.b64encode(self.ca.read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {"server": self.server, "certificate-authority-data": authority}}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "user", "namespace": namespace}}],
            "current-context": "bed",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
