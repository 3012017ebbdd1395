"""A program on its own terminal."""

import os
import pty
from collections.abc import Mapping
from pathlib import Path


def on_terminal(*program: str, environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Run it to its end, which must be a success; return what was sent to the terminal."""
    pid, screen = pty.fork()
    if pid == 0:
        if folder:
            os.chdir(folder)
        os.execvpe(program[0], program, environment)
    said = b""
    while True:
        try:
            part = os.read(screen, 65536)
        except OSError:  # Linux: everybody has closed it
            break
        if not part:
            break
        said += part
    os.close(screen)
    assert os.waitpid(pid, 0)[1] == 0, said.decode()
    return said.decode()
