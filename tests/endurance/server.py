"""Starts, kills and asks a Dryport server process in a directory of its own.

Owns the process, its environment and the `dryport` commands of the harnesses. Must not speak the registry protocol.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

USER = ("ci", "s3cret-of-ci")


def free_ports(count):
    """Ports that were free a moment ago. All are held until the last is known, or one could come twice."""
    held = [socket.socket() for _ in range(count)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def clean_environment(more=()):
    """The caller's environment without settings of Dryport, certificates and proxies."""
    drop = ("dryport_", "ssl_cert")
    env = {k: v for k, v in os.environ.items() if not k.lower().startswith(drop) and not k.lower().endswith("_proxy")}
    return {**env, **dict(more)}


class Server:
    """One data directory HOME/data with a server on it; its log is HOME/log."""

    def __init__(self, binary, home, env=()):
        self.binary, self.home, self.env = binary, home, clean_environment(env)
        self.data, self.log = os.path.join(home, "data"), os.path.join(home, "log")
        (self.port, self.https), self.process = free_ports(2), None

    def init(self):
        command = [self.binary, "init", "--data", self.data, "--admin", USER[0], "--password-stdin"]
        subprocess.run(command, input=f"{USER[1]}\n", text=True, check=True, env=self.env, stdout=subprocess.DEVNULL)

    def start(self, limit=30.0, files=None):
        """Starts and waits for /readyz; gives the seconds from the start of the process until it answered, and how many
        of them its threads stood in line for a processor, which a busy machine makes. `files`: as many may be open."""
        command = ["prlimit", f"--nofile={files}"] if files else []
        command += [self.binary, "serve", "--data", self.data]
        command += ["--http", f"127.0.0.1:{self.port}", "--https", f"127.0.0.1:{self.https}"]
        begin = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        while time.monotonic() - begin < limit:
            if self.ready():
                return time.monotonic() - begin, self.in_line()
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.004)
        raise RuntimeError(f"the server is not ready after {limit:.0f} s:\n{self.tail()}")

    def in_line(self):
        total, tasks = 0, f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[1])
        return total / 1e9

    def ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self):
        """kill -9."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self, limit=60):
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit)

    def alive(self):
        return self.process.poll() is None

    def tail(self, size=3000):
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, os.path.getsize(self.log) - size))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def memory(self):
        """Resident memory now and at most, in MiB."""
        found = {}
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(("VmRSS", "VmHWM")):
                    found[line[:5]] = int(line.split()[1]) // 1024
        return found.get("VmRSS", 0), found.get("VmHWM", 0)

    def command(self, *words, limit=300):
        """Runs `dryport WORDS... --data DIR`; gives exit code, standard output, standard error."""
        done = subprocess.run([self.binary, *words, "--data", self.data], capture_output=True, text=True,
                              env=self.env, timeout=limit, check=False)
        return done.returncode, done.stdout, done.stderr

    def json(self, *words, limit=300):
        """As `command` with --json; gives exit code and what was printed, {} if that is no JSON."""
        code, out, err = self.command(*words, "--json", limit=limit)
        try:
            return code, json.loads(out)
        except ValueError:
            return code, {"text": (out + err).strip()}
