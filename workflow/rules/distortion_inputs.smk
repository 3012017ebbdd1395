# What the distortion study's rules take: input functions only.

from dimr.human_study.study import PAPER, load_study, scores_file


def study_name(wildcards):
    """The study that a path below results belongs to."""
    return wildcards.place.strip("/") or PAPER


def study_file(wildcards):
    """A study's definition."""
    return f"experiments/distortion/{study_name(wildcards)}.yaml"


@one_line_errors
def study_scores(wildcards):
    """The scores of every model of a study."""
    study = load_study(study_name(wildcards), PROJECT)
    return [f"runs/{scores_file(row.run, row.setting)}" for row in study.rows]


def study_images(wildcards):
    """The chosen images beside the scores."""
    return [str(Path(file).with_suffix(".npz")) for file in study_scores(wildcards)]


def study_ratings(wildcards):
    """The raters' CSVs: people put them into a folder."""
    folder = Path("experiments/ratings") / study_name(wildcards)
    return sorted(map(str, folder.glob("*.csv")))
