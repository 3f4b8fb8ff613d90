"""A real SLURM of many nodes on one machine, for tests: `cluster.py up`, `down`, `status`, `stop NAME`, `start NAME`.

Debian's packages, munge, MariaDB, slurmdbd, slurmctld and one slurmd a node on loopback; GPUs are plain files. Needs root
and no systemd. Owns /etc/slurm/slurm.conf only where it wrote it itself: the configuration of a real cluster is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
STATE = Path("/run/nightboard-slurm")
ETC = Path("/etc/slurm")
MARK = "# Written by nightboard's tests/slurm/cluster.py; `cluster.py down` removes it."
FIRST_PORT = 17001
CONTROLLERS = ("munged", "mariadbd", "slurmdbd", "slurmctld")

SLURM_CONF = """{mark}
ClusterName=nightboard
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/slurmd-%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd-%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageTRES=gres/gpu
MaxArraySize={max_array_size}
MaxJobCount=20000
MinJobAge=600
KillWait=3
OverTimeLimit=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,sched_min_interval=200000,batch_sched_delay=1,bf_interval=3,bf_continue,bf_max_job_test=2000,default_queue_depth=2000,max_array_tasks=20000
PriorityType=priority/basic
ReturnToService=2
SlurmdTimeout=20
SlurmctldTimeout=60
MessageTimeout=10
MpiDefault=none
NodeName=gpu[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs={cpus} RealMemory={mem_mb} Gres=gpu:h100:{gpus} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 State=UP
"""
DBD_CONF = """{mark}
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
PidFile={state}/slurmdbd.pid
LogFile={state}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=loopback
StorageLoc=slurm_acct_db
"""


class ClusterError(Exception):
    """The cluster cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Shape:
    """How large the cluster is."""

    nodes: int = 3
    gpus: int = 4
    cpus: int = 16
    mem_mb: int = 16000
    max_array_size: int = 1001


def up(shape: Shape) -> None:
    """Start everything that does not run yet; the configuration is written anew."""
    _check_machine()
    _check_limits()
    STATE.mkdir(parents=True, exist_ok=True)
    _write_configuration(shape)
    for name in CONTROLLERS:
        start(name)
    for node in node_names():
        start(node, wait=False)
    _wait("every node idle", lambda: _count_idle() == shape.nodes, 90)
    _wait("accounting", lambda: run("sacct", "-n", "-X").returncode == 0, 60)


def down() -> None:
    """End all jobs and daemons, and remove what `up` wrote."""
    if not is_ours():
        return
    run("scancel", "--full", "-u", "root", timeout_s=20)
    names = [*node_names(), "slurmctld", "slurmdbd", "mariadbd", "munged"]
    for name in names:
        with contextlib.suppress(ClusterError):
            stop(name)
    for process in _stepds():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for path in (ETC / "slurm.conf", ETC / "slurmdbd.conf", ETC / "gres.conf"):
        path.unlink(missing_ok=True)
    shutil.rmtree(STATE, ignore_errors=True)


def is_ours() -> bool:
    """Whether the configuration in /etc/slurm was written here."""
    path = ETC / "slurm.conf"
    return path.exists() and path.read_text().startswith(MARK)


def node_names() -> list[str]:
    """Nodes of the configuration, in order."""
    text = (ETC / "slurm.conf").read_text()
    last = int(text.split("NodeName=gpu[1-")[1].split("]")[0])
    return [f"gpu{number}" for number in range(1, last + 1)]


def start(name: str, *, wait: bool = True) -> None:
    """Start one daemon, or a node's slurmd by the node's name; one that runs is left alone."""
    if _pid(name):
        return
    command, is_up = _daemon(name)
    log = STATE / f"{name}.out"
    with log.open("ab") as file:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    if wait:
        _wait(name, is_up, 60)


def stop(name: str) -> None:
    """End one daemon, or a node's slurmd; the jobs of a node go on without it, as after a crash of the daemon."""
    pid = _pid(name)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    if _is_alive(pid):
        os.kill(pid, signal.SIGKILL)


# -------------------------------------------------------------------------------------------------- the single parts


def _daemon(name: str) -> tuple[list[str], Callable[[], bool]]:
    match name:
        case "munged":
            for path in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
                Path(path).mkdir(parents=True, exist_ok=True)
                shutil.chown(path, "munge", "munge")
                os.chmod(path, 0o755 if path == "/run/munge" else 0o700)
            as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
            return [*as_munge, "munged", "--foreground"], lambda: run("munge", "-n").returncode == 0
        case "mariadbd":
            data = STATE / "mysql"
            if not data.exists():
                data.mkdir()
                shutil.chown(data, "mysql", "mysql")
                _must("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db")
            socket_path = Path("/run/mysqld/mysqld.sock")
            socket_path.parent.mkdir(exist_ok=True)
            shutil.chown(socket_path.parent, "mysql", "mysql")
            options = [
                f"--datadir={data}", f"--socket={socket_path}", f"--pid-file={data}/pid", "--user=mysql",
                "--skip-networking", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
            ]  # fmt: skip
            return ["mariadbd", "--no-defaults", *options], _prepare_database
        case "slurmdbd":
            return ["slurmdbd", "-D"], _prepare_accounting
        case "slurmctld":
            (STATE / "slurmctld").mkdir(exist_ok=True)
            return ["slurmctld", "-D"], lambda: "is UP" in run("scontrol", "ping").stdout
        case node if node in node_names():
            (STATE / f"slurmd-{node}").mkdir(exist_ok=True)
            return ["slurmd", "-D", "-N", node], lambda: "idle" in run("sinfo", "-h", "-n", node, "-o", "%t").stdout
    raise ClusterError(f"{name}: there is no such daemon or node. Names: {', '.join((*CONTROLLERS, *node_names()))}.")


def _prepare_database() -> bool:
    statements = (
        "create database if not exists slurm_acct_db; create user if not exists slurm@localhost identified by 'loopback';"
        "grant all on slurm_acct_db.* to slurm@localhost;"
    )
    return run("mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-e", statements).returncode == 0


def _prepare_accounting() -> bool:
    if run("sacctmgr", "-n", "list", "cluster").returncode:
        return False
    for what in (("cluster", "nightboard"), ("account", "lab"), ("user", "root", "account=lab")):
        run("sacctmgr", "-i", "add", *what)
    return True


def _write_configuration(shape: Shape) -> None:
    if (ETC / "slurm.conf").exists() and not is_ours():
        raise ClusterError(
            f"{ETC / 'slurm.conf'} belongs to another cluster. Run the tests on a machine without SLURM's configuration."
        )
    gpus = STATE / "gpus"
    gpus.mkdir(exist_ok=True)
    for number in range(shape.gpus):
        (gpus / f"nvidia{number}").touch()
    ETC.mkdir(exist_ok=True)
    values = {**shape.__dict__, "mark": MARK, "state": STATE, "host": socket.gethostname()}
    values |= {"first_port": FIRST_PORT, "last_port": FIRST_PORT + shape.nodes - 1}
    (ETC / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (ETC / "slurmdbd.conf").write_text(DBD_CONF.format(**values))
    (ETC / "slurmdbd.conf").chmod(0o600)
    files = f"{gpus}/nvidia[0-{shape.gpus - 1}]" if shape.gpus > 1 else f"{gpus}/nvidia0"
    (ETC / "gres.conf").write_text(f"{MARK}\nNodeName=gpu[1-{shape.nodes}] Name=gpu Type=h100 File={files}\n")


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise ClusterError("starting SLURM needs root. Run it as root, in a container for example.")
    wanted = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
    missing = [name for name in wanted if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")]
    if missing:
        raise ClusterError(
            f"not installed: {', '.join(missing)}. On Debian: "
            f"apt-get update && apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
        )
    for user in ("munge", "mysql"):
        pwd.getpwnam(user)
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _check_limits() -> None:
    if not Path("/etc/munge/munge.key").exists():
        _must("mungekey", "--create", "--force")
        shutil.chown("/etc/munge/munge.key", "munge", "munge")


# ---------------------------------------------------------------------------------------------------------- helpers


def run(*command: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command; one that hangs counts as failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout_s:g} s")


def _must(*command: str) -> None:
    done = run(*command, timeout_s=120)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-1000:]}")


def _count_idle() -> int:
    done = run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %t")
    return sum(line.split()[1] == "idle" for line in done.stdout.splitlines())


def _wait(what: str, is_there: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not up within {timeout_s:.0f} s.\n{_last_words()}")
        time.sleep(0.3)


def _last_words() -> str:
    logs = [STATE / f"{name}.{kind}" for name in (*CONTROLLERS, "slurmd-gpu1", "gpu1") for kind in ("log", "out")]
    found = [(path.name, path.read_text(errors="replace").splitlines()[-8:]) for path in logs if path.exists()]
    return "\n".join(f"{name}: {line}" for name, lines in found for line in lines)


def _pid(name: str) -> int | None:
    """The daemon's process, found by its command line: pid files outlive what they name."""
    wanted = ["slurmd", "-D", "-N", name] if name.startswith("gpu") else [name]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            pid = int(path.parent.name)
            if [Path(words[0]).name, *words[1:]][: len(wanted)] == wanted and _is_alive(pid):
                return pid
    return None


def _stepds() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().startswith("slurmstepd"):
                yield int(path.parent.name)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("up", "down", "status", "start", "stop"))
    parser.add_argument("name", nargs="?", help="daemon or node, for start and stop")
    for key, value in Shape().__dict__.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    command, name = options.pop("command"), options.pop("name")
    try:
        if command == "up":
            shape = Shape(**options)
            up(shape)
            print(f"SLURM is up: {shape.nodes} nodes with {shape.gpus} GPUs each. Look with sinfo; end it with `make slurm-down`.")
        elif command == "down":
            down()
        elif command == "status":
            print(run("sinfo").stdout or "SLURM does not run.", end="")
        else:
            {"start": start, "stop": stop}[command](name)
    except ClusterError as error:
        sys.exit(f"cluster.py: {error}")


if __name__ == "__main__":
    main()
