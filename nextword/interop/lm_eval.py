"""Runs as models of lm-eval, EleutherAI's harness: importing this registers "nextword" beside its own models.

    nextword lm-eval RUN --tasks lambada_openai,arc_easy
    python -m nextword.interop.lm_eval run --model nextword --model_args path=RUN --tasks lambada_openai

The figures are those of lm-eval's `hf` on the exported folder: texts become tokens in the same way, the boundary token
stands before a text where the exported tokenizer puts it, and long texts are read in the same windows. Only a recurrent
model reads a text of any length in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer as Backend
from tqdm import tqdm

from nextword.checkpoint import read_config
from nextword.decoding.config import SAMPLING, GenerationConfig
from nextword.errors import RunError, UsageError, did_you_mean
from nextword.generator import Job, TextGenerator
from nextword.scoring import boundary_id, score_continuations
from nextword.tokenizers.chat import CHAT_TEMPLATE, ChatTokenizer

DEFAULT_LENGTH = 256  # tokens generated where a task names no number, as in lm-eval's hf
THEIR_DEVICE = "cuda:0"  # what lm-eval asks for where nobody says otherwise
THEIRS = ("batch_size", "max_batch_size")  # given to every model; ours are batched by the number of their tokens


@register_model("nextword")
class NextwordLM(TemplateLM):
    """A run folder under lm-eval's interface."""

    def __init__(
        self,
        path: str,
        device: str = "cpu",
        precision: str = "float32",
        add_bos_token: bool | None = None,
        batch_tokens: int = 8192,
        **others: Any,
    ) -> None:
        """`path` is a run; `add_bos_token` puts the boundary token before each text, or not; if left out, it stands
        there for runs trained here, and for imported ones where their own tokenizer puts it. `batch_tokens` are read
        at a time.
        """
        super().__init__()
        for name in others:
            if name not in THEIRS:
                known = ("path", "device", "precision", "add_bos_token", "batch_tokens")
                raise UsageError(f"--model_args {name}: nextword has no such setting. {did_you_mean(name, known)}")
        if device == THEIR_DEVICE and not torch.cuda.is_available():
            device = "cpu"
        self.path = Path(path)
        self.generator = TextGenerator.load(path, device=device, precision=precision)
        self.model, self.tokenizer = self.generator.model, self.generator.tokenizer
        # Settings come from the task; of the run's own, only what ends a text is part of the model.
        kept = {name: value for name, value in self.generator.config if name == "stop_tokens"}
        self.generator.config = GenerationConfig().model_copy(update=kept)
        self.batch_tokens = int(batch_tokens)
        self._device = self.model.device
        self._chat = ChatTokenizer.load(path, self.tokenizer) if (self.path / CHAT_TEMPLATE).is_file() else None
        imported = "origin" in read_config(self.path)
        self._reader = Backend.from_str(self.tokenizer.backend.to_str())
        # A text spells special tokens where a chat template writes them, and in models from elsewhere.
        self._reader.encode_special_tokens = not imported and self._chat is None
        if add_bos_token is None:
            add_bos_token = not imported or self._reader.encode("").ids[:1] == [self.prefix_token_id]
        self.add_bos_token = add_bos_token

    @property
    def eot_token_id(self) -> int:
        """Ends a text."""
        return self.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        """Stands before the first token where a task gives no context."""
        return boundary_id(self.tokenizer)

    @property
    def tokenizer_name(self) -> str:
        """Part of the name under which lm-eval keeps requests."""
        return self.tokenizer.fingerprint()

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of a text; the boundary stands before it once, if it is to stand there."""
        ids = self._reader.encode(string, add_special_tokens=False).ids
        if add_special_tokens is None:
            add_special_tokens = self.add_bos_token and ids[:1] != [self.prefix_token_id]
        return [self.prefix_token_id, *ids] if add_special_tokens else ids

    # -- scores ----------------------------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """(texts or None, context ids, continuation ids) -> (ln P(continuation | context), whether it is greedy)."""
        found: dict[int, tuple[float, bool]] = {}
        scores = score_continuations(self.model, [(c, t) for _, c, t in requests], self.batch_tokens)
        for number, score in tqdm(scores, total=len(requests), disable=disable_tqdm or None, desc="loglikelihood"):
            found[number] = (score.log_prob, score.greedy)
            if requests[number][0] is not None:
                self.cache_hook.add_partial("loglikelihood", requests[number][0], found[number])
        return [found[number] for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """ln P(text) of whole texts."""
        texts = [text for (text,) in (request.args for request in requests)]
        pairs = [(i, pair) for i, text in enumerate(texts) for pair in self._windows(self.tok_encode(text))]
        scores = self._loglikelihood_tokens([(None, *pair) for _, pair in pairs], disable_tqdm)
        totals = [0.0] * len(texts)
        for (i, _), (log_prob, _) in zip(pairs, scores, strict=True):
            totals[i] += log_prob
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def _windows(self, ids: list[int]) -> Iterator[tuple[list[int], list[int]]]:
        """(context, continuation) that together tell of each token once, given as much as the model can see."""
        longest = self.model.max_seq_len or max(len(ids), 1)
        windows = get_rolling_token_windows(ids, self.prefix_token_id, max_seq_len=longest, context_len=1)
        return map(make_disjoint_window, windows)

    # -- texts -----------------------------------------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to a stop string, all under way side by side."""
        jobs = [self._submit(*request.args) for request in requests]
        with tqdm(total=len(jobs), disable=disable_tqdm or None, desc="generate_until") as progress:
            while not all(job.finished for job in jobs):
                self.generator.step()
                progress.update(sum(job.finished for job in jobs) - progress.n)
        texts = [job.results(lambda a, b: 0.0)[0].text for job in jobs]
        for request, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def _submit(self, context: str, settings: dict[str, Any]) -> Job:
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(settings, DEFAULT_LENGTH))
        length, stops = wanted.pop("max_gen_toks"), wanted.pop("until")
        if not wanted.pop("do_sample"):
            wanted = {name: value for name, value in wanted.items() if name not in SAMPLING}
            wanted |= {} if wanted.get("num_beams", 1) > 1 else {"temperature": 0}
        ids, limit = self.tok_encode(context) or [self.prefix_token_id], self.model.max_seq_len
        if limit is not None:  # the end of the context, and room for what follows
            ids = ids[-max(limit - length, limit // 2, 1) :]
        wanted |= {"max_tokens": length, "stop": list(filter(None, stops)), "seed": 0}
        return self.generator.submit_ids(ids, **wanted)

    # -- conversations ---------------------------------------------------------------------------------------------

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The turns as one text, by the template in the run folder; without a generation prompt, the last is open."""
        if self._chat is None:
            raise RunError(f"{self.path} has no {CHAT_TEMPLATE}", hint="Leave out --apply_chat_template")
        if add_generation_prompt:
            return self._chat.format.render(chat_history).text
        return self._chat.format.open_end(chat_history).text

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Its source, for lm-eval's records."""
        return self._chat.format.template.source if chat_template and self._chat is not None else None

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes beside the results."""
        return {"model_num_parameters": self.model.num_parameters(), "model_dtype": "torch.float32"}


def main(arguments: Sequence[str]) -> None:
    """lm-eval's own command line, with our model known to it. Ends with SystemExit for wrong arguments."""
    import sys

    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm-eval", *arguments]
    cli_evaluate()


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
