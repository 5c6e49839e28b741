"""The model card: README.md of a run folder, in the form that model hubs read (YAML front matter, then Markdown)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextword import __version__
from nextword.errors import counted


def model_card(name: str, config: Mapping[str, Any]) -> str:
    """Markdown from the contents of config.json."""
    model, train, figures = config["model"], config["train"], config.get("figures", {})
    valid = figures.get("validation", {})
    sources = [source.rsplit("/", 1)[-1] for source in config.get("corpus", {}).get("sources", [])]
    begun = f"from the weights of {config['init']['from']}" if "init" in config else "from scratch"
    if "average" in config:
        begun += f" and averaged ({config['average']['how']})"
    size = f"{figures.get('parameters', 0):,} parameters"
    lines = [
        "---",
        "library_name: nextword",
        "pipeline_tag: text-generation",
        "tags: [nextword, language-model, " + model["type"] + "]",
        "---",
        "",
        f"# {name}",
        "",
        f"A {_title(model)} language model, {size}, trained {begun} with nextword {__version__}.",
        "",
        "| | |",
        "|---|---|",
        *([f"| task | {_task(config['task'])} |"] if "task" in config else []),
        f"| data | {', '.join(sources) or 'not recorded'} |",
        f"| tokenizer | {config['tokenizer']['type']}, {config['tokenizer']['vocab_size']:,} tokens |",
        f"| training | {counted(figures.get('steps', 0), 'step')}, {figures.get('epochs', 0):.2f} epochs, "
        f"{figures.get('tokens', 0):,} tokens, {figures.get('seconds', 0):.0f} s |",
        f"| optimizer | {train['optimizer']}, peak learning rate {train['learning_rate']:g}, {train['schedule']} |",
        f"| arithmetic | {figures.get('precision', 'float32')} |",
        f"| seed | {train['seed']} |",
    ]
    if adapter := train.get("adapter"):
        kind = {"lora": "LoRA", "dora": "DoRA"}[adapter["kind"]]
        lines.append(f"| adapters | {kind} of rank {adapter['rank']}, merged; by themselves in adapter.safetensors |")
    lines += [
        f"| of these, {name} | {read['share']:.1%} of the tokens, {read['epochs']:.2f} epochs |"
        for name, read in figures.get("corpora", {}).items()
    ]
    if valid:
        lines += [
            f"| validation loss | {valid['loss']:.4f} nats per token (step {valid['step']:,}) |",
            f"| validation perplexity | {valid['perplexity']:.2f} per token |",
            f"| validation bits per byte | {valid['bits_per_byte']:.4f} |",
            f"| how validated | {valid['how']}; each document's closing boundary token counted |",
        ]
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import nextword",
        "",
        f'model = nextword.load("{name}")',
        'print(model.generate("", seed=1).text)',
        'print(model.score("A sentence to judge."))',
        "```",
        "",
        "## Licence",
        "",
        "Not stated. The weights follow from the data: its licence bounds theirs.",
        "",
    ]
    return "\n".join(lines)


def _task(task: Mapping[str, Any]) -> str:
    return ", ".join([task["name"], *([" to ".join(task["languages"])] if task["languages"] else [])])


def _title(model: Mapping[str, Any]) -> str:
    names = {"rnn": "tanh RNN", "gru": "GRU", "lstm": "LSTM", "transformer": "Transformer"}
    return f"{model['num_layers']}-layer {names.get(model['type'], model['type'])} (hidden size {model['hidden_size']})"
