"""From a prompt and settings in strings to a request in token ids: all that can be wrong with it is said here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nextword.constraints import constraint_for
from nextword.decoding.config import GenerationConfig, TokenSettings
from nextword.decoding.constraints import All, Constraint
from nextword.decoding.requests import Request
from nextword.errors import UsageError, did_you_mean
from nextword.scoring import boundary_id

if TYPE_CHECKING:
    from nextword.models.base import LanguageModel
    from nextword.tokenizers import Tokenizer


def text_request(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    config: GenerationConfig,
    *,
    seed: int,
    trace: bool = False,
    keep: bool = False,
    constraint: Constraint | None = None,
) -> Request:
    """The request that continues `prompt`: a text, or ids from the boundary on. `constraint` holds beside those that
    the settings name.

    Raises UsageError for what the model or the tokenizer cannot do.
    """
    boundary = boundary_id(tokenizer)
    if config.speculate and model.encodes:
        raise UsageError(f"speculate: this model ({model.config.type}) cannot guess ahead", hint="Leave it out")
    if not isinstance(prompt, str) and not prompt:
        raise UsageError("the prompt has no token", hint="Begin it with the boundary token")
    named = constraint_for(config, tokenizer)
    negative = read_prompt(model, tokenizer, config.negative_prompt) if config.guidance_scale != 1 else []
    return Request(
        prompt=[boundary, *read_prompt(model, tokenizer, prompt)] if isinstance(prompt, str) else list(prompt),
        config=config,
        seed=seed,
        tokens=token_settings(tokenizer, config),
        constraint=All([named, constraint]) if named and constraint else named or constraint,
        negative=[boundary, *negative],
        ends=_ends_with(tokenizer, config.stop) if config.stop and config.num_beams > 1 else None,
        trace=trace,
        keep=keep,
    )


def read_prompt(model: LanguageModel, tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt, without the boundary before it. Raises UsageError if the context cannot hold them."""
    ids, limit = tokenizer.source.encode(as_unicode(prompt)), model.max_seq_len
    if limit is not None and len(ids) + 1 > limit:
        raise UsageError(
            f"the prompt has {len(ids)} tokens, but the model's context holds {limit - 1} after the boundary",
            hint="Give a shorter prompt, such as its end, or train with a larger model.max_seq_len",
        )
    return ids


def token_settings(tokenizer: Tokenizer, config: GenerationConfig) -> TokenSettings:
    """What the strings of `config` are in tokens. Raises UsageError for a bias on what is no token."""
    boundary = boundary_id(tokenizer)
    return TokenSettings(
        eos_id=tokenizer.eos_id,
        ends=frozenset(_special_id(tokenizer, name) for name in config.stop_tokens),
        forbidden=() if boundary == tokenizer.eos_id else (boundary,),
        bias={_token(tokenizer, name): value for name, value in config.logit_bias.items()},
        breakers=_breakers(tokenizer, config.dry_breakers) if config.dry_multiplier else frozenset(),
    )


def as_unicode(text: str) -> str:
    """`text`, if it can be written in UTF-8. Raises UsageError for half characters (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text is not valid Unicode: character {error.start + 1} is {text[error.start]!r}",
            hint="It was probably read in a wrong encoding; nextword expects UTF-8",
        ) from None
    return text


def _token(tokenizer: Tokenizer, name: str) -> int:
    """The id that a key of logit_bias means: a number, or the text of exactly one token."""
    if name.isascii() and name.isdigit():
        if int(name) >= tokenizer.vocab_size:
            raise UsageError(f"logit_bias: there is no token {name}; ids go from 0 to {tokenizer.vocab_size - 1}")
        return int(name)
    ids = tokenizer.encode(as_unicode(name))
    if len(ids) != 1 or ids[0] == tokenizer.unk_id:
        parts = [tokenizer.token_text(id) for id in ids]
        raise UsageError(f"logit_bias: {name!r} is not one token but {parts}", hint="Give a token's text or its id")
    return ids[0]


def _special_id(tokenizer: Tokenizer, name: str) -> int:
    """The id that a name in stop_tokens means."""
    id = tokenizer.backend.token_to_id(name)
    if id not in tokenizer.special_ids:
        known = [tokenizer.token_text(i) for i in sorted(tokenizer.special_ids)]
        raise UsageError(f"stop_tokens: {name!r} is no special token. {did_you_mean(name, known)}")
    assert id is not None
    return id


def _breakers(tokenizer: Tokenizer, strings: Sequence[str]) -> frozenset[int]:
    texts = map(tokenizer.token_text, range(tokenizer.vocab_size))
    return frozenset(id for id, text in enumerate(texts) if any(string in text for string in strings))


def _ends_with(tokenizer: Tokenizer, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether the text of some ids holds a stop string."""
    return lambda ids: any(stop in tokenizer.decode(ids) for stop in stops)
