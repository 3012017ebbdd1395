"""Run names and params.yaml to frozen configurations; imports no torch.

The classes of ``dimr.config.schema`` (``Train``, ``SampleConfig``, ...) are offered here.
"""

from dimr.config.schema import *  # noqa: F403
