"""Snakemake asks SLURM for its jobs every second here; of itself it asks the less often the longer
nothing ends (11 s, 21 s, ... to 180 s), which makes the tests wait. Nothing else is different.
"""

import sys

if "--profile" in sys.orig_argv and any(part.endswith("snakemake") for part in sys.orig_argv[:2]):
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)
