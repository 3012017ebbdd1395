# Sourced before the command of each rule, with two arguments: the folder of the code, and that of the
# programs that Snakemake itself was started with. A rule runs this folder's code (a queued experiment
# has its own) with these programs; but under `--sdm`, with those of the image or conda environment.
export PYTHONPATH="$1"
case "${APPTAINER_CONTAINER:-${SINGULARITY_CONTAINER:-}}:${CONDA_PREFIX:-}" in
    :*/.snakemake/conda/*) # has what the lock pins, and not the package itself
        dimr() { python -m dimr "$@"; }
        export -f dimr
        ;;
    :*) export PATH="$2:$PATH" ;;
esac
# The job's name for its progress lines, from its log (logs/digits/real/0/train.log). It is read
# from the command, which bash got as a string: as a part of the rules, it would rerun everything.
case "${BASH_EXECUTION_STRING:-}" in
    *"--log logs/"*.log*)
        DIMR_JOB="${BASH_EXECUTION_STRING#*--log logs/}"
        DIMR_JOB="${DIMR_JOB%%.log*}"
        export DIMR_JOB="${DIMR_JOB%/*} ${DIMR_JOB##*/}"
        ;;
esac
