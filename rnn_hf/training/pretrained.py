"""From a recipe's `config` and `pretrained` to a model; what the data decides is filled in, contradictions refused."""

from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..embeddings import MatchedVectors
from ..models.auto import families
from ..models.config_checks import one_of, require
from .vocabulary import MatchedVocabulary, match_vocabulary, under_vocabulary


def model_config(
    auto_class: type, config: dict[str, Any] | None, pretrained: str | None = None, **decided: Any
) -> PreTrainedConfig:
    """The configuration that a recipe describes.

    Args:
        auto_class: Of the task: which families have a model for it.
        config: The recipe's `model.config`, whose `model_type` (default: `rnn`) is the family; beside `pretrained`,
            what to change in the saved configuration.
        pretrained: Folder or Hub id whose configuration to start from.
        decided: Fields that the data decides. The recipe may repeat them, but not contradict them.

    Raises:
        ValueError: an unknown key, a value outside its allowed set, a family that has no model for the task, or a
            contradiction with `decided`, or with the family or the direction of `pretrained`.
        FileNotFoundError: no such `pretrained`.
    """
    config = dict(config or {})
    for name, value in decided.items():
        if name in config and config[name] != value:
            raise ValueError(f"model.config.{name} is {config[name]!r}, but the data gives {value!r}: leave it out")
    allowed = families(auto_class)
    family = config.pop("model_type", None)
    require(one_of(*allowed), **{"model.config.model_type": family or "rnn"})
    if pretrained is None:
        return allowed[family or "rnn"](**{**config, **decided})
    try:
        saved = AutoConfig.from_pretrained(pretrained)
    except OSError as error:
        raise FileNotFoundError(
            f"model.pretrained {pretrained!r} is neither a folder here nor a model that the Hub gave: {error}"
        ) from error
    if not hasattr(saved, "field_rules"):
        raise ValueError(f"model.pretrained must be a model of rnn-hf; {pretrained!r} is of type {saved.model_type!r}")
    if family not in (None, saved.model_type):
        raise ValueError(
            f"model.config.model_type is {family!r}, but {pretrained!r} is of type {saved.model_type!r}: leave it out"
        )
    require(one_of(*allowed), **{"the model_type of model.pretrained": saved.model_type})
    kept = {name: getattr(saved, name) for name in saved.field_rules}
    changed = type(saved)(**{**kept, **config, **decided})
    reads = kept.get("direction")
    if reads is not None and changed.direction != reads:
        raise ValueError(
            f"model.pretrained {pretrained!r} has learnt to read {reads}, and cannot go on {changed.direction}: "
            "leave the direction out"
        )
    return changed


def build_model(
    auto_class: type,
    tokenizer: PreTrainedTokenizerBase,
    config: dict[str, Any] | None,
    pretrained: str | None,
    vectors: MatchedVectors | None = None,
    vocabulary: MatchedVocabulary | None = None,
    **decided: Any,
) -> PreTrainedModel:
    """A new model, or the pretrained one under the changed configuration, for the tokens of `tokenizer`.

    Args:
        vectors: What the embedding of a new model starts from, and a head that is tied to it; their width becomes
            `embedding_size`.
        vocabulary: How the pretrained model's vocabulary becomes that of `tokenizer` (`matched_vocabulary`).

    Raises:
        ValueError: as `model_config` and `under_vocabulary`; the pretrained model has no tokenizer, and a vocabulary of
            another size; `config` states another `embedding_size` than the vectors have.
    """
    decided |= {"vocab_size": len(tokenizer)}
    decided |= {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    if pretrained is None:
        if vectors is not None:
            width = vectors.weight.shape[1]
            if (config or {}).get("embedding_size", width) != width:
                raise ValueError(
                    f"model.config.embedding_size is {config['embedding_size']!r}, but the vectors of "
                    f"{vectors.facts['file']} have {width} numbers: leave it out, or give {width}"
                )
            decided["embedding_size"] = width
        model = auto_class.from_config(model_config(auto_class, config, **decided))
        if vectors is not None:
            with torch.no_grad():
                model.get_input_embeddings().weight.copy_(vectors.weight)
        return model
    if vocabulary is None:
        saved = AutoConfig.from_pretrained(pretrained).vocab_size
        if saved != len(tokenizer):
            raise ValueError(
                f"{pretrained!r} has a vocabulary of {saved}, the data's tokenizer one of {len(tokenizer)}: leave "
                "data.tokenizer out, and the tokenizer of the pretrained model is used"
            )
        model = auto_class.from_pretrained(pretrained, config=model_config(auto_class, config, pretrained, **decided))
    else:
        of_data = {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"}
        kept = {name: value for name, value in decided.items() if name not in of_data}
        model = auto_class.from_pretrained(pretrained, config=model_config(auto_class, config, pretrained, **kept))
        model = under_vocabulary(model, model_config(auto_class, config, pretrained, **decided), vocabulary.rows)
    return model.train()  # from_pretrained gives it in evaluation mode, and Lightning would leave its dropouts off


def matched_vocabulary(pretrained: str, tokenizer: PreTrainedTokenizerBase) -> MatchedVocabulary | None:
    """Where the tokens of `tokenizer` stand in the vocabulary of a pretrained model; None where they are its own.

    A folder without a tokenizer is taken to have that of the data. Raises ValueError where nothing matches.
    """
    try:
        own = AutoTokenizer.from_pretrained(pretrained)
    except OSError:
        return None
    try:
        matched = match_vocabulary(own, tokenizer)
    except ValueError as error:
        raise ValueError(
            f"model.pretrained {pretrained!r}: {error}: leave data.tokenizer out, and its own tokenizer is used"
        ) from error
    if matched is not None:
        matched.facts = {"pretrained": pretrained, **matched.facts}
    return matched
