# What DVC's stages of the workspace run ask for (dvc.yaml), whatever its dataset and settings are.

from dimr.sharing.workspace import STEPS, Workspace


@one_line_errors
def workspace_targets(step, wildcards):
    """Input function: all that one of DVC's stages makes."""
    return Workspace(PROJECT).targets(step)


for step in ["data", *STEPS]:

    rule:
        name:
            f"workspace_{step}"
        input:
            partial(workspace_targets, step),
        localrule: True
