"""A plan for people (a table, the total and what was assumed) and for machines (JSON)."""

from collections.abc import Sequence
from typing import Any

from dimr.paper.tables.layout import text_lines
from dimr.planning.costs import INCEPTION_MACS, REFERENCE_IMAGES
from dimr.planning.plan import Line, Plan

HEADS = ["Step", "Of", "Setting", "GPU-hours", "GPUs", "Wall", "Disk"]
RIGHT = [False, False, False, True, True, True, True]

COUNTED = {
    "train": "training, 6 FLOP a MAC and image (forward, and twice as much backward)",
    "sample": "sampling, 2 FLOP a MAC and network evaluation, twice with guidance, and decoding",
    "encode": "encoding, 2 FLOP a MAC of the autoencoder's encoder",
    "evaluate": f"metrics, Inception ({INCEPTION_MACS / 1e9:.2f} GMACs) on the samples and "
    f"{REFERENCE_IMAGES:,} reference images, and all pairs of their features",
}
"""What is counted of each step."""
DISK = (
    "Disk: latents as float16 moments or uint8 pixels; samples as shards and as .npz; of a "
    "training its model and, until it ends, two checkpoints (weights, EMA and two moments in "
    "float32). Caches of downloads are not counted."
)
WALL = (
    "Wall time: queues, start-up and interruptions are not counted, and what an unfinished step "
    "has done is not deducted."
)


def plan_text(plan: Plan) -> list[str]:
    """The plan as lines: a table, the total, and every assumption."""
    if not plan.lines:
        return ["nothing to do: all is there"]
    body = [_texts(line) for line in plan.lines]
    count = f"{len(body)} step{'s' if len(body) > 1 else ''}"
    hours = f"{plan.gpu_hours:,.1f}" if plan.gpu_hours else ""
    total = ["total", count, "", hours, "", duration(plan.seconds)]
    return [
        "Estimates, not measurements; what is assumed stands below.",
        "",
        *text_lines(HEADS, [*body, [*total, size_text(plan.disk)]], RIGHT),
        "",
        f"Wall time: {duration(plan.seconds)} if one step follows the other, "
        f"{duration(plan.chain)} if all that can run at once does.",
        "",
        *(f"- {text}" for text in assumptions(plan)),
    ]


def _texts(line: Line) -> list[str]:
    work = line.work
    hours = f"{line.gpu_hours:,.1f}" if work.gpus else ""
    wall = "?" if line.seconds is None else duration(line.seconds)
    return [work.step, work.of, work.setting, hours, str(work.gpus or ""), wall,
            size_text(work.disk) if work.disk else ""]  # fmt: skip


def duration(seconds: float) -> str:
    """In the unit that reads best: 42 s, 12 min, 7.5 h, 28.8 days."""
    for unit, size, below in (("s", 1, 60), ("min", 60, 7200), ("h", 3600, 48 * 3600)):
        if seconds < below:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def size_text(size: float) -> str:
    """Bytes as MB, GB or TB (powers of 10)."""
    for unit, factor in (("MB", 1e6), ("GB", 1e9)):
        if size < 1000 * factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e12:,.2f} TB"


def assumptions(plan: Plan) -> list[str]:
    """Everything that the numbers rest on, a line each."""
    timed = [line for line in plan.lines if line.rate]
    on_gpus = [line for line in timed if line.work.gpus]
    gpu, cpu = plan.machine.gpu, plan.machine.hardware.cpu
    lines = []
    if on_gpus:
        lines = [
            f"GPU: {gpu.name}, {gpu.teraflops:g} TFLOP/s of dense bf16 ({gpu.source}).",
            f"Share of that peak: {', '.join(_shares(on_gpus, gpu.teraflops * 1e12))}. A step that "
            "computes in float32 reaches less: measure, and say --utilisation or --measured.",
            "GPUs: in all nodes, as recipes.yaml says (resources), with perfect scaling over them.",
        ]
    counted = [
        COUNTED[name] for name in dict.fromkeys(line.work.resource for line in timed) if name
    ]
    lines += [f"Counted: {'; '.join(counted)}."] if counted else []
    if any(line.seconds is not None and not line.work.gpus for line in plan.lines):
        lines.append(f"Steps without GPUs: one core, at the speed of {cpu.source}.")
    unknown = dict.fromkeys(line.work.step for line in plan.lines if line.seconds is None)
    if unknown:
        lines.append(
            f"Not estimated (?), as a network, a disk or the CPU decides: {', '.join(unknown)}."
        )
    lines += dict.fromkeys(f"Assumed: {said}." for line in plan.lines for said in line.work.assumed)
    return [*lines, DISK, WALL]


def _shares(lines: Sequence[Line], peak: float) -> list[str]:
    """``train 0.4 (assumed)`` for each step and rate."""
    found: dict[str, None] = {}
    for line in lines:
        if line.rate:
            found[f"{line.work.resource} {line.rate.flops / peak:.2g} ({line.rate.origin})"] = None
    return list(found)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: seconds, bytes and FLOP; null where nothing is estimated."""
    return {
        "estimates": True,
        "gpu": plan.machine.gpu.name,
        "steps": [_entry(line) for line in plan.lines],
        "total": {
            "gpu_hours": plan.gpu_hours,
            "seconds_one_after_another": plan.seconds,
            "seconds_at_once": plan.chain,
            "bytes": plan.disk,
        },
        "assumptions": assumptions(plan) if plan.lines else [],
    }


def _entry(line: Line) -> dict[str, Any]:
    work = line.work
    return {
        "step": work.step,
        "of": work.of,
        "setting": work.setting or None,
        "gpus": work.gpus,
        "gpu_hours": line.gpu_hours if work.gpus else None,
        "seconds": line.seconds,
        "bytes": work.disk,
        "flop": work.flops,
        "images": work.images,
        "flop_per_second": line.rate and line.rate.flops,
        "speed_is": line.rate and line.rate.origin,
    }
