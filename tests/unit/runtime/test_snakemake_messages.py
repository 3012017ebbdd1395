"""Snakemake's messages in this project's words: its own loggers, formatters and exceptions."""

import io
import logging
import signal

import pytest
from snakemake.exceptions import LockException, WorkflowError, print_exception
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from dimr.runtime.snakemake_messages import EARLY, FAILED, INTERRUPTED, LOCKED, complaint, install

RUN = {"run": "digits/dimr-xs-2r/0", "setting": "guided"}


class Snakemake:
    """Its logger with its own handler, and a few of its messages."""

    def __init__(self, *quiet, dryrun=False):
        self.logger = logging.Logger("snakemake", logging.INFO)
        self.stream = io.StringIO()
        handler = ColorizingTextHandler(
            nocolor=True,
            stream=self.stream,
            formatter=DefaultFormatter(quiet),
            filter=DefaultFilter(quiet, False, False, dryrun, False),
        )
        self.logger.addHandler(handler)
        self.end = install(self.logger)

    @property
    def said(self):
        text = self.stream.getvalue()
        self.stream.truncate(0)
        self.stream.seek(0)
        return text.strip().splitlines()

    def job(self, number, rule="sample", **wildcards):
        empty = {"input": [], "output": ["o"], "log": [f"logs/{rule}.log"], "resources": {}}
        facts = {"rule_msg": None, "reason": "new", "benchmark": None, "priority": 0, "threads": 1}
        self.logger.info("job", extra={
            "event": LogEvent.JOB_INFO, "jobid": number, "rule_name": rule, "local": False,
            "is_checkpoint": False, "wildcards": wildcards, **empty, **facts,
        })  # fmt: skip

    def failure(self, number, rule="sample", message=None, **aux):
        self.logger.error("Error in rule", extra={
            "event": LogEvent.JOB_ERROR, "rule_name": rule, "rule_msg": message, "jobid": number,
            "input": ["i"], "output": ["o"], "log": [f"logs/{rule}.log"], "conda_env": None,
            "container_img": None, "aux": aux, "indent": False, "shellcmd": "dimr --log secret",
        })  # fmt: skip

    def finished(self, *numbers):
        for number in numbers:
            extra = {"event": LogEvent.JOB_FINISHED, "job_id": number}
            self.logger.info(f"Finished jobid: {number} (Rule: sample)", extra=extra)
        self.logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 3, "total": 12})


@pytest.fixture(autouse=True)
def interrupts():
    """Ctrl-C as it was, whatever a test installs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_quiet_jobs_are_named_when_they_start_and_end():
    snakemake = Snakemake(Quietness.RULES)
    snakemake.logger.info("Select jobs to execute...")
    snakemake.logger.info("Execute 2 jobs...", extra={"event": LogEvent.JOB_STARTED})
    snakemake.logger.info("Provided cores: 2", extra={"event": LogEvent.RESOURCES_INFO})
    snakemake.logger.info("Conda environments: ignored")
    snakemake.job(1, **RUN)
    snakemake.job(2, "train", run="digits/dit-xs-2/0")
    snakemake.finished(1)
    snakemake.finished(2)
    assert snakemake.said == [
        "started: sample digits/dimr-xs-2r/0 guided",
        "started: train digits/dit-xs-2/0",
        "3 of 12 steps (25%) done: sample digits/dimr-xs-2r/0 guided",
        "3 of 12 steps (25%) done: train digits/dit-xs-2/0",
    ]


def test_without_quiet_snakemake_says_what_a_job_is():
    snakemake = Snakemake()
    snakemake.logger.info("Select jobs to execute...")
    snakemake.job(1, **RUN)
    said = snakemake.said
    assert "rule sample:" in said
    assert any("wildcards: run=digits/dimr-xs-2r/0, setting=guided" in line for line in said)
    assert not any("Select jobs" in line or line.startswith("started") for line in said)


def test_a_dry_run_starts_nothing():
    snakemake = Snakemake(Quietness.RULES, dryrun=True)
    snakemake.job(1, **RUN)
    assert snakemake.said == []


def test_a_failed_job_is_a_line_without_its_command():
    snakemake = Snakemake(Quietness.RULES)
    snakemake.job(1, **RUN)
    assert snakemake.said == ["started: sample digits/dimr-xs-2r/0 guided"]
    snakemake.logger.error(
        "RuleException:\nCalledProcessError in file \"f\", line 4:\nCommand 'dimr --log secret' "
        "returned non-zero exit status 2.",
        extra={"event": LogEvent.ERROR, "exception": "RuleException"},
    )
    snakemake.failure(1)
    snakemake.logger.info("Shutting down, this might take some time.")
    snakemake.logger.error("Exiting because a job execution failed. Look above for error messages")
    snakemake.end()
    error = WorkflowError("At least one job did not complete successfully.")
    log_exception(snakemake, error)
    assert snakemake.said == [
        "failed: sample digits/dimr-xs-2r/0 guided (messages: logs/sample.log)",
        FAILED,
    ]


def log_exception(snakemake, error):
    """As ``print_exception`` does, to the logger of the test."""
    from snakemake.exceptions import format_exception_to_string

    extra = {"event": LogEvent.ERROR, "exception": type(error).__name__}
    snakemake.logger.error(format_exception_to_string(error, {}), extra=extra)


def test_a_cluster_job_keeps_what_the_scheduler_says():
    snakemake = Snakemake()
    snakemake.failure(1, external_jobid="4711", slurm_log="x.log")
    said = "\n".join(snakemake.said)
    assert "Error in rule sample:" in said
    assert "external_jobid: 4711" in said
    assert "secret" not in said
    snakemake.failure(2, message="SLURM status is: 'TIMEOUT'")
    assert "    message: SLURM status is: 'TIMEOUT'" in snakemake.said


def test_errors_of_ours_are_one_line():
    snakemake = Snakemake()
    log_exception(snakemake, WorkflowError("params.yaml: train.stepz: unknown key"))
    log_exception(snakemake, LockException())
    assert snakemake.said == ["error: params.yaml: train.stepz: unknown key", f"error: {LOCKED}"]


def test_a_place_in_the_snakefile_is_left_out():
    text = (
        'WorkflowError in file "/p/workflow/rules/common.smk", line 211:\nparams.yaml: x: wrong\n'
        '  File "/p/workflow/rules/common.smk", line 211, in <module>\n'
        '  File "/p/workflow/rules/common.smk", line 50, in wrapped'
    )
    assert complaint(text) == "params.yaml: x: wrong"
    assert complaint(f"Building DAG of jobs...\nerror: {complaint(text)}\nmore") == (
        "params.yaml: x: wrong"
    )


def test_other_exceptions_are_as_snakemake_has_them():
    snakemake = Snakemake()
    log_exception(snakemake, ValueError("ours to fix"))
    assert "ValueError: ours to fix" in snakemake.said


def test_an_interrupt_says_what_is_kept_and_hides_what_it_causes():
    snakemake = Snakemake(Quietness.RULES)
    snakemake.job(1, **RUN)
    with pytest.raises(SystemExit) as left:
        signal.raise_signal(signal.SIGINT)
    assert left.value.code == 130
    assert snakemake.said == ["started: sample digits/dimr-xs-2r/0 guided"]
    snakemake.logger.info("Terminating processes on user request, this might take some time.")
    snakemake.failure(1)
    snakemake.end()
    snakemake.logger.info("Complete log(s): /p/.snakemake/log/x")
    assert snakemake.said == ["stopping; a training saves its state first", INTERRUPTED]
    with pytest.raises(KeyboardInterrupt):  # a second one is the usual one
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_before_any_step_says_so():
    snakemake = Snakemake()
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGINT)
    assert snakemake.said == [EARLY]


def test_a_handler_that_is_not_snakemakes_is_left_alone():
    logger = logging.Logger("other")
    stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    install(logger)
    logger.info("Select jobs to execute...")
    assert stream.getvalue() == "Select jobs to execute...\n"


def test_exceptions_are_logged_as_this_test_takes_them(caplog):
    """``log_exception`` above stands for ``print_exception`` of the locked Snakemake."""
    print_exception(WorkflowError("x"), {})
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (record.event, record.exception) == (LogEvent.ERROR, "WorkflowError")
