"""Model cards of what came in and of what goes out: licence, data and figures, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from nextword.errors import counted

UNSTATED = "Not stated. The weights follow from the data: its licence bounds theirs."


def import_card(name: str, config: Mapping[str, Any], parity: str, talks: bool) -> str:
    """README.md of a run folder made from a model from elsewhere; `talks`: it has a chat template."""
    origin, figures = config["origin"], config["figures"]
    rows = [
        ("from", f"{origin['source']}, a model of the family {origin['family']}"),
        ("size", f"{figures['parameters']:,} parameters, kept as {origin['dtype']}"),
        ("tokenizer", f"{config['tokenizer']['type']}, {config['tokenizer']['vocab_size']:,} tokens"),
        ("compared with transformers", "not compared" if parity == "None" else parity),
    ]
    if "task" in config:  # translation: the only one that a model from elsewhere tells
        example = ["from nextword.applied.translator import Translator", "", f'translator = Translator.load("{name}")']
        example += ['print(translator.translate(["..."])[0].text)']
    elif talks:
        example = ["import nextword", "", f'chat = nextword.chat("{name}")', 'print(chat.say("Hello!").text)']
    else:
        example = ["import nextword", "", f'model = nextword.load("{name}")', 'print(model.generate("", seed=1).text)']
    return _card(name, origin["licence"], "nextword", "Imported by nextword.", rows, example)


def export_card(name: str, config: Mapping[str, Any], architecture: str, licence: str, parity: str) -> str:
    """README.md of a Hugging Face folder made from a run."""
    origin, figures, train = config.get("origin", {}), config.get("figures", {}), config.get("train", {})
    sources = ", ".join(PurePath(source).name for source in config.get("corpus", {}).get("sources", []))
    valid = figures.get("validation") or {}
    rows = [("size", f"{figures.get('parameters', 0):,} parameters")]
    rows += [("from", str(origin["source"]))] if origin else []
    rows += [("data", sources or "not recorded")] if train or not origin else []
    rows += [("tokenizer", f"{config['tokenizer']['type']}, {config['tokenizer']['vocab_size']:,} tokens")]
    if train:
        done = f"{counted(figures.get('steps', 0), 'step')}, {figures.get('tokens', 0):,} tokens"
        rows += [("training", f"{done}, seed {train['seed']}")]
    if valid:
        rows += [
            ("validation loss", f"{valid['loss']:.4f} nats per token, perplexity {valid['perplexity']:.2f}"),
            ("validation bits per byte", f"{valid['bits_per_byte']:.4f}"),
        ]
    rows += [("compared with nextword", "not compared" if parity == "None" else parity)]
    example = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        f'model = AutoModelForCausalLM.from_pretrained("{name}")',
        'inputs = tokenizer("The", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0]))",
    ]
    about = f"A language model in the layout of {architecture}, exported by nextword."
    return _card(name, licence or str(origin.get("licence", "")), "transformers", about, rows, example)


def _card(
    name: str, licence: str, library: str, about: str, rows: Sequence[tuple[str, str]], example: Sequence[str]
) -> str:
    front = [f"library_name: {library}", "pipeline_tag: text-generation", "tags: [nextword, language-model]"]
    lines = ["---", *front, *([f"license: {licence}"] if licence else []), "---", "", f"# {name}", "", about, ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]
    lines += ["## Use", "", "```python", *example, "```", "", "## Licence", "", licence or UNSTATED, ""]
    return "\n".join(lines)
