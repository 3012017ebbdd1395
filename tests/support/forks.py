"""``dimr`` in real processes without the seconds of imports: forked from one that has them.

Run as a script it is that process: requests are lines of JSON on standard input.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass
class Process:
    """A started process."""

    server: "Server"
    pid: int
    messages: Path

    def poll(self):
        return self.server.ask(poll=self.pid)

    def wait(self, seconds=120):
        """Its exit code (negative: the signal that killed it)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            code = self.poll()
            if code is not None:
                return code
            time.sleep(0.01)
        os.kill(self.pid, 9)
        raise AssertionError(f"no end after {seconds} s: {self.messages.read_text()}")


class Server:
    """A test's view of the process that forks, which has imported ``modules``."""

    def __init__(self, *modules):
        self.child = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **request):
        self.child.stdin.write(json.dumps(request) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def start(self, arguments, messages, environment=None, file_size=None):
        """``dimr ARGUMENTS``; ``file_size`` (bytes) is the largest file it may write."""
        arguments = [str(argument) for argument in arguments]
        pid = self.ask(
            start=arguments, messages=str(messages), environment=environment or {},
            file_size=file_size,
        )  # fmt: skip
        return Process(self, pid, messages)

    def close(self):
        self.child.stdin.close()
        self.child.wait()


def serve():
    from dimr.__main__ import run

    always = (
        "torch.distributed.fsdp",
        "torch.distributed.checkpoint.state_dict",
        "dimr.stages.provenance",
        "dimr.training.loop",
    )
    for slow in (*always, *sys.argv[1:]):
        importlib.import_module(slow)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight], fused=True).step()  # its first step imports a compiler
    codes = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                prepare(request)
                run()
            answer = pid
        else:
            pid = request["poll"]
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            answer = codes.get(pid)
        print(json.dumps(answer), flush=True)


def prepare(request):
    """In the child: as if it had been started with these words."""
    file = os.open(request["messages"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    if request["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
    sys.argv = ["dimr", *request["start"]]


if __name__ == "__main__":
    serve()
