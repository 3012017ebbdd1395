"""Names of metrics: keys of ``metrics/<setting>.json``, of columns of tables, of options.

Every list of them derives from here. Nothing is imported.
"""

FID_OF = {"inception-v3-compat": "fid", "digits": "fid_digits", "classifier": "fid_own"}
"""FID's name by the extractor of its features (``evaluate.extractor``): values of different
features are not comparable, and no column holds both."""
FID_TITLES = {"fid": "FID", "fid_digits": "FID-digits", "fid_own": "FID-own"}
"""How it is printed."""
OF_CLASSES = ("class_accuracy", "low_fidelity_share")
"""What a classifier of the dataset's classes says about images and their intended labels."""
OF_FEATURES = (
    "fid", "sfid", "fid_digits", "fid_own", "inception_score", "inception_score_std", "precision",
    "recall", *OF_CLASSES, "caption_accuracy", "caption_accuracy_seen",
    "caption_accuracy_heldout",
)  # fmt: skip
"""Metrics that compare only where the features are those of one network."""
METRICS = (
    *OF_FEATURES,
    "nearest_distance", "heldout_nearest_distance", "nearest_ratio", "near_copy_share", "images",
)  # fmt: skip
"""All of them."""
_BETTER = {
    "lower": ("fid", "sfid", "low_fidelity_share", "near_copy_share"),
    "higher": ("inception_score", "precision", "recall", "class_accuracy", "caption_accuracy"),
}


def better(metric: str) -> str | None:
    """Which way a metric is better, ``lower`` or ``higher``; None of those that are neither."""
    beginnings = _BETTER.items()
    return next((way for way, names in beginnings if metric.startswith(names)), None)
