"""One interface over every tokenizer, and the folder layout the Hugging Face ecosystem reads.

All rules and the vocabulary lie in `tokenizer.json`; `tokenizer_config.json` beside it names the special tokens, so
that `transformers.AutoTokenizer` loads the folder and gives the same ids. Ours have one boundary token, `<eos>`,
which ends a document and begins the next. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nextword.errors import DataError, RunError
from nextword.files import write_json, write_text
from nextword.tokenizers.byte import byte_alphabet
from nextword.tokenizers.stream import StreamDecoder

if TYPE_CHECKING:
    import tokenizers

EOS = "<eos>"
IGNORE = -100
"""No token's id: the target where there is no loss (PyTorch's convention)."""
FILE, SETTINGS, SOURCE = "tokenizer.json", "tokenizer_config.json", "source_tokenizer.json"
ELSEWHERE = "\ufdd0"
"""No character, and so in no text: before a token that what cuts the text does not know, since it is one of the other
language. It is found only where it is all of a stretch of unknown text (Marian; `interop.sentencepiece.with_ids`)."""
PROBE = "Ab 1.\n月\U0010ffff"  # some of it unknown to most vocabularies
_BOUNDARIES = ("<eos>", "</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>")  # of files that name none


class Tokenizer:
    """Text <-> ids. Made by `train_tokenizer` or `load`.

    >>> from nextword.tokenizers import TokenizerConfig, train_tokenizer
    >>> tokenizer = train_tokenizer(TokenizerConfig(type="char"), ["banana"])
    >>> tokenizer.decode(tokenizer.encode("nab"))
    'nab'
    """

    source: Tokenizer
    """What cuts prompts into tokens: another one where two languages share ids but not pieces (Marian), else itself."""

    def __init__(
        self, backend: tokenizers.Tokenizer, kind: str, eos: str, bos: str, source: Tokenizer | None = None
    ) -> None:
        """`eos` and `bos` are tokens of `backend`; `kind` is a name for people."""
        # A user who types "<eos>" means these five characters. The setting is not part of tokenizer.json.
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.kind, self.source = backend, kind, source or self
        vocab = backend.get_vocab()
        self.vocab_size = max(vocab.values(), default=0) + 1  # a foreign file may leave ids unused
        self._elsewhere = {token[1:]: id for token, id in vocab.items() if token.startswith(ELSEWHERE)}
        self.eos_id, self.bos_id = self._id(eos), self._id(bos)
        rules = json.loads(backend.to_str())
        unknown = rules["model"].get("unk_token")
        if unknown is None and rules["model"].get("unk_id") is not None:
            unknown = backend.id_to_token(rules["model"]["unk_id"])
        self.unk_id: int | None = None if unknown is None else backend.token_to_id(unknown)
        added = {token["id"] for token in rules.get("added_tokens", []) if token["special"]}
        self.special_ids = frozenset(added - {self.unk_id} | {self.eos_id, self.bos_id})
        decoders = json.dumps(rules.get("decoder"))
        self.is_byte_level = '"ByteLevel"' in decoders
        self._has_fallback = '"ByteFallback"' in decoders

    def encode(self, text: str) -> list[int]:
        """The ids of a text; no special token is added, and none is found in it.

        Raises DataError if the text holds a lone surrogate, which is no character and has no UTF-8.
        """
        try:
            return self._ids(self.backend.encode(text, add_special_tokens=False))
        except TypeError:
            raise _no_text([text]) from None
        except BaseException as error:
            raise _failure(error) from None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `encode` where it stands in the text: from which character to before which; a token of a
        character's bytes stands for all of it. Raises DataError as `encode`."""
        try:
            return self.backend.encode(text, add_special_tokens=False).offsets
        except TypeError:
            raise _no_text([text]) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, on all cores."""
        try:
            found = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
            return [self._ids(one) for one in found]
        except TypeError:
            raise _no_text(texts) from None
        except BaseException as error:
            raise _failure(error) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids: special tokens are left out, an unknown one shows as `<unk>`."""
        try:
            return self.backend.decode([id for id in ids if id not in self.special_ids], skip_special_tokens=False)
        except BaseException as error:
            raise _failure(error) from None

    def stream(self) -> StreamDecoder:
        """A decoder for ids that come one by one."""
        return StreamDecoder(self)

    def token_text(self, id: int) -> str:
        """One token for people: its text, or `<0xE4>` for each byte that is no character by itself."""
        token = self._token(id)
        if id in self.special_ids or id == self.unk_id:
            return token
        if not self.is_byte_level:
            return self.backend.decode([id]) or token
        found = self.token_bytes(id)
        try:
            return found.decode()
        except UnicodeDecodeError:
            return "".join(chr(byte) if byte < 0x80 else f"<0x{byte:02X}>" for byte in found)

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token of a byte-level vocabulary."""
        if id not in self._known_bytes:
            token = self._token(id)
            try:
                self._known_bytes[id] = bytes(self._byte_of[character] for character in token)
            except KeyError:  # added to the vocabulary as plain text
                self._known_bytes[id] = token.encode()
        return self._known_bytes[id]

    def is_fallback_byte(self, id: int) -> bool:
        """Whether a token stands for one byte in a vocabulary that falls back to bytes (Llama 2's kind)."""
        token = self._token(id)
        return self._has_fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">")

    def unknown(self, text: str) -> Counter[str]:
        """What in a text has no token of its own, with counts; empty if all is known."""
        if self.unk_id is None:
            return Counter()
        found = self.backend.encode(text, add_special_tokens=False)
        name, decoder = self.backend.id_to_token(self.unk_id), self.backend.decoder
        return Counter(
            # A unigram model tells what it was; of others, where it stood.
            text[slice(*span)] if token == name or decoder is None else decoder.decode([token]) or token
            for id, token, span in zip(self._ids(found), found.tokens, found.offsets, strict=True)
            if id == self.unk_id
        )

    def halves(self) -> list[tuple[int, int]] | None:
        """For each id the two that spell the same: those that byte-pair encoding merges into it, or the likeliest two
        of a unigram vocabulary; (-1, -1) where there are none. None for tokenizers of other kinds."""
        rules = json.loads(self.backend.to_str())["model"]
        halves = [(-1, -1)] * self.vocab_size
        if rules["type"] == "Unigram":
            for id, two in _likeliest_halves(rules["vocab"]):
                halves[id] = two
            return halves
        if not rules.get("merges"):
            return None
        for first, second in reversed(rules["merges"]):  # so that the earliest way to a token stays
            halves[rules["vocab"][first + second]] = rules["vocab"][first], rules["vocab"][second]
        return halves

    def fingerprint(self) -> str:
        """A hash of the vocabulary and the rules: equal fingerprints give equal ids."""
        rules = json.dumps(json.loads(self.backend.to_str()), sort_keys=True)
        boundary = f"{self.backend.id_to_token(self.bos_id)} {self.backend.id_to_token(self.eos_id)}"
        source = "" if self.source is self else self.source.fingerprint()
        return hashlib.sha256(f"{rules} {boundary}{source}".encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json into a folder, source_tokenizer.json if prompts have one."""
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.backend.id_to_token(self.bos_id),
            "eos_token": self.backend.id_to_token(self.eos_id),
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
            "nextword_type": self.kind,
        }
        if self.unk_id is not None:
            settings["unk_token"] = self.backend.id_to_token(self.unk_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE, self.backend.to_str(pretty=False))
        write_json(folder / SETTINGS, settings)
        if self.source is not self:
            write_text(folder / SOURCE, self.source.backend.to_str(pretty=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a folder, or from a tokenizer.json; also one that came from elsewhere.

        Raises RunError if it is missing or damaged, or if no boundary token can be found.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        backend = _read(file)
        settings = read_settings(file.with_name(SETTINGS))
        eos = _named(settings, "eos_token") or next(
            (t for t in _BOUNDARIES if backend.token_to_id(t) is not None), None
        )
        bos = _named(settings, "bos_token") or eos
        for name, token in (("eos", eos), ("bos", bos)):
            if token is None or backend.token_to_id(token) is None:
                raise RunError(f"{file}: its {name} token {token!r} is not in the vocabulary")
        assert eos is not None
        assert bos is not None
        kind = settings.get("nextword_type") or type(backend.model).__name__.lower()
        beside = file.with_name(SOURCE)
        source = cls(_read(beside), str(kind), eos, bos) if file.name == FILE and beside.is_file() else None
        return cls(backend, str(kind), eos, bos, source)

    def _ids(self, found: tokenizers.Encoding) -> list[int]:
        if not self._elsewhere:
            return found.ids
        pairs = zip(found.ids, found.tokens, strict=True)
        return [self._elsewhere.get(token, id) if id == self.unk_id else id for id, token in pairs]

    def _id(self, token: str) -> int:
        id = self.backend.token_to_id(token)
        if id is None:
            raise ValueError(f"no token {token!r} in the vocabulary")
        return id

    def _token(self, id: int) -> str:
        token = self.backend.id_to_token(id)
        if token is None:
            raise ValueError(f"no token has the id {id}; the vocabulary ends at {self.vocab_size - 1}")
        return token

    @cached_property
    def _known_bytes(self) -> dict[int, bytes]:
        return {}

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        return {character: byte for byte, character in enumerate(byte_alphabet())}


def _read(file: Path) -> tokenizers.Tokenizer:
    """A tokenizer.json. Raises RunError if it is missing or damaged."""
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_str(file.read_text(encoding="utf-8"))
        backend.decode(backend.encode(PROBE, add_special_tokens=False).ids)  # some damage shows in use only
    except OSError as error:
        raise RunError(
            f"{file}: {error.strerror or error}", hint="A run needs the tokenizer it was made with"
        ) from None
    except BaseException as error:  # the library answers some damage with a Rust panic, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{file} is damaged: {reason}", hint="Restore the file that was saved with the run") from None
    return backend


def _no_text(texts: Iterable[Any]) -> Exception:
    """Why the library did not take these texts: the first lone surrogate, else something that is no string."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return DataError(
                f"The text holds U+{ord(text[error.start]):04X}, half of a character", hint="Save it as UTF-8"
            )
        except AttributeError:
            break
    return TypeError("expected strings")


def _failure(error: BaseException) -> BaseException:
    """What the library cannot do by the rules of a tokenizer.json, as our error.

    Some of it is a Rust panic, which is no Exception: a pattern that backtracks without end, say.
    """
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return error  # Ctrl-C
    if isinstance(error, OverflowError | ValueError | MemoryError):
        return error  # an id that is no id: a mistake of the caller's
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"The tokenizer fails at this text: {reason}", hint="The rules of its tokenizer.json are at fault")


def read_settings(file: Path) -> dict[str, Any]:
    """The contents of a tokenizer_config.json; nothing if it is not there. Raises RunError if it is damaged."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error}", hint="Restore the file that was saved with the run") from None
    return settings if isinstance(settings, dict) else {}


def _named(settings: dict[str, Any], key: str) -> str | None:
    """A token by its name in tokenizer_config.json: a string, or an object with its content."""
    token = settings.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _likeliest_halves(vocab: Sequence[tuple[str, float]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """The pieces, as ids, that two others spell, and which. Not those in angle brackets, such as <unk> and <0x41>."""
    bracketed = {piece for piece, _ in vocab if piece.startswith("<") and piece.endswith(">")}
    known = {piece: (score, id) for id, (piece, score) in enumerate(vocab) if piece not in bracketed}
    for piece, (_, id) in known.items():
        cuts = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        pairs = [(known[first], known[second]) for first, second in cuts if first in known and second in known]
        if pairs:
            (_, first), (_, second) = max(pairs, key=lambda pair: pair[0][0] + pair[1][0])
            yield id, (first, second)
