"""A small world in which every kind of artefact lies, and every command that reads one.

Everything is made by ``dimr`` itself, of scikit-learn's digits and a miniature ImageNet, with
networks so small that a command takes a fraction of a second once its modules are imported: they
are run in processes forked from one that has them (``tests/support/forks.py``).
"""

import hashlib
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]  # not the root: a library has a package "tests"

from support.forks import Server  # noqa: E402
from support.inception import pictures, save_random_inception  # noqa: E402
from support.miniature import make_miniature  # noqa: E402

MODULES = (
    "diffusers.models.autoencoders.autoencoder_kl", "torch_fidelity.metrics", "sklearn.datasets",
    "timm.data", "matplotlib.figure", "pandas", "PIL.ImageDraw", "scipy.io",
    "dimr.data.autoencoder", "dimr.data.latent_folder", "dimr.evaluation.classifier",
    "dimr.evaluation.reference", "dimr.evaluation.fidelity", "dimr.evaluation.downloads",
    "dimr.human_study.confidence", "dimr.evaluation.memorisation", "dimr.human_study.rating_page",
    "dimr.sampling.folder", "dimr.sampling.picture", "dimr.sampling.engine", "dimr.checkpoints",
    "dimr.diffusion.solver", "dimr.data.imagenet.acquire", "dimr.paper.tables.runs",
    "dimr.paper.figures.make",
)  # fmt: skip
NETWORK = {
    "family": "dimr", "layers": [1, 1], "dims": [16, 16], "heads": 2, "norm": "rms",
    "feed_forward": "glu", "outputs": "all", "input_size": 8, "channels": 4, "num_classes": 10,
    "time_map": "latent", "schedule": "latent",
}  # fmt: skip
SECTIONS = {
    "images": {"source": "digits", "image_size": 16, "train_per_class": 20, "split_seed": 0},
    "autoencoder": {"kind": "trained", "channels": [8, 8], "steps": 2, "batch": 8, "lr": 1e-3,
                    "seed": 0},
    "identity": {"kind": "identity", "channels": 3},
    "latents": {"shard_size": 64},
    "classifier": {"steps": 2, "batch": 8, "lr": 1e-3, "seed": 0},
    "train": {
        "dataset": "digits", "seed": 3, "network": NETWORK,
        "train": {
            "steps": 6, "batch": 8, "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.03,
            "warmup_steps": 5, "ema_decay": 0.9, "label_dropout": 0.2, "objective": "noise",
            "grad_clip": None, "precision": "auto", "compile": False, "log_every": 2,
        },
    },
    "sample": {"seed": 0, "count": 40, "steps": 3, "solver": "authors",
               "guidance": {"kind": "constant", "scale": 0.5}},
    "baseline": {"source": "reconstruction", "count": 40},
    "evaluate": {"extractor": "digits", "weights": None, "isc_splits": 1, "prc_neighborhood": 3,
                 "count": 40},
    "distortion": {"classifier": "digits", "threshold": 0.5, "shown": 4, "seed": 0},
    "study": {"title": "T", "seed": 0, "raters": 2, "per_image": 1,
              "rows": [{"name": "A", "run": "digits/dimr-xs-2r/0", "setting": "guided"}]},
    "source_latents": {"shard_size": 8, "image_size": 16, "mirror": True, "dtype": "float32"},
    "reference": {"file": "batch.npz", "image_size": 64},
}  # fmt: skip
SECONDS = 60
"""After so long a command hangs."""


@dataclass
class Done:
    """What a command did."""

    code: int
    seconds: float
    messages: str

    @property
    def traceback(self):
        return "Traceback (most recent call last)" in self.messages or self.code in (1, -6, -11)

    @property
    def last(self):
        lines = [line for line in self.messages.splitlines() if line.strip()]
        return lines[-1] if lines else ""


@dataclass
class World:
    """The folder, and the process that runs commands in it."""

    folder: Path
    server: Server = field(default_factory=lambda: Server(*MODULES))
    extractor: str = ""
    number: int = 0

    def path(self, name):
        return self.folder / name

    def config(self, name, **changes):
        """Write a section's file."""
        path = self.folder / f"config/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**SECTIONS[name], **changes}, sort_keys=False))
        return path

    def run(self, arguments, environment=None, file_size=None):
        """``dimr ARGUMENTS``, to its end; relative paths are below the world's folder."""
        self.number += 1
        log = self.folder / f"messages/{self.number}.txt"
        log.parent.mkdir(exist_ok=True)
        begun = time.monotonic()
        words = list(map(str, arguments))
        process = self.server.start(words, log, environment, file_size)
        code = process.poll()
        while code is None:
            if time.monotonic() - begun > SECONDS:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.005)
            code = process.poll()
        text = log.read_text(errors="replace")
        log.unlink()
        return Done(code, time.monotonic() - begun, text)

    def must(self, *arguments, code=0):
        done = self.run(arguments)
        assert done.code == code, (arguments, done)
        return done

    def close(self):
        self.server.close()

    def command(self, name):
        """A command line that succeeds in this world, by name; its outputs go to ``out/``."""
        at = self.path
        cpu = ["--device", "cpu", "--threads", "1"]
        run = at("runs/digits/dimr-xs-2r/0")
        compared = ["--images", at("images"), "--classifier", at("classifier")]
        measured = ["--metrics", at("out/m.json"), "--provenance", at("out/p.json")]
        commands = {
            "images": ["images", "--config", self.config("images"), "--out", at("out/images")],
            "autoencoder": ["autoencoder", "--config", self.config("autoencoder"),
                            "--images", at("images"), "--threads", "1",
                            "--out", at("out/autoencoder")],
            "encode": ["encode", "--config", self.config("latents"), "--images", at("images"),
                       "--autoencoder", at("autoencoder"), "--out", at("out/latents"), *cpu],
            "encode_source": ["encode", "--config", self.config("source_latents"), "--images",
                              at("source"), "--autoencoder", at("identity"), "--workers", "0",
                              "--out", at("out/pixels"), *cpu],
            "classifier": ["classifier", "--config", self.config("classifier"), "--images",
                           at("images"), "--threads", "1", "--out", at("out/classifier")],
            "train": ["train", "--config", self.config("train"), "--data", at("latents"),
                      "--state", at("out/state"), "--out", at("out/model"), "--log-csv",
                      at("out/log.csv"), "--no-compile", *cpu],
            "resume": ["train", "--config", self.config("train"), "--data", at("latents"),
                       "--state", at("state"), "--out", at("out/model"), "--log-csv",
                       at("out/log.csv"), "--no-compile", *cpu],
            "resume_finished": ["train", "--config", self.config("train"), "--data", at("latents"),
                                "--state", at("finished"), "--out", at("out/model"), "--log-csv",
                                at("out/log.csv"), "--no-compile", *cpu],
            "sample": ["sample", "--config", self.config("sample"), "--model", run / "model",
                       "--autoencoder", at("autoencoder"), "--out", at("out/samples"), *cpu],
            "resume_sample": ["sample", "--config", self.config("sample"), "--model",
                              run / "model", "--autoencoder", at("autoencoder"), "--out",
                              at("partial/samples"), *cpu],
            "picture": ["sample", "--model", run / "model", "--autoencoder", at("autoencoder"),
                        "--class", "3", "--per-class", "2", "--steps", "3",
                        "--out", at("out/grid.png"), *cpu],
            "baseline": ["baseline", "--config", self.config("baseline"), "--images", at("images"),
                         "--autoencoder", at("autoencoder"), "--out", at("out/baseline"), *cpu],
            "evaluate": ["evaluate", "--config", self.config("evaluate"), "--samples",
                         run / "samples/guided", *compared, *measured, *cpu],
            "evaluate_npz": ["evaluate", "--config", self.config("evaluate"), "--samples",
                             run / "samples/guided/samples.npz", *compared, *measured, *cpu],
            "inception": ["evaluate", "--config", at("config/inception.yaml"), "--samples",
                          at("pictures.npz"), "--reference", at("reference"),
                          "--extractor-weights", at(self.extractor), *measured, *cpu],
            "export": ["export", "--model", run / "model", "--out", at("out/weights.pth")],
            "import": ["import", at("weights.pth"), "--out", at("out/imported")],
            "import_safetensors": ["import", at("weights.safetensors"),
                                   "--out", at("out/imported")],
            "scores": ["distortion-scores", "--config", self.config("distortion"), "--samples",
                       run / "samples/guided", "--classifier", at("classifier"),
                       "--out", at("out/scores.json"), *cpu],
            "rating_page": ["rating-page", "--study", self.config("study"), "--runs", at("runs"),
                            "--out", at("out/page.html"), "--key", at("out/key.json")],
            "data": ["data", "mini", "--config", at("config/mini.yaml"), "--source",
                     at("class-folders"), "--out", at("out/source")],
            "resume_data": ["data", "mini", "--config", at("config/mini.yaml"), "--source",
                            at("class-folders"), "--out", at("partial/source")],
            "resume_shards": ["data", "mini", "--config", at("config/mini.yaml"), "--source",
                              at("shards"), "--out", at("spilt/source")],
            "reference": ["data", "reference", "--config", self.config("reference"), "--source",
                          at("adm/batch.npz"), "--out", at("out/reference")],
        }  # fmt: skip
        return [str(word) for word in commands[name]]

    def clear_out(self):
        shutil.rmtree(self.path("out"), ignore_errors=True)
        self.path("out").mkdir()


def build(folder):
    """Make the world in an empty folder."""
    import numpy as np

    world = World(folder)
    at = world.path
    run = at("runs/digits/dimr-xs-2r/0")

    def keep(name, place, made):
        world.clear_out()
        world.must(*world.command(name))
        at(place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(at(f"out/{made}"), at(place))

    keep("images", "images", "images")
    keep("autoencoder", "autoencoder", "autoencoder")
    world.must("autoencoder", "--config", world.config("identity"), "--out", at("identity"))
    keep("encode", "latents", "latents")
    keep("classifier", "classifier", "classifier")
    world.clear_out()
    world.must(*world.command("train"), "--checkpoint-every", "2", "--stop-after", "0", code=75)
    shutil.copytree(at("out/state"), at("state"))
    world.must(*world.command("train"), "--checkpoint-every", "2")
    (run / "samples").mkdir(parents=True)
    shutil.move(at("out/model"), run / "model")
    shutil.copytree(at("out/state"), at("finished"))
    keep("sample", "runs/digits/dimr-xs-2r/0/samples/guided", "samples")
    keep("export", "weights.pth", "weights.pth")
    world.must("export", "--model", run / "model", "--out", at("weights.safetensors"))
    world.clear_out()
    world.must(*world.command("scores"))
    (run / "distortion").mkdir()
    for file in at("out").iterdir():
        shutil.move(file, run / f"distortion/guided{file.suffix}")
    _foreign(world, np)
    _unfinished(world)
    world.clear_out()
    return world


def _foreign(world, np):
    """What others publish: a miniature ImageNet, a reference batch, an Inception."""
    at = world.path
    miniature = make_miniature()
    miniature.class_folders(at("class-folders"))
    miniature.shards(at("shards"))
    at("config/mini.yaml").write_text(yaml.safe_dump(miniature.section()))
    world.must("data", "mini", "--config", at("config/mini.yaml"), "--source",
               at("class-folders"), "--out", at("source"))  # fmt: skip
    at("adm").mkdir()
    np.savez(at("adm/batch.npz"), pictures(12, 1))
    np.savez(at("pictures.npz"), pictures(20, 0), np.arange(20) % 10)
    world.clear_out()
    world.must(*world.command("reference"))
    shutil.move(at("out/reference"), at("reference"))
    at("extractor").mkdir()
    weights = save_random_inception(at("extractor"))
    world.extractor = f"extractor/{weights.name}"
    config = {**SECTIONS["evaluate"], "extractor": "inception-v3-compat", "weights": weights.name,
              "count": 20}  # fmt: skip
    at("config/inception.yaml").write_text(yaml.safe_dump(config))


def _unfinished(world):
    """Interrupted work: samples that lack the end, and two stores.

    One has two classes of three, the other has taken shards in and has no class yet.
    """
    from dimr.config.phases import section_key
    from dimr.config.schema import Source
    from dimr.config.validation import load_section
    from dimr.data.imagenet.acquire import open_source
    from dimr.data.imagenet.resumable_store import StoreWork

    at = world.path
    at("partial").mkdir()
    world.must(*world.command("resume_sample"), "--part", "1/1")
    config = load_section(Source, at("config/mini.yaml"))
    for source, out in (("class-folders", "partial"), ("shards", "spilt")):
        work = StoreWork(at(f"{out}/source"), section_key(config))
        found = open_source(str(at(source)), config, work)
        with work.claimed():
            work.begun_from({"kind": found.kind, "where": str(at(source))})
            found.prepare(work)
            for wnid, files in list(found.classes().items())[: 2 if out == "partial" else 0]:
                work.write_class(wnid, found.images(wnid), files.count)


RESULTS = {
    "autoencoder": "autoencoder/*.safetensors", "encode": "latents/*.npy",
    "encode_source": "pixels/*.npy", "classifier": "classifier/*.safetensors",
    "train": "model/*.safetensors", "resume": "model/*.safetensors",
    "resume_finished": "model/*.safetensors", "sample": "samples/*.npy",
    "resume_sample": "../partial/samples/*.npy", "picture": "grid.png",
    "baseline": "baseline/*.npy", "evaluate": "m.json", "evaluate_npz": "m.json",
    "inception": "m.json", "export": "weights.pth", "import": "imported/*.safetensors",
    "import_safetensors": "imported/*.safetensors", "scores": "scores.npz",
    "rating_page": "page.html", "resume_data": "../partial/source/*.tar",
    "resume_shards": "../spilt/source/*.tar",
}  # fmt: skip
"""Files below ``out/`` that are the result of a command and the same in every run."""


def digest(world, command):
    """What a command's result holds, without its times and records; None: there is none."""
    pattern = RESULTS[command]
    root = world.folder if pattern.startswith("../") else world.path("out")
    files = sorted(root.glob(pattern.removeprefix("../")))
    if not files:
        return None
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\n".encode() + file.read_bytes())
    return total.hexdigest()
