"""A plan for people (a table, the total and what was assumed) and for machines (JSON)."""

from collections.abc import Sequence
from typing import Any

from dimr.paper.tables.render import text_lines
from dimr.planning.plan import Estimate, Plan
from dimr.stages.costs import INCEPTION_MACS, REFERENCE_IMAGES

HEADS = ["Stage", "Of", "Setting", "GPU-hours", "GPUs", "Wall", "Disk"]
RIGHT = [False, False, False, True, True, True, True]

COUNTED = {
    "train": "training, 6 FLOP per MAC and image (forward, and twice as much backward)",
    "sample": "sampling, 2 FLOP per MAC and network evaluation, twice with guidance, and decoding",
    "encode": "encoding, 2 FLOP per MAC of the autoencoder's encoder",
    "evaluate": f"metrics, Inception ({INCEPTION_MACS / 1e9:.2f} GMACs) on the samples and "
    f"{REFERENCE_IMAGES:,} reference images, and all pairs of their features",
}
"""What is counted for each step."""
DISK = (
    "Disk: latents as float16 moments or uint8 pixels; samples as shards and as .npz; of a "
    "training its model and, until it ends, two checkpoints (weights, EMA and two moments in "
    "float32). Caches of downloads are not counted."
)
WALL = (
    "Wall time: queues, start-up and interruptions are not counted, and what an interrupted job "
    "has already done is not deducted."
)


def plan_text(plan: Plan) -> list[str]:
    """The plan as lines: a table, the total, and every assumption."""
    if not plan.estimates:
        return ["nothing to do: all of it exists"]
    body = [_texts(line) for line in plan.estimates]
    count = f"{len(body)} job{'s' if len(body) > 1 else ''}"
    hours = f"{plan.gpu_hours:,.1f}" if plan.gpu_hours else ""
    total = ["total", count, "", hours, "", duration(plan.seconds)]
    return [
        "Estimates, not measurements; assumptions are listed below.",
        "",
        *text_lines(HEADS, [*body, [*total, size_text(plan.disk)]], RIGHT),
        "",
        f"Wall time: {duration(plan.seconds)} one job at a time, "
        f"{duration(plan.chain)} with everything in parallel that can be.",
        "",
        *(f"- {text}" for text in assumptions(plan)),
    ]


def _texts(line: Estimate) -> list[str]:
    cost = line.cost
    hours = f"{line.gpu_hours:,.1f}" if cost.gpus else ""
    wall = "?" if line.seconds is None else duration(line.seconds)
    return [cost.stage, cost.of, cost.setting, hours, str(cost.gpus or ""), wall,
            size_text(cost.disk) if cost.disk else ""]  # fmt: skip


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
    """Everything that the numbers rest on, one line each."""
    timed = [line for line in plan.estimates if line.rate]
    on_gpus = [line for line in timed if line.cost.gpus]
    gpu, cpu = plan.machine.gpu, plan.machine.hardware.cpu
    lines = []
    if on_gpus:
        lines = [
            f"GPU: {gpu.name}, {gpu.teraflops:g} TFLOP/s of dense bf16 ({gpu.source}).",
            f"Share of that peak: {', '.join(_shares(on_gpus, gpu.teraflops * 1e12))}. A stage "
            "that computes in float32 reaches less: measure, and give --utilisation or --measured.",
            "GPUs: in all nodes, as recipes.yaml says (resources), with perfect scaling over them.",
        ]
    counted = [
        COUNTED[name] for name in dict.fromkeys(line.cost.resource for line in timed) if name
    ]
    lines += [f"Counted: {'; '.join(counted)}."] if counted else []
    if any(line.seconds is not None and not line.cost.gpus for line in plan.estimates):
        lines.append(f"Stages without GPUs: one core, at the speed of {cpu.source}.")
    unknown = dict.fromkeys(line.cost.stage for line in plan.estimates if line.seconds is None)
    if unknown:
        lines.append(
            f"Not estimated (?), because network, disk or CPU decides: {', '.join(unknown)}."
        )
    lines += dict.fromkeys(
        f"Assumed: {said}." for line in plan.estimates for said in line.cost.assumed
    )
    return [*lines, DISK, WALL]


def _shares(lines: Sequence[Estimate], peak: float) -> list[str]:
    """``train 0.4 (assumed)`` for each step and rate."""
    found: dict[str, None] = {}
    for line in lines:
        if line.rate:
            found[f"{line.cost.resource} {line.rate.flops / peak:.2g} ({line.rate.origin})"] = None
    return list(found)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: seconds, bytes and FLOP; null where nothing is estimated."""
    return {
        "estimates": True,
        "gpu": plan.machine.gpu.name,
        "steps": [_entry(line) for line in plan.estimates],
        "total": {
            "gpu_hours": plan.gpu_hours,
            "seconds_one_after_another": plan.seconds,
            "seconds_at_once": plan.chain,
            "bytes": plan.disk,
        },
        "assumptions": assumptions(plan) if plan.estimates else [],
    }


def _entry(line: Estimate) -> dict[str, Any]:
    cost = line.cost
    return {
        "step": cost.stage,
        "of": cost.of,
        "setting": cost.setting or None,
        "gpus": cost.gpus,
        "gpu_hours": line.gpu_hours if cost.gpus else None,
        "seconds": line.seconds,
        "bytes": cost.disk,
        "flop": cost.flops,
        "images": cost.images,
        "flop_per_second": line.rate and line.rate.flops,
        "speed_is": line.rate and line.rate.origin,
    }
