"""A corpus and models so small that a training run takes a second."""

from pathlib import Path

import torch
from toys import write_tokens

from nextword.data.token_files import TokenFiles
from nextword.models import build_model, model_config
from nextword.training.config import TrainConfig
from nextword.training.trainer import Trainer

V = 12
MODELS = {
    "lstm": {"type": "lstm", "hidden_size": 16, "dropout": 0.2, "vocab_size": V},
    "transformer": {
        "type": "transformer",
        "num_layers": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "max_seq_len": 8,
        "dropout": 0.2,
        "vocab_size": V,
    },
}


class Letters:
    """A vocabulary of V ids; 0 is <eos>."""

    kind, vocab_size, eos_id, unk_id = "letters", V, 0, None

    def fingerprint(self) -> str:
        return "letters"


def counting_songs(folder: Path) -> TokenFiles:
    """Forty of them: 1 2 3 ... each up to a length of its own."""
    return write_tokens(folder, [([], list(range(1, length))) for length in list(range(4, V)) * 5], Letters())


def trainer(name, files, folder, sample=None, valid=True, **settings) -> Trainer:
    config = TrainConfig(**({"batch_size": 4, "context": 8, "precision": "float32", "log_every": 1} | settings))
    torch.manual_seed(config.seed)
    model = build_model(model_config(MODELS[name]))
    return Trainer(model, files, files if valid else None, config, folder, sample)


def weights(trainer: Trainer) -> list[torch.Tensor]:
    """A copy of its model's, in order."""
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]
