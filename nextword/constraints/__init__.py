"""What may be generated, by the settings of a request: text meets tokens here. Knows no model.

Every constraint is exact about `tokenizer.decode` of what is generated, however it is cut into tokens. A space that
only joins it to the prompt is no part of it.
"""

from __future__ import annotations

from nextword.constraints.grammar import grammar_constraint
from nextword.constraints.pieces import Pieces, token_pieces
from nextword.constraints.text import NEVER, TextConstraint, choice_rules, phrase_rules
from nextword.decoding.config import GenerationConfig
from nextword.decoding.constraints import All, Constraint
from nextword.errors import UsageError
from nextword.tokenizers import Tokenizer

FORMS = ("choices", "regex", "json_schema", "grammar")
UNSET = ((), "", None)
MOST_REQUIRED = 62  # what is said is kept as the bits of an integer, and one is for the prefix

__all__ = ["constraint_for"]


def constraint_for(config: GenerationConfig, tokenizer: Tokenizer) -> Constraint | None:
    """What the settings allow, from the first token on, to be forked for each row; None = everything.

    Raises UsageError, naming the setting and why, if nothing satisfies it within `max_tokens`, as far as that can be
    told beforehand, and MissingExtra if it needs a library that is not installed.
    """
    if all(getattr(config, name) in UNSET for name in ("banned_words", "required_words", "prefix", *FORMS)):
        return None
    pieces = token_pieces(tokenizer)
    _check(config)
    parts: list[Constraint] = []
    if config.choices:
        parts.append(_choice(config, tokenizer, pieces))
    elif config.banned_words or config.required_words or config.prefix:
        parts.append(_phrases(config, tokenizer, pieces))
    if grammar := grammar_constraint(config, pieces):
        parts.append(grammar)
    return parts[0] if len(parts) == 1 else All(parts)


def _check(config: GenerationConfig) -> None:
    """What no tokenizer could satisfy."""
    if len(config.required_words) > MOST_REQUIRED:
        raise UsageError(f"required_words: expected at most {MOST_REQUIRED}, got {len(config.required_words)}")
    for name, texts in (("required_words", config.required_words), ("prefix", (config.prefix,))):
        for text in texts:
            if banned := _first_banned(config, text):
                raise UsageError(f"{name}: {text!r} has {banned!r} in it, which banned_words forbids")
    ending = next((form for form in FORMS if getattr(config, form) not in UNSET), None)
    if ending and config.ignore_eos:
        raise UsageError(f"{ending} says where the text ends, ignore_eos that it never does", hint="Give one of them")
    if ending and (other := next((name for name in ("min_tokens", "force_eos") if getattr(config, name)), None)):
        raise UsageError(f"{ending} says where the text ends, and so does {other}", hint="Give one of them")


def _first_banned(config: GenerationConfig, text: str) -> str | None:
    return next((banned for banned in config.banned_words if banned in text), None)


def _choice(config: GenerationConfig, tokenizer: Tokenizer, pieces: Pieces) -> TextConstraint:
    """The choices that keep to the other settings, too."""
    left = tuple(
        choice
        for choice in config.choices
        if choice.startswith(config.prefix)
        and all(word in choice for word in config.required_words)
        and not _first_banned(config, choice)
    )
    if not left:
        raise UsageError("choices: none of them keeps to banned_words, required_words and prefix")
    rules, tokens = choice_rules(pieces, left)
    for choice, count in zip(left, tokens, strict=True):
        if count >= NEVER:
            raise UsageError(f"choices: {_unspelt(choice, tokenizer)}")
        if count + 1 > config.max_tokens:
            raise UsageError(
                f"choices: {choice!r} and <eos> are {count + 1} tokens, but max_tokens is {config.max_tokens}"
            )
    return TextConstraint(rules, closing=True)


def _phrases(config: GenerationConfig, tokenizer: Tokenizer, pieces: Pieces) -> TextConstraint:
    """Banned and required words and a prefix."""
    required = tuple(dict.fromkeys(config.required_words))
    only_banned = not (required or config.prefix)
    rules = phrase_rules(pieces, config.banned_words, required, config.prefix)
    constraint = TextConstraint(rules, closing=config.force_eos, inside=only_banned)
    settings = " and ".join(name for name in ("prefix", "required_words") if getattr(config, name))
    if constraint.need >= NEVER:
        if TextConstraint(phrase_rules(pieces, (), (), config.prefix), closing=False).need >= NEVER:
            raise UsageError(f"prefix: {_unspelt(config.prefix, tokenizer)}")
        for word in required:
            if TextConstraint(phrase_rules(pieces, (), (word,), ""), closing=False).need >= NEVER:
                raise UsageError(f"required_words: {_unspelt(word, tokenizer)}")
        raise UsageError(f"{settings}: this tokenizer's tokens cannot say it together without a word of banned_words")
    if (need := constraint.need + config.force_eos) > config.max_tokens:
        raise UsageError(f"{settings} may take {need} tokens, but max_tokens is {config.max_tokens}")
    return constraint


def _unspelt(text: str, tokenizer: Tokenizer) -> str:
    unknown = ", ".join(map(repr, tokenizer.unknown(text)))
    return f"the tokenizer cannot spell {text!r}" + (f": it has no token for {unknown}" if unknown else "")
