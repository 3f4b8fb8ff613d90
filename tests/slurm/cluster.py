"""A real SLURM of many nodes on one machine, for tests: `cluster.py up`, `down`, `status`, `stop NAME`, `start NAME`.

Debian's packages: munge, MariaDB, slurmdbd, slurmctld and one slurmd a node, all on loopback, without systemd; GPUs are
plain files. Everything lies below one folder, with ports and sockets of its own, so that neither a SLURM that is there
already nor a second cluster of this kind is touched. The folder's name is all that a process needs to find the cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
PROGRAMS = ("munged", "mungekey", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sacct")
SERVICES = ("munged", "mariadbd", "slurmdbd", "slurmctld")
DEFAULT_STATE = Path("/run/nightboard-slurm")
# Where SLURM's commands look when SLURM_CONF is not set.
PLAIN_CONF = Path("/etc/slurm/slurm.conf")
MARK = "# Written by nightboard's tests/slurm/cluster.py; `cluster.py down` removes it."
# Ports from the first on: slurmctld, slurmdbd, then one a node.
NODE_PORTS = 10

SLURM_CONF = """{mark}
ClusterName=nightboard
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
# Two clusters on one machine share its control groups, which are named by node and job.
FirstJobId={first_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/spool/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/spool/%n.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/%n.log
# The machine need not have what its nodes promise.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams={gather_params}
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting_port}
AccountingStoragePass={state}/munge/socket
AccountingStorageTRES=gres/gpu
MaxArraySize={max_array_size}
MaxJobCount=50000
MinJobAge=600
KillWait=3
OverTimeLimit=0
InactiveLimit=0
JobRequeue=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters={scheduler_parameters}
# A node that an administrator sets down stays down; one whose slurmd was away comes back with it.
ReturnToService=1
SlurmdTimeout=20
SlurmctldTimeout=60
MessageTimeout=10
BatchStartTimeout=60
NodeName=gpu[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_node_port}-{last_node_port}] \
CPUs={cpus} RealMemory={mem_mb} Gres=gpu:h100:{gpus} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 State=UP
"""
# Starts and ends are noticed within a second, and the whole queue is looked at each time.
SCHEDULER_PARAMETERS = (
    "sched_interval=2,sched_min_interval=200000,batch_sched_delay=1,default_queue_depth=2000,"
    "bf_interval=3,bf_continue,bf_max_job_test=2000,bf_max_job_array_resv=50"
)
DBD_CONF = """{mark}
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser=root
PidFile={state}/slurmdbd.pid
LogFile={state}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=loopback
StorageLoc=slurm_acct_db
"""
GRES_CONF = """{mark}
NodeName=gpu[1-{nodes}] Name=gpu Type=h100 File={gpu_files}
"""
CGROUP_CONF = """{mark}
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
"""


class ClusterError(Exception):
    """The cluster cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Shape:
    """How large the cluster is. With `has_cgroups` a job over its memory ends as OUT_OF_MEMORY, else as FAILED."""

    nodes: int = 3
    gpus: int = 4
    cpus: int = 16
    mem_mb: int = 16000
    max_array_size: int = 1001
    first_port: int = 17000
    has_cgroups: bool = False


class Cluster:
    """A cluster in a folder: its daemons, nodes and jobs."""

    def __init__(self, state: Path = DEFAULT_STATE) -> None:
        self.state = state
        self.conf = state / "etc" / "slurm.conf"
        self.env = {
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "SLURM_CONF": str(self.conf),
            # slurmdbd cannot be told the socket in its configuration; MariaDB's library reads it here.
            "MYSQL_UNIX_PORT": str(state / "mysql.sock"),
        }

    @classmethod
    def find(cls) -> Cluster | None:
        """The cluster that SLURM's commands talk to, if it is one of this script's; another cluster is never used."""
        conf = Path(os.environ.get("SLURM_CONF", PLAIN_CONF))
        if not os.path.lexists(conf):
            conf = DEFAULT_STATE / "etc" / "slurm.conf"
        return cls(conf.resolve().parent.parent) if _is_ours(conf) else None

    @property
    def shape(self) -> Shape:
        return Shape(**json.loads((self.state / "shape.json").read_text()))

    @property
    def node_names(self) -> list[str]:
        return [f"gpu{number}" for number in range(1, self.shape.nodes + 1)]

    # --------------------------------------------------------------------------------------------------- as a whole

    def up(self, shape: Shape) -> None:
        """Start what does not run yet, and wait until every node is idle and accounting answers."""
        check_machine(self.env["PATH"])
        if not any(self._pid(name) for name in SERVICES):
            self._write_configuration(shape)
        elif shape != self.shape:
            raise ClusterError(f"a cluster of another shape is up ({self.shape}). Take it down first: cluster.py down")
        for name in SERVICES:
            self.start(name)
        for node in self.node_names:
            self._launch(node)
        wait_until("every node", self._has_nodes, 120, self._last_words)
        wait_until("accounting", lambda: self.run("sacct", "-n", "-X").returncode == 0, 60, self._last_words)
        # Plain commands find the cluster too, unless another one is theirs.
        if PLAIN_CONF.is_symlink() and not PLAIN_CONF.exists():
            PLAIN_CONF.unlink()
        if not os.path.lexists(PLAIN_CONF):
            PLAIN_CONF.parent.mkdir(parents=True, exist_ok=True)
            PLAIN_CONF.symlink_to(self.conf)

    def down(self) -> bool:
        """End all jobs and daemons of this cluster, and remove its folder; False when there is none."""
        if not _is_ours(self.conf):
            return False
        if self._pid("slurmctld"):
            self.cancel(self.squeue())
            with contextlib.suppress(ClusterError):
                wait_until("an empty queue", lambda: not self.squeue(), 10)
        for node in self.node_names:
            self._signal(node, signal.SIGTERM)
        for node in self.node_names:
            self.crash(node)
        for name in reversed(SERVICES):
            self.stop(name)
        if PLAIN_CONF.is_symlink() and PLAIN_CONF.readlink() == self.conf:
            PLAIN_CONF.unlink()
        shutil.rmtree(self.state)
        return True

    def is_up(self) -> bool:
        """Whether slurmctld and accounting answer."""
        return self.run("sinfo", timeout_s=20).returncode == 0 and self.run("sacct", timeout_s=20).returncode == 0

    # -------------------------------------------------------------------------------------------- daemons and nodes

    def start(self, name: str) -> None:
        """Start a daemon, or a node's slurmd by the node's name, unless it runs; wait until it answers."""
        is_there = self._launch(name)
        wait_until(name, is_there, 90, self._last_words)

    def stop(self, name: str) -> None:
        """End a daemon, or a node's slurmd in an orderly way: running jobs go on."""
        self._signal(name, signal.SIGTERM)
        with contextlib.suppress(ClusterError):
            wait_until(f"the end of {name}", lambda: self._pid(name) is None, 20)
        self._signal(name, signal.SIGKILL)

    def crash(self, node: str) -> None:
        """Kill a node's slurmd with all jobs on it, as a power cut does; SLURM notices after SlurmdTimeout."""
        victims = _list_tree(self._stepds(node))
        self._signal(node, signal.SIGKILL)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def repair(self) -> None:
        """Start the daemons and take back the nodes that are away; nothing to do on a cluster that is well."""
        for name in SERVICES:
            if self._pid(name) is None:
                self.start(name)
        for node, state in self.node_states().items():
            if self._pid(node) is None or not state.isalpha() or state in ("down", "drain", "drng", "fail"):
                self.node_up(node)

    def node_down(self, node: str) -> None:
        """Declare a node down: its jobs end as NODE_FAIL and start anew elsewhere, if they may."""
        self.must("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def node_up(self, node: str) -> None:
        """Take a node back; harmless when it was not down."""
        self.start(node)
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        wait_until(f"{node} idle", lambda: self.node_states()[node] in ("idle", "mix", "alloc"), 60, self._last_words)

    # --------------------------------------------------------------------------------------------------------- jobs

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on this cluster; one that hangs counts as failed."""
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False, env=self.env,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout_s:g} s")

    def must(self, *command: str) -> str:
        """What a command prints; raises when it fails."""
        done = self.run(*command, timeout_s=120)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-1000:]
            raise ClusterError(f"{' '.join(command)}: exit {done.returncode}: {said}")
        return done.stdout

    def node_states(self) -> dict[str, str]:
        """SLURM's short word for each node's state, `idle` or `down`, with a `*` where its slurmd does not answer."""
        lines = self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %t").stdout.splitlines()
        # A node that has not been heard of since slurmctld started counts as not answering.
        return {line.split()[0]: line.split()[1].replace("unk", "unk*") for line in lines}

    def squeue(self) -> list[str]:
        """Jobs that wait or run, one line a task: `JobID State Reason Name`."""
        return self.must("squeue", "-h", "-a", "-r", "-o", "%i %T %r %j").splitlines()

    def cancel(self, jobs: Iterable[str]) -> None:
        """Cancel jobs, given as lines of `squeue`; arrays as a whole."""
        arrays = {line.partition(" ")[0].partition("_")[0] for line in jobs}
        if arrays:
            self.run("scancel", *arrays)

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Wait until no job is left and every node is idle."""
        wait_until("an empty queue", lambda: not self.squeue(), timeout_s)
        wait_until("idle nodes", lambda: set(self.node_states().values()) == {"idle"}, timeout_s)

    # -------------------------------------------------------------------------------------------------------- parts

    def _launch(self, name: str) -> Callable[[], bool]:
        """Start a daemon that does not run; the answer tells whether it is ready."""
        command, is_ready = self._daemon(name)
        if self._pid(name) is None:
            # A job's slurmstepd inherits the folder, and is told from another cluster's by it.
            folder = self.state / "spool" / name
            folder.mkdir(parents=True, exist_ok=True)
            with (self.state / "log" / f"{name}.out").open("ab") as log:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=folder,
                    start_new_session=True,
                )  # fmt: skip
            record = {"pid": process.pid, "started": _read_start(process.pid)}
            (self.state / "processes" / name).write_text(json.dumps(record))
            # Kept, since Python warns of a child that nobody holds while it runs.
            _CHILDREN.append(process)
        return is_ready

    def _daemon(self, name: str) -> tuple[list[str], Callable[[], bool]]:
        match name:
            case "munged":
                folder = self.state / "munge"
                files = {
                    "socket": "socket",
                    "key-file": "key",
                    "pid-file": "pid",
                    "seed-file": "seed",
                    "log-file": "log",
                }
                options = [f"--{option}={folder / file}" for option, file in files.items()]
                return (
                    ["munged", "--foreground", *options],
                    lambda: self.run("munge", "-n", "-S", str(folder / "socket")).returncode == 0,
                )
            case "mariadbd":
                # Nothing here outlives a power cut, so nothing waits for the disk.
                options = [
                    f"--datadir={self.state / 'mysql'}", f"--socket={self.state / 'mysql.sock'}", "--skip-networking",
                    f"--pid-file={self.state / 'mysql' / 'pid'}", "--user=mysql", "--innodb-lock-wait-timeout=900",
                    "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin",
                ]  # fmt: skip
                return ["mariadbd", "--no-defaults", *options], self._prepare_database
            case "slurmdbd":
                return ["slurmdbd", "-D"], self._prepare_accounting
            case "slurmctld":
                return ["slurmctld", "-D"], self._has_nodes
            case node if node in self.node_names:
                return ["slurmd", "-D", "-N", node], lambda: self.node_states().get(node, "unk").isalpha()
        raise ClusterError(f"{name}: no such daemon or node. Names: {', '.join((*SERVICES, *self.node_names))}.")

    def _prepare_database(self) -> bool:
        statements = (
            "create database if not exists slurm_acct_db;"
            "create user if not exists slurm@localhost identified by 'loopback';"
            "grant all on slurm_acct_db.* to slurm@localhost;"
        )
        client = ("mariadb", "--no-defaults", f"--socket={self.state / 'mysql.sock'}", "-e", statements)
        return self.run(*client).returncode == 0

    def _prepare_accounting(self) -> bool:
        known = self.run("sacctmgr", "-n", "-P", "list", "account", "format=account")
        if known.returncode == 0 and "lab" not in known.stdout.split():
            for what in (("cluster", "nightboard"), ("account", "lab"), ("user", "root", "account=lab")):
                self.run("sacctmgr", "-i", "add", *what)
        return "lab" in known.stdout.split()

    def _write_configuration(self, shape: Shape) -> None:
        """Begin anew: whatever a cluster that is gone left in the folder is of no use to this one."""
        if self.state.exists() and not _is_ours(self.conf) and any(self.state.iterdir()):
            raise ClusterError(f"{self.state} holds something else. Name another folder: cluster.py up --state FOLDER")
        self.down()
        _check_ports(shape)
        for name in ("etc", "log", "processes", "slurmctld", "spool", "gpus", "munge", "mysql"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        (self.state / "shape.json").write_text(json.dumps(asdict(shape)))
        for number in range(shape.gpus):
            # Not a plain file: only for a device SLURM sets CUDA_VISIBLE_DEVICES.
            (self.state / "gpus" / f"nvidia{number}").symlink_to("/dev/null")
        values = self._values(shape)
        for path, text in (("slurm", SLURM_CONF), ("slurmdbd", DBD_CONF), ("gres", GRES_CONF), ("cgroup", CGROUP_CONF)):
            file = self.state / "etc" / f"{path}.conf"
            file.touch(mode=0o600 if path == "slurmdbd" else 0o644)
            file.write_text(text.format(**values))
        self.must("mungekey", "--create", f"--keyfile={self.state / 'munge' / 'key'}")
        shutil.chown(self.state / "mysql", "mysql", "mysql")
        self.must(
            "mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db", f"--datadir={self.state / 'mysql'}"
        )
        # mariadbd leaves root and makes its socket here.
        self.state.chmod(0o1777)

    def _values(self, shape: Shape) -> dict[str, object]:
        first_node_port = shape.first_port + NODE_PORTS
        return {
            **asdict(shape),
            "mark": MARK,
            "state": self.state,
            "host": socket.gethostname().split(".")[0],
            "controller_port": shape.first_port,
            "accounting_port": shape.first_port + 1,
            "first_node_port": first_node_port,
            "last_node_port": first_node_port + shape.nodes - 1,
            "gpu_files": f"{self.state}/gpus/nvidia" + (f"[0-{shape.gpus - 1}]" if shape.gpus > 1 else "0"),
            "scheduler_parameters": SCHEDULER_PARAMETERS,
            "task_plugin": "task/cgroup" if shape.has_cgroups else "task/none",
            "gather_params": "UsePss" if shape.has_cgroups else "UsePss,OverMemoryKill",
        }

    def _has_nodes(self) -> bool:
        """Whether slurmctld answers and has heard from every slurmd that runs."""
        states = self.node_states()
        return bool(states) and all(states[node].isalpha() for node in states if self._pid(node))

    def _pid(self, name: str) -> int | None:
        """The daemon's process; a number that the system gave to another process since is not taken for it."""
        try:
            record = json.loads((self.state / "processes" / name).read_text())
        except FileNotFoundError:
            return None
        return record["pid"] if record["started"] and _read_start(record["pid"]) == record["started"] else None

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._daemon(name)
        pid = self._pid(name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _stepds(self, node: str) -> list[int]:
        folder = str(self.state / "spool" / node)
        return [pid for pid in _list_pids() if _read_link(pid, "cwd") == folder and _read_name(pid) == "slurmstepd"]

    def _last_words(self) -> str:
        logs = sorted((self.state / "log").glob("*"), key=lambda path: path.stat().st_mtime)[-8:]
        lines = [f"{path.name}: {line}" for path in logs for line in path.read_text(errors="replace").splitlines()[-6:]]
        return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ the machine

_CHILDREN: list[subprocess.Popen[bytes]] = []


def check_machine(path: str) -> None:
    """Raise with what to do where this machine cannot run SLURM."""
    if os.geteuid() != 0:
        raise ClusterError("starting SLURM needs root. Run it as root, in a container for example.")
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        raise ClusterError(
            f"not installed: {', '.join(missing)}. On Debian or Ubuntu:\n"
            f"  apt-get update && apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
        )


def can_limit_memory() -> bool:
    """Whether SLURM can limit memory by control groups here: only then it tells that memory was why a job ended.

    Control groups of version 2 would need systemd; in a container those of version 1 may be read-only.
    """
    probe = Path("/sys/fs/cgroup/memory/nightboard-probe")
    try:
        probe.mkdir()
    except OSError:
        return False
    has_limits = (probe / "memory.limit_in_bytes").exists()
    probe.rmdir()
    return has_limits


def _check_ports(shape: Shape) -> None:
    last = shape.first_port + NODE_PORTS + shape.nodes
    for port in range(shape.first_port, last):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise ClusterError(
                    f"port {port} is taken, perhaps by a cluster in another folder. "
                    f"Take that one down, or choose others: cluster.py up --first-port {last}"
                ) from None


def _is_ours(conf: Path) -> bool:
    try:
        return conf.read_text().startswith(MARK)
    except OSError:
        return False


def own_jobs(lines: Iterable[str], names: Collection[str]) -> list[str]:
    """Lines of `squeue` about jobs whose names have one of these in them."""
    return [line for line in lines if any(name in line.split(" ", 3)[3] for name in names)]


def wait_until(what: str, is_there: Callable[[], bool], timeout_s: float, explain: Callable[[], str] = str) -> None:
    """Wait for something that comes by itself; raises ClusterError when it does not."""
    deadline = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not there within {timeout_s:.0f} s.\n{explain()}".strip())
        time.sleep(0.2)


def _list_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _list_tree(roots: list[int]) -> list[int]:
    """These processes and all below them."""
    parents = {pid: int(fields[1]) for pid in _list_pids() if (fields := _read_stat(pid))}
    found = list(roots)
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found


def _read_stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def _read_start(pid: int) -> str:
    fields = _read_stat(pid)
    return fields[19] if fields else ""


def _read_link(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/{name}")
    return ""


def _read_name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


# ------------------------------------------------------------------------------------------------- the command line


def main() -> None:
    """Read the command line; a mistake is one message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("up", "down", "status", "start", "stop", "crash"))
    parser.add_argument("name", nargs="?", help="daemon or node, for start, stop and crash")
    parser.add_argument("--state", type=Path, help=f"folder for everything (default {DEFAULT_STATE})")
    for key, value in asdict(Shape()).items():
        if not isinstance(value, bool):
            parser.add_argument(f"--{key.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    command, name, state = options.pop("command"), options.pop("name"), options.pop("state")
    cluster = Cluster(state.resolve() if state else DEFAULT_STATE)
    try:
        match command:
            case "up":
                cluster.up(Shape(**options, has_cgroups=can_limit_memory()))
                print(describe(cluster))
            case "down":
                print("SLURM is down." if cluster.down() else f"No SLURM runs in {cluster.state}.")
            case "status" if _is_ours(cluster.conf) and cluster.is_up():
                print(describe(cluster))
            case "status":
                sys.exit("SLURM does not run. Start it with: make slurm-up")
            case _ if not name:
                parser.error(f"{command} what? Name a daemon ({', '.join(SERVICES)}) or a node (gpu1).")
            case _:
                {"start": cluster.start, "stop": cluster.stop, "crash": cluster.crash}[command](name)
    except ClusterError as error:
        sys.exit(f"cluster.py: {error}")


def describe(cluster: Cluster) -> str:
    """What is up and how to use it, in two lines."""
    shape = cluster.shape
    is_plain = PLAIN_CONF.is_symlink() and PLAIN_CONF.resolve() == cluster.conf
    use = "sinfo, sbatch and sacct find it" if is_plain else f"use it with: export SLURM_CONF={cluster.conf}"
    return (
        f"SLURM is up: {shape.nodes} nodes x {shape.gpus} GPUs, {shape.cpus} CPUs and {shape.mem_mb} MB each; "
        f"partitions gpu and urgent.\n{use[0].upper() + use[1:]}; logs: {cluster.state / 'log'}."
    )


if __name__ == "__main__":
    main()
