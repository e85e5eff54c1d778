"""What the tests of training share: a small vocabulary and model, and a trainer that leaves nothing behind."""

import lightning as L

WORDS = ["the", "film", "is", "good", "and", "bad", "but", "never", "dull"]
CONFIG = {"embedding_size": 8, "hidden_size": 8}


def trainer(**settings):
    defaults = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
        "log_every_n_steps": 1,
    }
    return L.Trainer(**{**defaults, **settings})
