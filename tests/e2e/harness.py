"""What the multi-process tests share: a private folder, HOME and TMPDIR for each, and the proof that nothing is left.

Every process a test starts inherits ATOLL_TEST_ID, a value of its own; whoever still has it at the end was left behind.
"""
import glob
import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

SOURCE = os.environ.get("ATOLL_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
BUILD = os.environ.get("ATOLL_BUILD_DIR", os.path.join(SOURCE, "build"))
ATOLL = os.path.join(BUILD, "bin", "atoll")
TRAINER = os.path.join(BUILD, "bin", "atoll-trainer")
CATALOG = os.path.join(SOURCE, "recipes", "catalog")
DATA = "/usr/share/datasets/fashion-mnist"
# A sanitizer build is several times slower; time limits of tests grow with it.
SLOW = 4 if "build-asan" in BUILD or "asan" in os.path.basename(BUILD) else 1


def processes_of(test_id):
    """Ids and command lines of the live processes that a test started, directly or not."""
    found = {}
    mark = ("ATOLL_TEST_ID=" + test_id).encode()
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(folder + "/environ", "rb") as f:
                if mark not in f.read().split(b"\0"):
                    continue
            with open(folder + "/stat", "rb") as f:
                if f.read().rsplit(b")", 1)[1].split()[0] in (b"Z", b"X"):
                    continue
            with open(folder + "/cmdline", "rb") as f:
                found[int(folder[6:])] = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def parents():
    """Parent and command line of every process."""
    found = {}
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(folder + "/stat", "rb") as f:
                fields = f.read().rsplit(b")", 1)[1].split()
            with open(folder + "/cmdline", "rb") as f:
                command = f.read().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in (b"Z", b"X"):
            found[int(folder[6:])] = (int(fields[1]), command)
    return found


def descendants(pid):
    """Ids and command lines of the live processes below one."""
    table = parents()
    found, new = {}, {pid}
    while new:
        new = {p for p, (parent, _) in table.items() if parent in new and p not in found}
        found.update({p: table[p][1] for p in new})
    return found


def kill(pid, signal_number):
    """False when there is no such process any more."""
    try:
        os.kill(pid, signal_number)
        return True
    except ProcessLookupError:
        return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, timeout_s, interval_s=0.02):
    """The first true value of condition(), polled; fails the test after timeout_s."""
    deadline = time.monotonic() + timeout_s * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s * SLOW} s still no {what}")
        time.sleep(interval_s)


class Output(threading.Thread):
    """Reads a stream to its end, so that nobody waits for a full pipe; `text` is what came so far."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.text = stream, ""
        self.start()

    def run(self):
        try:
            for piece in iter(lambda: self.stream.read1(65536), b""):
                self.text += piece.decode(errors="replace")
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        self.stream.close()


class EndToEnd(unittest.TestCase):
    maxDiff = None

    def run(self, result=None):
        failed = len(result.failures) + len(result.errors)
        self.folder = tempfile.mkdtemp(prefix="e2e-")  # short: sockets lie below it
        try:
            super().run(result)
            if len(result.failures) + len(result.errors) > failed:
                self.show_logs()
        finally:
            shutil.rmtree(self.folder)

    def show_logs(self):
        """The ends of all logs, since the folder goes."""
        for root, _, names in sorted(os.walk(self.folder)):
            for name in sorted(names):
                if name.endswith(".log"):
                    path = os.path.join(root, name)
                    with open(path, errors="replace") as f:
                        lines = f.readlines()[-12:]
                    print(f"---- {path}\n" + "".join(lines), end="", file=sys.stderr)

    def setUp(self):
        self.id = uuid.uuid4().hex
        self.tmp = os.path.join(self.folder, "tmp")
        self.runs = os.path.join(self.folder, "runs")
        os.makedirs(self.tmp)
        os.makedirs(os.path.join(self.folder, "home"))
        self.env = dict(os.environ, ATOLL_TEST_ID=self.id, HOME=os.path.join(self.folder, "home"), TMPDIR=self.tmp)
        self.shm_before = set(os.listdir("/dev/shm"))
        self.started = []

    def tearDown(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        left = self.wait_until_none_left(10)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        in_tmp = os.listdir(self.tmp) + self.socket_folders()
        # Other tests may run at the same time: a segment counts against this one only if nobody alive maps it.
        shm = [name for name in set(os.listdir("/dev/shm")) - self.shm_before if not self.is_mapped(name)]
        for name in shm:
            try:
                os.unlink("/dev/shm/" + name)
            except FileNotFoundError:
                shm = [n for n in shm if n != name]
        self.assertEqual(left, {}, "processes left behind")
        self.assertEqual(in_tmp, [], "temporary files left behind")
        self.assertEqual(shm, [], "shared memory left behind")

    def socket_folders(self):
        """Where sites put their sockets when their own folder's path is too long (federation/site/runtime_folder.cc)."""
        found = []
        for run in glob.glob(self.folder + "/*/*/"):
            for name in ["evaluator"] + [f"site-{i}" for i in range(1, 10)]:
                digest = hashlib.sha256(f"{run}work/{name}".encode()).hexdigest()
                found += glob.glob(f"/tmp/atoll-*-{digest[:16]}")
        for folder in found:
            shutil.rmtree(folder)
        return found

    @staticmethod
    def is_mapped(name):
        for maps in glob.glob("/proc/[0-9]*/maps"):
            try:
                with open(maps) as f:
                    if "/dev/shm/" + name in f.read():
                        return True
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return False

    def wait_until_none_left(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        while True:
            left = processes_of(self.id)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)

    def start(self, *args, terminal=False, env={}, **kwargs):
        """Starts `atoll ARGS`; what it prints gathers in its `out` and `err`."""
        if terminal:
            master, slave = pty.openpty()
        process = subprocess.Popen([ATOLL, *args], stdin=subprocess.DEVNULL,
                                   stdout=slave if terminal else subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=dict(self.env, **env), cwd=self.folder, **kwargs)
        if terminal:
            os.close(slave)
        process.out = Output(os.fdopen(master, "rb") if terminal else process.stdout)
        process.err = Output(process.stderr)
        self.started.append(process)
        return process

    def finish(self, process, timeout_s):
        """Waits for its end: exit code, stdout, stderr."""
        try:
            process.wait(timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            self.fail(f"{process.args} still runs after {timeout_s * SLOW} s\n{process.out.text}\n{process.err.text}")
        process.out.join(10)
        process.err.join(10)
        return process.returncode, process.out.text, process.err.text

    def wait_for_output(self, process, pattern, timeout_s, err=False):
        """The first match of a pattern in what a process prints."""
        def look():
            ended = process.poll() is not None  # before the look: nothing comes after it
            match = re.search(pattern, process.err.text if err else process.out.text)
            if ended and not match and not (process.err if err else process.out).is_alive():
                self.fail(f"{process.args} ended without {pattern!r}\n{process.out.text}\n{process.err.text}")
            return match
        return wait_for(repr(pattern), look, timeout_s)

    def atoll(self, *args, timeout_s=120, **kwargs):
        """Runs `atoll ARGS` to its end: exit code, stdout, stderr."""
        return self.finish(self.start(*args, **kwargs), timeout_s)

    def start_run(self, recipe, *args, **kwargs):
        return self.start("run", recipe, "--out", self.runs, *args, **kwargs)

    def run_folder(self, timeout_s=20):
        return wait_for("run folder", lambda: next(iter(glob.glob(self.runs + "/*")), None), timeout_s)

    def site_pids(self, folder, count):
        """Site id -> process id, once `atoll run` has written them."""
        def read():
            try:
                with open(os.path.join(folder, "processes.json")) as f:
                    sites = json.load(f)["sites"]
                return {s["id"]: s["pid"] for s in sites} if len(sites) == count else None
            except (FileNotFoundError, ValueError):
                return None
        return wait_for("processes.json", read, 30)

    def summary(self, folder):
        with open(os.path.join(folder, "summary.json")) as f:
            return json.load(f)

    def recipe(self, text, name="recipe.yaml"):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path


def idx(name):
    """A Fashion-MNIST file as a numpy array."""
    import numpy as np
    with gzip.open(os.path.join(DATA, name)) as f:
        raw = f.read()
    dims = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(dims)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)
