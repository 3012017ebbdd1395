"""Everything worth knowing of a GPU in at most 8 minutes: `make gpu-check`.

Parity with the authors' vectors in float32 and bfloat16, compiled against eager, a resume, whole
training steps and sampling with their speed-up against plain, MFU, peak memory, the largest batch,
and an autoencoder if diffusers is installed. It needs torch and NumPy, no network and nothing else;
what another package would add is left out, and that is said.

A JSON file named by the GPU and a Markdown table are written into benchmarks/gpu/ after each part:
what was measured before an interruption is there. `dimr plan --measured` reads the JSON. Each
part (``gpu_parts``) runs in a process of its own, which is ended when the time is over. The exit
code is 1 if a comparison fails or a part breaks off with an error.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from gpu_parts import PARTS
from gpu_setting import Setting
from phases import RUNS

from dimr.runtime.files import single_line, write_text

OUT = Path(__file__).parent / "gpu"
FORMAT = "dimr-gpu-check-1"
PACKAGES = "torch", "numpy", "triton", "timm", "diffusers", "safetensors"
GRACE_SECONDS = 5


def main():
    """Run the parts, show their rows, write the files; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the code")
    parser.add_argument("--small", action="store_true", help="tiny networks and few steps")
    parser.add_argument("--minutes", type=float, default=8, help="in all (default: 8)")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART",
                        help=", ".join(PARTS))  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"gpu-check: no GPU that torch {torch.__version__} can use; nvidia-smi shows what "
              "there is (to try the code without one: --device cpu --small)")  # fmt: skip
        return 2
    setting, deadline = Setting(options.device, options.small), started(options.minutes)
    result = facts(setting)
    print(f"{result['gpu']}, {', '.join(f'{n} {v}' for n, v in result['packages'].items())}")
    for name in options.parts:
        result["parts"][name] = run_part(name, setting, deadline)
        result["seconds"] = round(options.minutes * 60 - (deadline - time.monotonic()), 1)
        result["plan"] = for_plan(result)
        write(result, options.out)
    bad = failures(result)
    for line in bad:
        print(f"FAILED: {line}")
    print(f"{options.out / slug(result)}.json and .md, after {result['seconds']:.0f} s"
          f"{'' if bad else ': all comparisons hold'}")  # fmt: skip
    return 1 if bad else 0


def started(minutes):
    """The time at which all must be over, on the clock of ``time.monotonic``."""
    return time.monotonic() + 60 * minutes


def facts(setting):
    """The machine, the versions and the code."""
    where, revision = setting.where, "unknown"
    try:
        command = ["git", "describe", "--always", "--dirty"]
        done = subprocess.run(command, cwd=OUT.parent, capture_output=True, text=True)
        revision = done.stdout.strip() or revision
    except OSError:
        pass
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "present" if find_spec(name) else "not installed"
    found = {
        "format": FORMAT, "date": time.strftime("%Y-%m-%d"), "revision": revision,
        "gpu": platform.machine(), "python": platform.python_version(), "packages": packages,
        "small": setting.small, "seconds": 0.0, "parts": {},
    }  # fmt: skip
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        found |= {
            "gpu": properties.name, "memory_gb": properties.total_memory / 1e9,
            "capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }  # fmt: skip
    return found


# --- processes ------------------------------------------------------------------------------------


def run_part(name, setting, deadline):
    """Run a part in its own process: its rows, seconds, and what went wrong, if anything."""
    begun, rows, problem, unfinished = time.monotonic(), [], None, None
    left = deadline - begun
    if left <= 0:
        print(f"{name}: no time left")
        return {"seconds": 0.0, "rows": [], "problem": None, "unfinished": "no time left"}
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, name, setting))
    process.start()
    sender.close()  # otherwise the part's end would go unnoticed here
    try:
        while True:
            if not receiver.poll(max(0.0, deadline - time.monotonic())):
                unfinished = f"ended after {left:.0f} s: no time left"
                break
            kind, value = receiver.recv()
            if kind == "row":
                rows.append(value)
                print(f"{name}: {in_words(value)}", flush=True)
            else:
                problem = value
                break
    except EOFError:
        problem = "the process ended by itself (a signal, or no memory)"
    finally:
        _end(process)
    said = problem or unfinished
    if said:
        print(f"{name}: {said}", flush=True)
    seconds = round(time.monotonic() - begun, 1)
    return {"seconds": seconds, "rows": rows, "problem": problem, "unfinished": unfinished}


def _work(sender, name, setting):
    """In the process: send each row; at the end None, or the error."""
    os.setpgid(0, 0)  # the compiler's workers end with it
    problem = None
    try:
        for row in PARTS[name](setting):
            sender.send(("row", row))
    except Exception as error:
        traceback.print_exc()
        problem = f"{type(error).__name__}: {single_line(error)[:300]}"
    sender.send(("end", problem))


def _end(process):
    """End a part's process and those it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            if process.is_alive():  # it has no group of its own yet
                process.kill()
        process.join(GRACE_SECONDS)


# --- results --------------------------------------------------------------------------------------


def failures(result):
    """What is wrong, one line each."""
    lines = []
    for name, part in result["parts"].items():
        lines += [f"{name}: {part['problem']}"] if part["problem"] else []
        lines += [f"{name}: {in_words(row)}" for row in part["rows"] if row.get("ok") is False]
    return lines


def for_plan(result):
    """What `dimr plan --measured` reads (``dimr.planning.hardware.Measured``)."""
    speeds, rows = {}, {}
    for name, part in result["parts"].items():
        step, _, variant = name.partition(" ")
        rows |= {(step, variant, row["row"]): row for row in part["rows"]}
    decode = rows.get(("autoencoder", "", "decode, float32"))
    for (step, variant, way), row in rows.items():
        if way != "compiled" or step not in ("train", "sample") or not row["ok"]:
            continue
        speed = row["images_per_second"]
        if step == "sample" and decode:
            speed = 1 / (1 / speed + 1 / decode["images_per_second"])
        speeds.setdefault(step, {})[f"{RUNS[variant]}/{variant}"] = speed
    if encode := rows.get(("autoencoder", "", "encode, float32")):
        speeds["encode"] = {"imagenet256": encode["images_per_second"]}
    source = f"make gpu-check, {result['date']}, {result['revision']}"
    return {"gpu": result["gpu"], "source": source, "images_per_second": speeds}


def slug(result):
    """The name of the files: the GPU's."""
    return re.sub(r"[^a-z0-9]+", "-", result["gpu"].lower()).strip("-")


def write(result, out):
    """The JSON and the Markdown of what is known so far."""
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(result, indent=1)), (".md", markdown(result))):
        write_text(out / f"{slug(result)}{suffix}", f"{text}\n")


def markdown(result):
    """One table per part, with a column for each value that any of its rows has."""
    head = ", ".join(f"{name} {said}" for name, said in result["packages"].items())
    more = [f"{key} {shown(result[key])}" for key in ("memory_gb", "cuda", "cudnn", "revision")
            if key in result]  # fmt: skip
    lines = [
        f"# `make gpu-check` on {result['gpu']}", "",
        f"{result['date']}, {', '.join(more)}; Python {result['python']}, {head}. "
        f"{result['seconds']:.0f} s in all{', in small' if result['small'] else ''}.",
    ]  # fmt: skip
    for name, part in result["parts"].items():
        lines += ["", f"## {name} ({part['seconds']:.0f} s)", ""]
        columns = list(dict.fromkeys(key for row in part["rows"] for key in row))
        if columns:
            lines.append(f"| {' | '.join(key.replace('_', ' ') for key in columns)} |")
            lines.append(f"|---|{'---:|' * (len(columns) - 1)}")
        for row in part["rows"]:
            lines.append(f"| {' | '.join(shown(row.get(key)) for key in columns)} |")
        said = part["problem"] or part["unfinished"]
        lines += ["", f"**{said}**"] if said else []
    return "\n".join(lines)


def in_words(row):
    """A row on one line."""
    rest = [f"{key} {shown(value)}" for key, value in row.items() if key != "row"]
    return f"{row['row']}: {', '.join(rest)}" if rest else row["row"]


def shown(value):
    """A value as tables have it: three or four digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
