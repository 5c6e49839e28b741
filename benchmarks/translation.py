"""Translation beside JoeyNMT (Kreutzer et al. 2019): how good after the same time, and how fast.

    python benchmarks/translation.py DATA --out runs/beside --budget 80m     # trains both, one after the other: BLEU
    python benchmarks/translation.py DATA --speed runs/beside/nextword-mean runs/beside/joeynmt

DATA is the folder of Multi30k's lowercased and tokenized texts: {train,val,test_2016_flickr}.lc.norm.tok.{en,de}.

**Quality.** nextword is trained by recipes/multi30k_ende.toml, whose last checkpoints are then averaged. The wall time
that this took in all, from the training of the tokenizer on, is what JoeyNMT gets, from the training of its own on: a
Transformer of the same layers, width, heads, vocabulary and label smoothing, and batches of as many tokens (it counts
the longer side alone, so half as many). Its feed-forward layers are 1.5 times as wide, because those of nextword have
three matrices and its own two: so both have as many parameters, which are printed. Its dropout, 0.3, and its schedule
are those with which Wu et al. 2021 trained a Transformer of this size on these data: 5e-3 after 2,000 steps, then the
inverse square root.
JoeyNMT knows no budget, so it is interrupted, and saves what it has; its last checkpoint, its best one and the mean of
its best five are all measured. BLEU is that of one call of sacreBLEU.

**Speed.** The test set, by beams of 5, from strings to strings: as `nextword translate` does it, and as `joeynmt test`
does it. Each in turn, round after round; the first round does not count. Sentences a second by the wall clock, and by
the processor time of the process, which is disturbed less by what else the machine does.

Both run in one process, so JoeyNMT 2.3.0 must be installed beside nextword. What it asks for is older than what
nextword needs, but it runs with this, in a virtual environment of its own:

    pip install -e ".[tasks,tensorboard]"
    pip install --no-deps joeynmt==2.3.0 subword-nmt sacremoses "importlib_metadata<8"
    pip install "sentencepiece==0.2.0" matplotlib pandas pyyaml joblib

Nothing of it is changed. Its checkpoints hold pickled numbers, which torch.load refuses since 2.6 unless
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, as it is here.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import sacrebleu
import torch

from nextword.applied.translator import Translator
from nextword.cli import keep_freed_memory

RECIPE = Path(__file__).parent.parent / "recipes" / "multi30k_ende.toml"
TEST = "test_2016_flickr"
JOEY_CHECKPOINTS = 5
Runner = Callable[[], list[str]]
"""Translates the sources that it was made for."""


def lines(data: Path, part: str, language: str) -> list[str]:
    return (data / f"{part}.lc.norm.tok.{language}").read_text(encoding="utf-8").splitlines()


def bleu(outputs: list[str], references: list[str]) -> float:
    return sacrebleu.corpus_bleu(outputs, [references], tokenize="none", force=True).score


# -- nextword ----------------------------------------------------------------------------------------------------------


def train_nextword(data: Path, out: Path, budget: str) -> Path:
    """By the recipe; the mean of its last checkpoints, if a short budget left several."""
    run, mean = out / "nextword", out / "nextword-mean"
    texts = [str(data / f"{part}.lc.norm.tok.{language}") for part in ("train", "val") for language in ("en", "de")]
    command, valid = [sys.executable, "-m", "nextword"], ["--valid", texts[2], "--valid", texts[3]]
    settings = ["--config", str(RECIPE), "--budget", budget, "--out", str(run)]
    subprocess.run([*command, "train", *texts[:2], *valid, *settings], check=True)
    kept = len(list((run / "checkpoints").iterdir()))
    if kept < 2:
        return run
    last = ["--last", str(min(5, kept)), "--out", str(mean)]
    subprocess.run([*command, "average", str(run), *last], check=True)
    return mean


def nextword(run: Path, sources: list[str]) -> tuple[Runner, int]:
    """What `nextword translate` does, and the number of parameters."""
    translator = Translator.load(run)

    def translate() -> list[str]:
        return [found.text for found in translator.translate(sources, split=False, num_beams=5)]

    return translate, translator.generator.model.num_parameters()


# -- JoeyNMT -----------------------------------------------------------------------------------------------------------


def joey_settings(data: Path, folder: Path) -> dict[str, Any]:
    """Its configuration file, as a dict."""
    width, dropout = 128, 0.3
    half = {
        "type": "transformer",
        "num_layers": 4,
        "num_heads": 4,
        "hidden_size": width,
        "ff_size": 384,
        "dropout": dropout,
        "layer_norm": "pre",
        "embeddings": {"embedding_dim": width, "scale": True, "dropout": dropout},
    }
    side = {
        "level": "bpe",
        "voc_file": str(folder / "tokenizer" / "vocabulary.txt"),
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": str(folder / "tokenizer" / "bpe.model")},
        "max_length": 128,
    }
    return {
        "name": "multi30k",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": {
            "train": str(data / "train.lc.norm.tok"),
            "dev": str(data / "val.lc.norm.tok"),
            "src": {"lang": "en"} | side,
            "trg": {"lang": "de"} | side,
        },
        "testing": {
            "beam_size": 5,
            "beam_alpha": 1.0,
            "batch_size": 512,
            "batch_type": "token",
        },
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, 0.98],
            "scheduling": "warmupinversesquareroot",
            "learning_rate": 5e-3,
            "learning_rate_warmup": 2000,
            "learning_rate_min": 1e-7,
            "normalization": "tokens",
            "label_smoothing": 0.1,
            "clip_grad_norm": 1.0,
            "batch_size": 2048,
            "batch_type": "token",
            "epochs": 10**6,
            "logging_freq": 100,
            "validation_freq": 500,
            "early_stopping_metric": "ppl",
            "keep_best_ckpts": JOEY_CHECKPOINTS,
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": half,
            "decoder": half,
        },
    }


def train_joeynmt(data: Path, folder: Path, seconds: float) -> None:
    """For so many seconds in all."""
    import sentencepiece
    from joeynmt.training import train

    def stop(*_: object) -> None:
        raise KeyboardInterrupt  # at which it saves what it has, and ends

    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(data / f"train.lc.norm.tok.{language}") for language in ("en", "de")],
        model_prefix=str(tokenizer / "bpe"),
        vocab_size=10_000,
        model_type="bpe",
        character_coverage=1.0,
        pad_id=1,
        bos_id=2,
        eos_id=3,
        unk_id=0,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "bpe.model"))
    names = [pieces.id_to_piece(i) for i in range(pieces.vocab_size())]
    (tokenizer / "vocabulary.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    train(rank=0, world_size=None, cfg=joey_settings(data, folder), skip_test=True)


def average(folder: Path) -> None:
    """mean.ckpt, that of the checkpoints it kept beside the last, if there are any, as its own script makes it."""
    last = (folder / "latest.ckpt").resolve()
    kept = [path for path in folder.glob("*.ckpt") if path.stem.isdecimal() and path.resolve() != last]
    if not kept:
        return
    states = [torch.load(path, map_location="cpu")["model_state"] for path in kept]
    mean = {name: sum(state[name] for state in states) / len(states) for name in states[0]}
    torch.save({"model_state": mean}, folder / "mean.ckpt")


def checkpoints(folder: Path) -> list[Path]:
    """Those there are, the one likely best first."""
    return [path for name in ("mean", "best", "latest") if (path := folder / f"{name}.ckpt").exists()]


def joeynmt(data: Path, folder: Path, checkpoint: Path, sources: list[str]) -> tuple[Runner, int]:
    """What `joeynmt test` does, and the number of parameters."""
    from joeynmt.config import parse_global_args
    from joeynmt.prediction import predict, prepare

    settings = joey_settings(data, folder)
    settings["testing"]["load_model"] = str(checkpoint)
    with tempfile.TemporaryDirectory() as given:
        Path(given, "test.en").write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
        settings["data"]["test"] = str(Path(given, "test"))
        arguments = parse_global_args(settings, rank=0, mode="test")
        model, _, _, test = prepare(arguments, rank=0, mode="test")

    def translate() -> list[str]:
        of = {"device": arguments.device, "n_gpu": 0, "args": arguments.test, "autocast": arguments.autocast}
        return predict(model=model, data=test, **of)[2]

    return translate, sum(p.numel() for p in model.parameters())


# -- both --------------------------------------------------------------------------------------------------------------


def quality(data: Path, out: Path, budget: str, sentences: int | None) -> None:
    """Train both, and translate the test set by each."""
    sources, references = lines(data, TEST, "en")[:sentences], lines(data, TEST, "de")[:sentences]
    started = time.perf_counter()
    mean = train_nextword(data, out, budget)
    seconds = time.perf_counter() - started
    folder = out / "joeynmt"
    train_joeynmt(data, folder, seconds)
    average(folder)
    contestants = {f"nextword {mean.name}": nextword(mean, sources)}
    for checkpoint in checkpoints(folder):
        contestants[f"JoeyNMT {checkpoint.name}"] = joeynmt(data, folder, checkpoint, sources)
    print(f"\n{seconds:,.0f} s each, {torch.get_num_threads()} threads; BLEU on {TEST}, beam 5")
    for name, (translate, parameters) in contestants.items():
        print(f"  {name:24s} {bleu(translate(), references):6.2f}  {parameters:,} parameters", flush=True)


def speed(data: Path, run: Path, folder: Path, rounds: int, sentences: int | None) -> None:
    """Translate the test set by each in turn."""
    sources, references = lines(data, TEST, "en")[:sentences], lines(data, TEST, "de")[:sentences]
    theirs = joeynmt(data, folder, checkpoints(folder)[0], sources)
    contestants = {"nextword": nextword(run, sources)[0], "JoeyNMT": theirs[0]}
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    processor: dict[str, list[float]] = {name: [] for name in contestants}
    outputs = {}
    for _ in range(rounds + 1):
        for name, translate in contestants.items():
            begun = time.perf_counter(), time.process_time()
            outputs[name] = translate()
            wall[name].append(time.perf_counter() - begun[0])
            processor[name].append(time.process_time() - begun[1])
    print(f"\n{len(sources):,} sentences, beam 5, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, found in outputs.items():
        rates = [len(sources) / statistics.median(seconds[name][1:]) for seconds in (wall, processor)]
        words = statistics.mean(len(text.split()) for text in found)
        print(
            f"  {name:9s} {rates[0]:7.1f} sentences/s, {rates[1]:7.1f} a second of processor; "
            f"{words:.1f} words each, BLEU {bleu(found, references):.2f}"
        )
    for what, seconds in (("wall clock", wall), ("processor", processor)):
        medians = [statistics.median(seconds[name][1:]) for name in ("JoeyNMT", "nextword")]
        print(f"  nextword is {medians[0] / medians[1]:.2f} times as fast by the {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.lc.norm.tok.en and so on")
    parser.add_argument("--out", type=Path, help="train both into this new folder")
    parser.add_argument("--budget", default="80m", help="of nextword's training; JoeyNMT gets as long")
    parser.add_argument("--speed", type=Path, nargs=2, metavar=("RUN", "JOEYNMT"), help="two trained folders")
    parser.add_argument("--rounds", type=int, default=5, help="times each translates, after one that does not count")
    parser.add_argument("--sentences", type=int, help="only so many of the test set")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.out:
        quality(arguments.data, arguments.out, arguments.budget, arguments.sentences)
    if arguments.speed:
        speed(arguments.data, *arguments.speed, arguments.rounds, arguments.sentences)
    if not (arguments.out or arguments.speed):
        parser.error("give --out to train, or --speed to compare two trained folders")


if __name__ == "__main__":
    main()
