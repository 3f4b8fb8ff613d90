"""Python processes that begin with their imports done: a server forks them, so that a test pays no second for each.

`warm(code, *arguments)` is a command line that does what `python -c CODE ARGUMENT...` does: a process of its own with
the caller's files, environment, folder and umask, which ends as the code does and dies with the one that started it.
What reads the environment when it is imported is not imported before: Prefect, NLTK and all of Hugging Face.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path

PRELOADED = (
    "pyarrow.parquet", "pyarrow.dataset", "pandas", "duckdb", "typer", "rich.console", "rich.table", "rich.progress",
    "ruamel.yaml", "orjson", "submitit", "httpx", "httpx2", "jinja2", "nightboard.profiles.loading.load",
    "nightboard.tasks.evaluation.job_process", "nightboard.tasks.evaluation.job",
    "nightboard.warehouse.builder.build", "nightboard.warehouse.reader.connection",
)  # fmt: skip
# What lm-eval needs takes long, and only jobs need it: imported when the first of them is to run.
PRELOADED_FOR_JOBS = (
    "scipy.stats", "scipy.io", "sklearn.metrics", "sklearn.preprocessing", "sklearn.feature_extraction", "sklearn.svm",
    "sklearn.tree", "sklearn.naive_bayes", "sklearn.datasets", "torch", "torch.export", "torch.distributions",
    "torch._dynamo", "torch.distributed.tensor", "torch.distributed.checkpoint", "torch.nn.attention.flex_attention",
    "safetensors.torch", "tokenizers.trainers", "sympy", "requests", "httpcore2", "portalocker", "filelock", "yaml",
    "regex", "fsspec.implementations.cached", "fsspec.implementations.dirfs", "fsspec.archive", "multiprocess.pool",
    "multiprocess.shared_memory", "sacrebleu", "langdetect", "jinja2.ext", "jinja2.sandbox", "tqdm.contrib.concurrent",
    "defusedxml.ElementTree", "sqlitedict",
)  # fmt: skip
READS_ENVIRONMENT = {"prefect", "nltk", "huggingface_hub", "datasets", "transformers", "accelerate", "lm_eval"}


def warm(code: str, *arguments: str) -> list[str]:
    """A command line that runs the code in a process with its imports done."""
    return [sys.executable, "-I", "-S", __file__, _server(), code, *arguments]


def warm_job(code: str, *arguments: str) -> list[str]:
    """The same for code that runs lm-eval."""
    return [sys.executable, "-I", "-S", __file__, _for_jobs(_server()), code, *arguments]


def warm_command(*arguments: str) -> list[str]:
    """A command line that runs `nightboard ARGUMENT...`."""
    code = "import sys; sys.argv[0] = 'nightboard'; from nightboard.flows.cli.main import main; sys.exit(main())"
    return warm(code, *arguments)


def cold(code: str, *arguments: str) -> list[str]:
    """The same in a Python that has imported nothing."""
    return [sys.executable, "-c", code, *arguments]


@functools.cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    folder, owner = tempfile.mkdtemp(prefix="nightboard-warm-"), os.getpid()
    address = str(Path(folder) / "socket")
    # The libraries of numbers must not start threads before the fork.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the server of warm processes did not come up"

    def end() -> None:
        # Children of multiprocessing come here, too, from Python 3.13 on.
        if os.getpid() == owner:
            server.communicate()
            shutil.rmtree(folder)

    atexit.register(end)
    return address


def _for_jobs(address: str) -> str:
    return f"{address}-for-jobs"


# --------------------------------------------------------------------------------------------- the caller's process


def call(address: str, arguments: list[str]) -> int:
    """Have the server fork a process for the arguments; how it ended."""
    umask = os.umask(0o077)
    os.umask(umask)
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd(), "umask": umask}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        body = json.dumps(request).encode()
        socket.send_fds(connection, [len(body).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(body)
        return int.from_bytes(_receive(connection, 4), "big", signed=True)


def _receive(connection: socket.socket, count: int) -> bytes:
    body = b""
    while len(body) < count:
        piece = connection.recv(count - len(body))
        if not piece:
            raise SystemExit("the warm server is gone")
        body += piece
    return body


# ---------------------------------------------------------------------------------------------- the server's process


def serve(address: str) -> str:
    """Fork for every caller until standard input ends; returns only in the forked processes, with their code."""
    listeners = [_listen(address), _listen(_for_jobs(address))]
    _preload(PRELOADED)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is left of threads are those of an allocator that knows of forks.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    while True:
        ready, _, _ = select.select([0, *listeners], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = ready[0].accept()
        if ready[0] is listeners[1]:
            _preload(PRELOADED_FOR_JOBS)
        if os.fork() == 0:
            for listener in listeners:
                listener.close()
            return _fork_for(connection)
        connection.close()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    return listener


def _preload(names: tuple[str, ...]) -> None:
    if sys.modules.keys() >= {*names}:
        return
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):  # the harness is not installed everywhere (see .ci/run)
            import_module(name)
    if early := READS_ENVIRONMENT & sys.modules.keys():
        raise SystemExit(f"tests/support/warm.py: it imports what reads the environment: {', '.join(sorted(early))}")
    gc.collect()
    gc.freeze()  # a collection would write to every page that the forked processes share


def _fork_for(connection: socket.socket) -> str:
    """Watch the process from one that tells the caller of its end, and ends it with the caller."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(_receive(connection, int.from_bytes(size, "big")))
    pid = os.fork()
    if pid:
        _watch(connection, pid, [0, 1, 2, *files])
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    # What Python has read of all this when it started.
    time.tzset()
    tempfile.tempdir = None
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    code, *arguments = request["arguments"]
    sys.argv[:], sys.path[0] = ["-c", *arguments], ""
    return str(code)


def _watch(connection: socket.socket, pid: int, files: list[int]) -> None:
    for file in files:
        os.close(file)
    process = os.pidfd_open(pid)
    ready, _, _ = select.select([process, connection], [], [])
    if process not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def run_to_end(code: str) -> None:
    """Run the code as a program and end as Python does, but without freeing all that was imported, which takes long."""
    status: object = 0
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        run_to_end(serve(sys.argv[1]))
    else:
        code = call(sys.argv[1], sys.argv[2:])
        if code < 0:
            with contextlib.suppress(OSError):  # SIGKILL has no other way
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        sys.exit(code)
