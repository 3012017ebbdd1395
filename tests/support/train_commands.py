"""``dimr train`` in real processes."""

import socket
import subprocess
import sys
import time


class Commands:
    """Runs, each in its own folder with its files and ``<name>.txt`` for its messages."""

    def __init__(self, server, config, latents, folder):
        self.server, self.config, self.latents, self.folder = server, config, latents, folder

    def arguments(self, name, *more):
        folder = self.folder / name
        return [
            "train", "--config", self.config, "--data", self.latents, "--out", folder / "model",
            "--log-csv", folder / "log.csv", "--state", folder / "state", "--device", "cpu",
            "--threads", 1, *more,
        ]  # fmt: skip

    def start(self, name, *more, **how):
        return self.server.start(self.arguments(name, *more), self.folder / f"{name}.txt", **how)

    def start_together(self, size, name, *more, file_sizes=None):
        """Processes that meet as torchrun's do; ``file_sizes``: what each may write."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [
            self.start(
                name, *more,
                environment={
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                    "TORCHELASTIC_RUN_ID": "test",
                },
                file_size=file_sizes[rank] if file_sizes else None,
            )
            for rank in range(size)
        ]  # fmt: skip

    def run(self, name, *more, size=1):
        """Run to the end; the exit codes by rank."""
        started = self.start_together(size, name, *more) if size > 1 else [self.start(name, *more)]
        return [process.wait() for process in started]

    def messages(self, name):
        return (self.folder / f"{name}.txt").read_text()

    def checkpoints(self, name):
        """The steps of the existing checkpoints."""
        found = (self.folder / name).glob("state/*/checkpoints/step-*")
        return sorted(int(folder.name.split("-")[1]) for folder in found)

    def launch(self, name, *more):
        """Two processes by torchrun."""
        words = ["-m", "dimr.cluster.launch", "--standalone", "--nproc-per-node", "2"]
        arguments = [*words, *map(str, self.arguments(name, *more))]
        with open(self.folder / f"{name}.txt", "a") as messages:
            return subprocess.Popen([sys.executable, *arguments], stderr=messages, stdout=messages)

    def children(self, launched):
        """The processes of dimr that torchrun has started."""
        with open(f"/proc/{launched.pid}/task/{launched.pid}/children") as file:
            found = [int(child) for child in file.read().split()]
        return [c for c in found if b"dimr" in open(f"/proc/{c}/cmdline", "rb").read()]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
