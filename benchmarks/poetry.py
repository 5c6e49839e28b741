"""Poems in form: are all of them, and what does it cost in speed?

    python benchmarks/poetry.py runs/tang                  # 1,000 poems in each of ten Chinese forms
    python benchmarks/poetry.py runs/tang --poems 64 --forms qijue wulü
    python benchmarks/poetry.py runs/sonnets --lexicon train.txt --forms english

For each form: how many poems the checker finds in form, which shares the tables with the automaton but no code; how
many are unfinished; and tokens/s beside texts of as many tokens by the same run without a constraint, in CPU time, so
that other programs do not count; what is prepared before the first poem does. All are drawn at temperature 1, with one
thread, and asked for at once: the engine keeps its batch of 64 rows full.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

import torch

from nextword.generator import TextGenerator
from nextword.generator.job import Job
from nextword.poetry.lexicon import words_of
from nextword.poetry.writer import Wish, judged, submit
from nextword.verse.forms import find_form

FORMS = {
    "chinese": ("wujue", "qijue", "wulü", "qilü", "忆江南", "如梦令", "浣溪沙", "菩萨蛮", "西江月", "水调歌头"),
    "english": ("haiku", "limerick", "common-metre", "ballad", "heroic-couplets", "sonnet", "petrarchan-sonnet"),
}


def begin() -> float:
    """CPU time now. What there is by now, Python's collector need not look at again: such a look takes a tenth of a
    second, and would fall to one half of a measurement by chance."""
    gc.collect()
    gc.freeze()
    return time.process_time()


def run(generator: TextGenerator, jobs: list[Job]) -> None:
    """To the end of all."""
    while not all(job.finished for job in jobs):
        generator.step()


def free(generator: TextGenerator, number: int, tokens: int) -> list[Job]:
    """As many texts of so many tokens, without a constraint."""
    settings = {
        "max_tokens": tokens,
        "ignore_eos": True,
        "num_samples": 1,
        "stop": (),
        "temperature": 1.0,
        "top_p": 1.0,
    }
    return [generator.submit(seed=i, **settings) for i in range(number)]


def measure(generator: TextGenerator, wish: Wish, poems: int) -> tuple[int, int, float, float]:
    """Poems in form, poems unfinished, tokens per second with the form and without it."""
    start = begin()
    jobs = submit(generator, wish, poems, costs=False, seed=1, temperature=1.0, top_p=1.0)
    run(generator, jobs)
    seconds = time.process_time() - start
    written = [job.done[0] for job in jobs]
    tokens = sum(len(one.token_ids) for one in written)
    in_form = sum(not judged(one.text, wish).faults for one in written)
    unfinished = sum(one.finish_reason != "eos" for one in written)
    start = begin()
    run(generator, free(generator, poems, tokens // poems))
    return in_form, unfinished, tokens / seconds, tokens // poems * poems / (time.process_time() - start)


def main() -> None:
    """Print a row for each form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--poems", type=int, default=1000)
    parser.add_argument("--forms", nargs="+", default=["chinese"], help="by name; chinese, english: several of them")
    parser.add_argument("--lexicon", type=Path, help="English: a text whose words alone are written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = TextGenerator.load(arguments.run)
    words = words_of(arguments.lexicon.read_text(encoding="utf-8")) if arguments.lexicon else None
    print(f"{'form':<17} {'in form':>12} {'unfinished':>10} {'tokens/s':>9} {'free':>9} {'ratio':>6}")
    for name in (name for one in arguments.forms for name in FORMS.get(one, (one,))):
        wish = Wish(find_form(name), lexicon=words)
        in_form, unfinished, speed, free_speed = measure(generator, wish, arguments.poems)
        told = f"{in_form}/{arguments.poems}"
        print(
            f"{name:<17} {told:>12} {unfinished:>10} {speed:>9.0f} {free_speed:>9.0f} {speed / free_speed:>6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
