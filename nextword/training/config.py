"""The settings of a training run: section [train] of a recipe. Knows no torch, so that help and checks are instant."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from nextword.config import Config

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(value: Any) -> float:
    """Seconds from a number or a text such as "90", "15s", "10m", "1.5h", "1h30m". Raises ValueError.

    >>> parse_duration("1h30m")
    5400.0
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip().lower()
        parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
            raise ValueError(f"expected a duration such as 15s, 10m or 1h30m, got {value!r}")
        seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if seconds < 0 or seconds != seconds or seconds == float("inf"):
        raise ValueError(f"expected a duration of at least 0, got {value!r}")
    return seconds


Duration = Annotated[float, BeforeValidator(parse_duration)]


class AdapterConfig(Config):
    """Small matrices trained beside frozen weights: `models/adapters.py`."""

    kind: Literal["lora", "dora"] = "lora"
    """LoRA (Hu et al. 2021), or DoRA (Liu et al. 2024): a fifth slower, and often a little better."""
    rank: int = Field(default=8, ge=1, le=2**12)
    """Of the matrices of each projection."""
    alpha: float = Field(default=16.0, gt=0)
    """What they add is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On what they read."""
    targets: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The linear layers that get one, by name or glob: ["attention.qkv", "blocks.[0-3].mlp"]; empty = all in the
    layers of the model."""
    base: Literal["float32", "bfloat16", "int8"] = "float32"
    """What the frozen weights of linear layers are kept in. int8: one byte each, and a scale a row."""


class TrainConfig(Config):
    """How a model is trained. One of `budget`, `steps` and `epochs` says how long."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of initial weights, dropout and the order of the data."""
    budget: Duration = 0.0
    """Wall-clock time, evaluation included: "10m". The learning rate reaches its end as time runs out."""
    steps: int = Field(default=0, ge=0)
    """Optimizer steps."""
    epochs: float = Field(default=0.0, ge=0)
    """Passes over the training data."""
    batch_size: int = Field(default=32, ge=1)
    """Rows of a batch, in all: several processes share them."""
    context: int = Field(default=0, ge=0)
    """Tokens of a row; 0 = the model's context, or for a recurrent model 64, and 1,024 with examples or packed rows.
    An example that is longer is cut."""
    rows: Literal["auto", "text", "examples", "packed"] = "auto"
    """What a row of a batch holds. text: a part of the corpus, read as one long text. examples: a whole document or
    pair, in batches of like length. packed: several of them, none of which sees another. auto: text; for prompts and
    targets, packed for a Transformer, examples for a recurrent model
    and for one with an encoder."""
    batch_tokens: int = Field(default=0, ge=0)
    """With examples or packed rows, in place of batch_size: tokens of a batch, padding included; 0 = as many as a batch
    of text would have."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients make one step."""
    carry_state: bool | None = None
    """Read the corpus as contiguous streams and carry the state from batch to batch (truncated BPTT);
    left out: yes for recurrent models."""
    fresh_share: float = Field(default=0.02, ge=0, le=1)
    """With a carried state: share of rows that start a batch from nothing, as every prompt does later.
    A model that only ever carries on has not learned to begin, and writes nonsense at the start of a text."""
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = "adamw"
    """muon: Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Its peak."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of sgd."""
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.99)
    """Of adam and adamw: decay of the running mean and of the running square."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Decoupled (AdamW, Muon) or L2 (sgd, adam), on matrices only: never on biases and norms. Left out: by the size of
    the text with AdamW and Muon (`optimizers.usual_decay`), else 0."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Gradients longer than this are scaled down to it (Pascanu et al. 2013); 0 = off."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "wsd", "plateau"] = "cosine"
    """wsd: warm up, stay, decay over the last `decay_share`. plateau: halve when validation stops improving."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises linearly from near 0."""
    final_lr: float = Field(default=0.0, ge=0, le=1)
    """Where linear, cosine and wsd end, as a share of the peak."""
    decay_share: float = Field(default=0.2, gt=0, le=1)
    """Of wsd: the share of the run spent decaying."""
    decay: Literal["linear", "sqrt", "exponential"] = "linear"
    """Of wsd: the shape of the decay; sqrt is 1 - sqrt(x) (Hägele et al. 2024); exponential needs final_lr > 0."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's probability spread over the vocabulary."""
    z_loss: float = Field(default=0.0, ge=0)
    """Weight of (log Z)^2."""
    r_drop: float = Field(default=0.0, ge=0)
    """Every batch is read twice, with different dropout, and where the two readings disagree costs so much (R-Drop, Wu
    et al. 2021, who take 1 to 5): less is learned by heart, at twice the work a step. Needs model.dropout."""
    token_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of the tokens of sources that is taken apart, and of their parts, anew each time they are read, so that
    words are known in other pieces too (after BPE-dropout, Provilkov et al. 2020, who take 0.1; of unigram pieces after
    Kudo 2018: those that two others spell). Of models that encode."""
    coverage_loss: float = Field(default=0.0, ge=0)
    """Weight of the attention that goes where it has been before, against answers that repeat themselves (See et al.
    2017, who take 1 in the last part of the training). Of models that attend to a source."""
    unlikelihood: float = Field(default=0.0, ge=0)
    """Weight of unlikelihood: what an answer has said is not to be likely again where something else is wanted, against
    answers that repeat themselves (Welleck et al. 2020, who take 1). Of whole examples: data with prompts, or rows =
    "examples" or "packed"."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which is what is evaluated and kept; 0 = off."""
    eval_every: int = Field(default=0, ge=0)
    """Steps between evaluations; 0 = ten in the run."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0 = at each evaluation."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept, the newest included; the one before serves if the newest is found damaged."""
    keep_best: int = Field(default=0, ge=0)
    """Checkpoints kept beside those for their validation loss, the lowest, for `nextword average --best`."""
    sample_every: int = Field(default=0, ge=0)
    """Steps between samples; 0 = at each evaluation."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl."""
    wandb: str = ""
    """Project at Weights & Biases that gets the figures, too; "" = none. Where wandb finds no API key, they are kept in
    `wandb/` in the run folder, for `wandb sync`."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many evaluations without a new best (early stopping); 0 = never."""
    plateau_patience: int = Field(default=1, ge=1)
    """Of plateau: evaluations without a new best before the learning rate halves."""
    freeze: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Parameters that stay as they are, by name or glob: ["embedding", "blocks.[01]", "*.bias"]. The name of a part of
    the model means all that is in it."""
    adapter: AdapterConfig | None = None
    """Keep all weights as they are, and train adapters: { kind = "lora", rank = 8, alpha = 16.0 }, with dropout,
    targets = ["attention.qkv"], and base = "bfloat16" or "int8" to hold the weights in less memory."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate from each layer to the one below, the embedding lowest (Howard & Ruder 2018; Clark
    et al. 2020): 0.9 keeps more of what was learned before; 1 = one rate for all."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of matrix products; auto = bfloat16 where a short measurement shows that it pays."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile a Transformer's layers with torch.compile; auto = once the first steps show that enough time is left for
    that to pay. On a CPU this needs a C++ compiler."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share a model. ddp: a replica each; fsdp: a part of every weight, gradient and average
    each, for models that are too large for one; auto = ddp."""
    activation_checkpointing: bool = False
    """Keep only the input of each block of a transformer, and compute the rest again for the gradients: less memory,
    a third more arithmetic."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("budget", "steps", "epochs") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of budget, steps and epochs, not several")
        if self.schedule == "wsd" and self.decay == "exponential" and not self.final_lr:
            raise ValueError("decay = exponential needs final_lr greater than 0: it never reaches 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected numbers from 0 to below 1, got {list(self.betas)}")
        return self
