"""Draw the pictures of docs/decoding.md: what each setting does to one real distribution.

    python scripts/decoding_pictures.py                  # draw docs/decoding/*.svg from distribution.json
    python scripts/decoding_pictures.py --from RUN       # ask the model of a run folder first, then draw

The distribution is that of the token after PROMPT, by a model of a few minutes; weights are not shipped, so what the
pictures need of it lies in docs/decoding/distribution.json. The functions applied are those that generate text. A bar
is the probability before (light) and after (dark); all pictures have one scale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword.decoding import processors as p
from nextword.report.heatmap import visible
from nextword.report.svg import escape

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decoding"
PROMPT = "The captain of the ship looked over the side of the ship. The old man looked over the side of the"
NEGATIVE = "The old man looked over the side of the"
BANNED, CHOICES, REGEX = ("ship", "boat"), (" boat", " whale", " whaling ship"), " (the )?[bcs][a-z]+"
CANDIDATES = 6  # of contrastive search
BEAMS, STEPS = 3, 6  # of beam search
EXACT = 40  # tokens whose text and logit are recorded in full; of the others the logit, to two decimals


@dataclass(frozen=True)
class Distribution:
    """What is known of one prediction. V tokens, numbered from the likeliest down, which makes the file short."""

    texts: list[str]
    """Of the first EXACT tokens."""
    logits: Tensor
    """(1, V)"""
    negative: Tensor
    """(1, V) after the negative prompt."""
    history: Tensor
    """(1, S) all tokens before."""
    allowed: dict[str, Tensor]
    """Setting -> (1, V) bool: what its constraint allows."""
    likeness: list[float]
    """Of the first CANDIDATES tokens: the greatest cosine to an earlier token."""
    beams: list[list[tuple[int, str, float]]]
    """The open beams after each step of a beam search: the one it came from, its token, its log-probability."""
    best: list[str]
    """The tokens of the text that this search found."""

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return self.logits.size(1)


def read(path: Path) -> Distribution:
    """What `record` has written."""
    found = json.loads(path.read_text(encoding="utf-8"))
    size = len(found["logits"])
    allowed = {}
    for name, ids in found["allowed"].items():
        allowed[name] = torch.zeros(1, size, dtype=torch.bool)
        allowed[name][0, ids] = True
    forbidden = torch.zeros(1, size, dtype=torch.bool)
    forbidden[0, found["banned"]] = True
    return Distribution(
        [token["text"] for token in found["tokens"]],
        torch.tensor([found["logits"]]),
        torch.tensor([found["negative"]]),
        torch.tensor([found["history"]]),
        allowed | {"banned_words": ~forbidden},
        found["likeness"],
        found["beams"],
        found["best"],
    )


@torch.inference_mode()
def record(run: str, path: Path) -> None:
    """Ask the model of a run folder, and keep what the pictures need."""
    import nextword
    from nextword.constraints import constraint_for
    from nextword.decoding.config import GenerationConfig
    from nextword.files import write_text
    from nextword.scoring import boundary_id

    generator = nextword.load(run)
    model, tokenizer = generator.model, generator.tokenizer
    ids = [boundary_id(tokenizer), *tokenizer.encode(PROMPT)]
    negative = [boundary_id(tokenizer), *tokenizer.encode(NEGATIVE)]
    features = model.features(torch.tensor([ids]))[0][0]  # (S, C)
    logits = model.output(features[-1])
    order = logits.argsort(descending=True)
    place = {int(id): number for number, id in enumerate(order)}

    def allowed(**settings: Any) -> list[int]:
        """The places of what a constraint allows."""
        constraint = constraint_for(GenerationConfig(**settings), tokenizer)
        assert constraint is not None
        mask = constraint.mask(100)
        assert mask is not None
        return [number for number, id in enumerate(order.tolist()) if mask[id]]

    unit = torch.nn.functional.normalize
    ahead = torch.tensor([[*ids, int(id)] for id in order[:CANDIDATES]])
    new = unit(model.features(ahead)[0][:, -1].float(), dim=-1)  # (candidates, C)
    likeness = (new @ unit(features.float(), dim=-1).T).amax(-1)
    probs = logits.softmax(-1)[order].tolist()
    after = model(torch.tensor([negative]))[0][0, -1]
    beams = generator.generate(PROMPT, num_beams=BEAMS, max_tokens=STEPS, trace=True)
    assert beams.trace is not None
    numbers = [
        [round(x, 4 if n < EXACT else 2) for n, x in enumerate(values[order].tolist())] for values in (logits, after)
    ]
    found = {
        "about": "The next token after `prompt`. Tokens are numbered from the likeliest down.",
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "tokens": [
            {"text": tokenizer.token_text(int(id)), "probability": round(prob, 5)}
            for id, prob in zip(order[:EXACT], probs, strict=False)
        ],
        "rest": round(sum(probs[EXACT:]), 5),
        "history": [place[id] for id in ids],
        "beams": [
            [[parent, tokenizer.token_text(token), round(total, 2)] for parent, token, total in step["beams"]]
            for step in beams.trace.beams
            if step["beams"]
        ],
        "best": [tokenizer.token_text(token) for token in beams.token_ids],
        "likeness": [round(float(x), 4) for x in likeness],
        "banned": sorted(set(range(len(order))) - set(allowed(banned_words=BANNED))),
        "allowed": {"choices": allowed(choices=CHOICES), "regex": allowed(regex=REGEX)},
        "logits": numbers[0],
        "negative": numbers[1],
    }
    write_text(path, _lines(found))


def _lines(found: dict[str, Any]) -> str:
    """JSON with a line for each token and each hundred numbers."""
    parts = []
    for key, value in found.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n]"
        elif isinstance(value, list) and value and not isinstance(value[0], list | str):
            rows = [value[at : at + 100] for at in range(0, len(value), 100)]
            text = "[\n" + ",\n".join(",".join(map(str, row)) for row in rows) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


# -- what is drawn -----------------------------------------------------------------------------------------------------

Change = Callable[[Distribution], Tensor]
"""-> (1, V) logits after a setting has acted."""


def _on_logits(function: Callable[..., Tensor], *values: Any) -> Change:
    return lambda d: function(d.logits, *values)


def _after_history(function: Callable[..., Tensor], *values: Any) -> Change:
    return lambda d: function(d.logits, d.history, *values)


def _allowed(setting: str) -> Change:
    return lambda d: p.constraint(d.logits, d.allowed[setting])


def _bias(d: Distribution) -> Tensor:
    values = torch.zeros_like(d.logits)
    values[0, d.texts.index(" sea")], values[0, d.texts.index(" Pequod")] = 2.5, -100
    return p.bias(d.logits, values)


PICTURES: dict[str, tuple[str, Change]] = {
    "greedy": ("temperature = 0", _on_logits(p.temperature, 0.0)),
    "temperature-low": ("temperature = 0.6", _on_logits(p.temperature, 0.6)),
    "temperature-high": ("temperature = 1.5", _on_logits(p.temperature, 1.5)),
    "dynamic-temperature": ("dynamic_temperature = 0.6", _on_logits(p.dynamic_temperature, 1.0, 0.6)),
    "top-k": ("top_k = 5", _on_logits(p.top_k, 5)),
    "top-p": ("top_p = 0.5", _on_logits(p.top_p, 0.5)),
    "min-p": ("min_p = 0.1", _on_logits(p.min_p, 0.1)),
    "typical": ("typical_p = 0.3", _on_logits(p.typical, 0.3)),
    "epsilon": ("epsilon_cutoff = 0.01", _on_logits(p.epsilon_cutoff, 0.01)),
    "eta": ("eta_cutoff = 0.01", _on_logits(p.eta_cutoff, 0.01)),
    "top-n-sigma": ("top_n_sigma = 1", _on_logits(p.top_n_sigma, 1.0)),
    "top-h": ("top_h = 0.4", _on_logits(p.top_h, 0.4)),
    "p-less": ("p_less = true", _on_logits(p.p_less, True)),
    "xtc": ("xtc_threshold = 0.05, where it strikes", _on_logits(p.xtc, torch.zeros(1), 1.0, 0.05)),
    "repetition-penalty": ("repetition_penalty = 1.3", _after_history(p.repetition_penalty, 1.3)),
    "frequency-penalty": ("frequency_penalty = 1", _after_history(p.frequency_penalty, 1.0)),
    "presence-penalty": ("presence_penalty = 1", _after_history(p.presence_penalty, 1.0)),
    "dry": ("dry_multiplier = 0.8", _after_history(p.dry, 0.8)),
    "no-repeat-ngram": ("no_repeat_ngram_size = 3", _after_history(p.no_repeat_ngram, 3)),
    "logit-bias": ('logit_bias = {" sea": 2.5, " Pequod": -100}', _bias),
    "banned-words": ('banned_words = ["ship", "boat"]', _allowed("banned_words")),
    "choices": ('choices = [" boat", " whale", " whaling ship"]', _allowed("choices")),
    "regex": (f'regex = "{REGEX}"', _allowed("regex")),
    "guidance": ("guidance_scale = 2", lambda d: p.guidance(d.logits, d.negative, 2.0)),
}
"""File -> what it says, and what it shows."""


SHOWN = 12  # tokens with a bar of their own
WHOLE = 0.55  # the probability as wide as the space for bars; what is beyond is cut off
WIDTH, LEFT, BARS, TOP, LINE = 680, 118, 400, 44, 17
STYLE = (
    'text{font:12px system-ui,-apple-system,"Segoe UI","Helvetica Neue","Noto Sans",Arial,sans-serif;fill:#24292f}'
    ".t{font-weight:600;font-size:13px}.q{fill:#59636e}.e{text-anchor:end}.b{fill:#b9cbe4}.a{fill:#0b4f9e}"
    ".g .b{fill:#f2c6c1}.g text{fill:#b3261e}.g .n{text-decoration:line-through}"
)


def draw(title: str, d: Distribution, change: Change) -> str:
    """One picture as SVG."""
    after = change(d)
    probs, left = d.logits[0].double().softmax(-1), after[0].double().softmax(-1)
    gone = (after[0] == p.REMOVED) | (left == 0)
    removed = float(probs[gone].sum())
    told = f"keeps {int((~gone).sum()):,} of {d.size:,} tokens, removes {_percent(removed)}"
    if not gone.any():
        told = f"removes nothing, moves {_percent(float((left - probs).abs().sum() / 2))}"
    rows = [_row(n, visible(d.texts[n]), float(probs[n]), float(left[n]), bool(gone[n])) for n in range(SHOWN)]
    rest = float(probs[SHOWN:].sum()), float(left[SHOWN:].sum())
    rows.append(_row(SHOWN, f"{d.size - SHOWN:,} others", *rest, bool(gone[SHOWN:].all())))
    return _frame(title, told, "".join(rows), TOP + LINE * (SHOWN + 1) + 10)


def _frame(title: str, told: str, content: str, height: int, heads: tuple[str, str] = ("before", "after")) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}: {escape(told)}"><style>{STYLE}</style>'
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6" fill="#fff" stroke="#d1d9e0"/>'
        f'<text class="t" x="14" y="21">{escape(title)}</text>'
        f'<text class="q e" x="{WIDTH - 14}" y="21">{escape(told)}</text>'
        f'<text class="q e" x="{WIDTH - 78}" y="38">{heads[0]}</text>'
        f'<text class="q e" x="{WIDTH - 14}" y="38">{heads[1]}</text>'
        f"{content}</svg>\n"
    )


def _row(number: int, text: str, before: float, after: float, gone: bool) -> str:
    """One token: its text, a light bar with a dark one in it, and both in figures."""
    y = TOP + LINE * number
    kind = ' class="g"' if gone else ""
    return (
        f"<g{kind}>"
        f'<text class="n e" x="{LEFT - 8}" y="{y + 12}">{escape(text)}</text>'
        f"{_bar('b', y + 2, 13, before)}{'' if gone else _bar('a', y + 5, 7, after)}"
        f'<text class="e" x="{WIDTH - 78}" y="{y + 12}">{_percent(before)}</text>'
        f'<text class="e" x="{WIDTH - 14}" y="{y + 12}">{"removed" if gone else _percent(after)}</text></g>\n'
    )


def _bar(kind: str, y: int, height: int, probability: float) -> str:
    width = BARS * min(probability / WHOLE, 1)
    cut = f'<path d="M{LEFT + BARS - 14} {y + height + 3}l8 -{height + 6}" stroke="#fff" stroke-width="3"/>'
    return f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{height}"/>' + (
        cut if probability > WHOLE else ""
    )


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %" if probability >= 0.0005 or probability == 0 else "&lt; 0.1 %"


def _signed(number: float, digits: int = 3) -> str:
    return f"{number:.{digits}f}".replace("-", "−")


def draw_contrastive(d: Distribution, alpha: float = 0.6) -> str:
    """The candidates of contrastive search: their probability, and their likeness to what came before."""
    probs = d.logits[0].double().softmax(-1)[:CANDIDATES].tolist()
    scores = [(1 - alpha) * prob - alpha * likeness for prob, likeness in zip(probs, d.likeness, strict=True)]
    best = max(range(CANDIDATES), key=lambda n: scores[n])
    rows = []
    for n, (prob, likeness, score) in enumerate(zip(probs, d.likeness, scores, strict=True)):
        y = TOP + LINE * n
        rows.append(
            f'<text class="{"t " if n == best else ""}e" x="{LEFT - 8}" y="{y + 12}">'
            f"{escape(visible(d.texts[n]))}</text>{_bar('b', y + 2, 13, prob)}"
            f'<text x="{LEFT + 130}" y="{y + 12}">probability {_percent(prob)}</text>'
            f'<text x="{LEFT + 270}" y="{y + 12}">likeness {likeness:.3f}</text>'
            f'<text class="{"t " if n == best else ""}e" x="{WIDTH - 14}" y="{y + 12}">{_signed(score)}</text>\n'
        )
    told = f"chooses {d.texts[best].strip()}"
    title = f"contrastive_alpha = {alpha:g}, top_k = {CANDIDATES}"
    return _frame(title, told, "".join(rows), TOP + LINE * CANDIDATES + 10, ("", "score"))


def draw_beams(d: Distribution) -> str:
    """The tree of a beam search: a column a step; beams that came to nothing are grey, the result is bold."""
    step = (WIDTH - 28) / len(d.beams)
    going, winner = set(), 0
    for n, token in enumerate(d.best[: len(d.beams)]):  # the result's place in each column
        winner = next(
            at for at, (back, text, _) in enumerate(d.beams[n]) if text == token and (not n or back == winner)
        )
        going.add((n, winner))
    parts = []
    for n, column in enumerate(d.beams):
        for at, (back, text, total) in enumerate(column):
            x, y = 14 + step * n, TOP + 14 + 34 * at
            kept = n + 1 == len(d.beams) or any(at == other for other, _, _ in d.beams[n + 1])
            kind = "t" if (n, at) in going else "" if kept else "q"
            if n:
                way = f"M{x - 56:.0f} {TOP + 9 + 34 * back}L{x - 6:.0f} {y - 5}"
                parts.append(f'<path d="{way}" stroke="{"#0b4f9e" if (n, at) in going else "#b9cbe4"}"/>')
            parts.append(f'<text class="{kind}" x="{x:.0f}" y="{y}">{escape(visible(text))}</text>')
            parts.append(f'<text class="q" x="{x:.0f}" y="{y + 14}">{_signed(total, 2)}</text>\n')
    told = f"found “{''.join(d.best).strip()}”"
    title = f"num_beams = {BEAMS}, max_tokens = {STEPS}"
    return _frame(title, told, "".join(parts), TOP + 34 * BEAMS + 6, ("", ""))


def pictures(d: Distribution) -> dict[str, str]:
    """{file: SVG}"""
    return {f"{name}.svg": draw(title, d, change) for name, (title, change) in PICTURES.items()} | {
        "contrastive.svg": draw_contrastive(d),
        "beams.svg": draw_beams(d),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/decoding.md.")
    parser.add_argument("--from", dest="run", metavar="RUN", help="run folder whose model gives the distribution anew")
    run, path = parser.parse_args().run, FOLDER / "distribution.json"
    if run:
        record(run, path)
    for name, svg in pictures(read(path)).items():
        (FOLDER / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
