"""How text is continued: the settings of one request. Knows no torch, no model and no tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nextword.config import Config

Strings = Annotated[tuple[str, ...], Field(strict=False)]


class GenerationConfig(Config):
    """The settings of one request. They act in the order of `nextword.decoding.pipeline.STAGES`."""

    # -- how a token is drawn --
    temperature: float = Field(default=1.0, ge=0, le=1e6, allow_inf_nan=False)
    """Logits are divided by it: below 1 safer, above 1 wilder, 0 = always the likeliest token (greedy)."""
    dynamic_temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Let the temperature vary by up to this around `temperature`: low where the model is sure, high where it
    is not, by the entropy of its prediction; 0 = off."""
    dynamic_exponent: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    """Of dynamic_temperature: how the entropy, as a share of the greatest, bends on its way to a temperature."""
    top_k: int = Field(default=0, ge=0, le=2**31)
    """Keep the k likeliest tokens, and any tied with the last of them; 0 = off."""
    top_p: float = Field(default=1.0, ge=0, le=1)
    """Keep the fewest tokens whose probability adds up to this (nucleus sampling); 1 = off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Keep tokens at least this fraction as likely as the likeliest; 0 = off."""
    typical_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the tokens whose surprise is nearest to the expected one, up to this probability; 1 = off."""
    epsilon_cutoff: float = Field(default=0.0, ge=0, lt=1)
    """Remove tokens less likely than this; 0 = off."""
    eta_cutoff: float = Field(default=0.0, ge=0, lt=1)
    """Like epsilon_cutoff, but lower where the model is unsure; 0 = off."""
    top_n_sigma: float = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    """Keep logits within this many standard deviations of the greatest; 0 = off."""
    top_h: float = Field(default=1.0, gt=0, le=1)
    """Keep the likeliest tokens until their entropy reaches this share of the whole prediction's; 1 = off."""
    p_less: bool = False
    """Keep tokens at least as likely as two draws are to agree (the sum of squared probabilities)."""
    xtc_probability: float = Field(default=0.0, ge=0, le=1)
    """How often to exclude the top choices: all tokens above the threshold but the least likely of them; 0 = off."""
    xtc_threshold: float = Field(default=0.1, ge=0, le=1)
    """Of xtc_probability: what counts as a top choice."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text; none = a new one each time. Of several samples, sample i is drawn with seed + i."""

    # -- against repetition --
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=100, allow_inf_nan=False)
    """Above 1, tokens already in the prompt or the text become less likely; 1 = off."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Subtracted from a token's logit for each time it was generated; 0 = off."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Subtracted from a token's logit once it was generated; 0 = off."""
    no_repeat_ngram_size: int = Field(default=0, ge=0, le=2**31)
    """No n tokens in a row occur twice, the prompt included (not a source: it may be copied), unless every token would
    make them; 0 = off."""
    dry_multiplier: float = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    """Strength of DRY, which makes a token less likely the longer the repeated passage it would go on with; 0 = off."""
    dry_base: float = Field(default=1.75, ge=1, le=100, allow_inf_nan=False)
    """Of DRY: the penalty grows by this factor with each further token repeated."""
    dry_allowed_length: int = Field(default=2, ge=1, le=2**31)
    """Of DRY: repeated passages shorter than this are free."""
    dry_breakers: Strings = ("\n", ":", '"', "*")
    """Of DRY: a passage ends at a token with one of these in it."""
    penalty_window: int = Field(default=0, ge=0, le=2**31)
    """The penalties and DRY look at this many of the latest tokens; 0 = all."""

    # -- what must and what must not be said --
    banned_words: Strings = ()
    """Texts that must not occur in what is generated, however they are cut into tokens."""
    required_words: Strings = ()
    """Texts that must occur in what is generated, in any order."""
    prefix: str = ""
    """What is generated begins with this text."""
    logit_bias: dict[str, Annotated[float, Field(ge=-1e9, le=1e9)]] = Field(default_factory=dict)
    """Added to the logits of tokens, by the token's text or its id: {"42": -100} or {" the": 2.5}."""
    choices: Strings = ()
    """What is generated is one of these texts."""
    regex: str = ""
    """What is generated matches this regular expression, from its beginning to its end."""
    json_schema: dict[str, Any] | None = None
    """What is generated is JSON that this schema accepts; {} = any JSON."""
    grammar: str = ""
    """What is generated follows this context-free grammar, in the Lark notation of llguidance."""
    guidance_scale: float = Field(default=1.0, ge=0, le=1e6, allow_inf_nan=False)
    """Classifier-free guidance: above 1, the prompt weighs more against `negative_prompt`; 1 = off."""
    negative_prompt: str = ""
    """Of guidance_scale: the prompt to move away from; empty = no prompt at all."""

    # -- where it ends --
    max_tokens: int = Field(default=256, ge=1, le=2**31)
    """Most tokens to generate."""
    min_tokens: int = Field(default=0, ge=0)
    """`<eos>` cannot be drawn before the text has this many tokens; a stop string ends it all the same."""
    stop: Strings = ()
    """The text ends before the first of these strings to be completed."""
    stop_tokens: Strings = ()
    """Special tokens, by name, that end the text as `<eos>` does: where a chat model ends a turn, say."""
    ignore_eos: bool = False
    """Never end before max_tokens: `<eos>` cannot be drawn."""
    force_eos: bool = False
    """The last token of a text that reaches max_tokens is `<eos>`."""

    # -- how the text is searched for --
    num_samples: int = Field(default=1, ge=1, le=1024)
    """How many continuations of the prompt; of a beam search, how many of its best."""
    best_of: int = Field(default=0, ge=0, le=1024)
    """Draw this many continuations and keep the num_samples likeliest by log-probability per token; 0 = off."""
    mbr: int = Field(default=0, ge=0, le=1024)
    """Minimum Bayes risk: draw this many and keep those most like all the others by a metric; 0 = off."""
    num_beams: int = Field(default=1, ge=1, le=256)
    """Beam search with so many hypotheses side by side; 1 = off. Temperature and filters play no part in it."""
    length_penalty: float = Field(default=1.0, ge=-10, le=10)
    """Of beam search: log-probabilities are divided by length ** this; above 0 favours longer texts."""
    early_stopping: Literal[False, True, "never"] = False
    """Of beam search, when num_beams texts are complete: stop at once (true); go on while the best open one, at its
    present length, beats the worst of them (false); go on while it could at any length ("never")."""
    coverage_penalty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of beam search in a model with a source: how much words of it that got no attention count; 0 = off."""
    num_beam_groups: int = Field(default=1, ge=1)
    """Diverse beam search: so many groups of beams, each told apart from those before it; 1 = off."""
    diversity_penalty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of diverse beam search: subtracted for each beam of an earlier group that chose the same token."""
    contrastive_alpha: float = Field(default=0.0, ge=0, le=1)
    """Contrastive search: weight of a token's unlikeness to all before it against its probability, among the top_k
    likeliest (4 where top_k is off); 0 = off."""
    speculate: int = Field(default=0, ge=0, le=64)
    """Speculative decoding: guess up to so many tokens ahead, by the draft model where there is one, else from earlier
    passages of the text itself; changes the speed, not the distribution; 0 = off."""

    @field_validator("stop", "stop_tokens", "banned_words", "required_words", "choices", "dry_breakers")
    @classmethod
    def _no_empty_string(cls, strings: tuple[str, ...]) -> tuple[str, ...]:
        if "" in strings:
            raise ValueError("expected strings of at least one character, got ''")
        return strings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is more than max_tokens {self.max_tokens}")
        if self.dynamic_temperature > self.temperature:
            raise ValueError(
                f"dynamic_temperature {self.dynamic_temperature} would reach below 0: at most temperature, "
                f"{self.temperature}"
            )
        searches = {
            "num_beams": self.num_beams > 1,
            "contrastive_alpha": self.contrastive_alpha > 0,
            "best_of": self.best_of > 0,
            "mbr": self.mbr > 0,
            "speculate": self.speculate > 0,
        }
        if len(chosen := [name for name, on in searches.items() if on]) > 1:
            raise ValueError(f"{' and '.join(chosen)} are different searches: give one of them")
        for name in ("num_beams", "best_of", "mbr"):
            if searches[name] and self.num_samples > getattr(self, name):
                raise ValueError(f"num_samples {self.num_samples} is more than {name} {getattr(self, name)}")
        if self.num_beams % self.num_beam_groups:
            raise ValueError(f"num_beams {self.num_beams} is not a multiple of num_beam_groups {self.num_beam_groups}")
        if self.guidance_scale != 1 and (
            given := [n for n in ("num_beams", "contrastive_alpha", "speculate") if searches[n]]
        ):
            raise ValueError(f"guidance_scale works on samples, not with {given[0]}")
        if self.contrastive_alpha and self.num_samples > 1:
            raise ValueError(f"contrastive search finds one text, got num_samples {self.num_samples}")
        forms = ("choices", "regex", "json_schema", "grammar")
        if len(given := [name for name in forms if getattr(self, name) not in ((), "", None)]) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them")
        return self


SAMPLING = (
    "temperature",
    "dynamic_temperature",
    "dynamic_exponent",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "top_n_sigma",
    "top_h",
    "p_less",
    "xtc_probability",
    "xtc_threshold",
)
"""Settings that only matter where tokens are drawn: not to beam search, nor to a temperature of 0."""


@dataclass(frozen=True)
class TokenSettings:
    """What the strings of a GenerationConfig are in tokens; filled in by whoever has the tokenizer."""

    eos_id: int | None = None
    """Ends a text; None: nothing but max_tokens does."""
    ends: frozenset[int] = frozenset()
    """Further ids that end a text."""
    forbidden: tuple[int, ...] = ()
    """Ids that are never generated."""
    bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these ids."""
    breakers: frozenset[int] = frozenset()
    """Ids at which DRY's passages end."""

    def is_end(self, token: int) -> bool:
        """Whether a text ends with this token."""
        return token == self.eos_id or token in self.ends
