"""What the models of every family share: strict loading, saving with the code, pushing, a vocabulary to be resized.

A family's base class names its configuration, its Auto classes and its heads, and initialises its own weights.
"""

import copy
import importlib
import json
import math
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import cached_file, extract_commit_hash

from .config_checks import CheckedConfig, integer, require
from .manifest import MANIFEST, check_manifest
from .token_embedding import WordVectors

# What from_pretrained takes that decides on the files that are read.
OF_FILES = {"cache_dir", "force_download", "proxies", "token", "local_files_only", "revision", "subfolder"}


class SizeMismatchError(ValueError, RuntimeError):
    """Sizes in a checkpoint differ from the configuration's, where transformers raises RuntimeError."""


class TextPreTrainedModel(PreTrainedModel):
    """Weights, loading and saving that all families share.

    Attributes:
        hub_commit: of the repository on the Hub that it was loaded from; None for any other model.
    """

    config: CheckedConfig
    hub_commit: str | None = None
    base_model_prefix = "model"
    _skip_keys_device_placement = ["past_key_values"]
    _is_stateful = False  # `crop` rolls a state back exactly, so assisted decoding is allowed
    # Saved with the code (`save_pretrained(..., include_code=True)`), a folder opens through each of these without
    # rnn-hf: "AutoConfig" and the family's Auto classes -> "file.Class".
    AUTO_MAP: ClassVar[dict[str, str]] = {}
    # What a checkpoint may hold beside the encoder: the head of another task is left out.
    _all_heads: ClassVar[tuple[str, ...]] = ()
    _head_keys: ClassVar[tuple[str, ...]] = ()  # parameters that may be new when an encoder of another task is loaded
    # Initial length of the vectors of tokens; None for entries within 0.1. Long vectors of seldom-seen words are noise
    # to a classifier: one epoch of quickstart/sentiment ends at test loss 0.474 so, at 0.495 with length 3 (two seeds).
    token_length: float | None = None

    def __init__(self, config: CheckedConfig, *args, **kwargs):
        config.check()  # fields may have been set since the configuration was made; nothing is allocated yet
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding | WordVectors):
            self._init_token_vectors(module.weight)
            padding = getattr(module, "padding_idx", None)
            if padding is not None and not getattr(module.weight, "_is_hf_initialized", False):
                module.weight[padding] = 0
        elif isinstance(module, nn.Linear | nn.Conv1d):
            init.xavier_uniform_(module.weight)
        else:
            super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d) and module.bias is not None:
            init.zeros_(module.bias)

    def _init_token_vectors(self, weight: Tensor) -> None:
        span = self.config.initializer_range
        if span is None and self.token_length is None:
            span = 0.1
        elif span is None:
            # The variance of U(-a, a) is a^2 / 3. Narrow vectors stay shorter, where entries would be beyond 1.
            span = min(1.0, self.token_length * math.sqrt(3 / weight.shape[1]))
        init.uniform_(weight, -span, span)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """As in transformers, but strict.

        Only safetensors are read, shard paths stay inside the folder, the files are those of the manifest if there is
        one (`manifest.py`), every shape must be equal and no key may be missing, but those of a head that the
        checkpoint was not trained with: that head is new, and the same under one seed. With an explicit `state_dict=`,
        `ignore_mismatched_sizes=True` or `output_loading_info=True` (whose report lists what is missing) it loads what
        there is, as transformers does.

        Raises:
            OSError: no such folder or repository, or no safetensors in it.
            ValueError: missing keys, shapes that differ, a file that is not what it was, paths outside the folder,
                `use_safetensors=False`.
        """
        return_info = kwargs.pop("output_loading_info", False)
        explicit = kwargs.get("state_dict") is not None
        ignore_sizes = kwargs.pop("ignore_mismatched_sizes", False)
        if not explicit and pretrained_model_name_or_path is not None:
            if kwargs.setdefault("use_safetensors", True) is not True:
                raise ValueError("use_safetensors must be True: pickled weights can run code and are not read")
            folder = Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or "")
            _check_shard_paths(folder)
            if (folder / MANIFEST).is_file():
                check_manifest(folder / MANIFEST)
        try:
            # Sizes are checked below: transformers' own error leaves their names to a table in the log.
            model, info = super().from_pretrained(
                pretrained_model_name_or_path,
                *model_args,
                ignore_mismatched_sizes=ignore_sizes or not explicit,
                output_loading_info=True,
                **kwargs,
            )
        except NotImplementedError as error:  # transformers compares two tensors, one of which was never read
            raise ValueError(
                f"{cls.__name__} from {pretrained_model_name_or_path}: tie_word_embeddings must be as the weights "
                "were saved"
            ) from error
        except SafetensorError as error:
            raise ValueError(_damaged(Path(pretrained_model_name_or_path), error)) from error
        if not explicit and not Path(pretrained_model_name_or_path).is_dir():
            model.hub_commit = _check_downloaded(pretrained_model_name_or_path, kwargs)
        if not explicit and not ignore_sizes and not return_info:  # who asks for the report judges it
            model._check_loaded(info, pretrained_model_name_or_path, kwargs)
        return (model, info) if return_info else model

    def _check_loaded(self, info: dict, source, kwargs: dict) -> None:
        """Refuses what transformers reports of loading: other sizes, keys without a place, missing keys. `kwargs` are
        those of `from_pretrained`."""
        missing = set(info["missing_keys"])
        sizes = [
            f"{name} is {tuple(there)}, not {tuple(here)}" for name, there, here in sorted(info["mismatched_keys"])
        ]
        if sizes:
            raise SizeMismatchError(
                f"{type(self).__name__} from {source}: sizes differ from the configuration's: {'; '.join(sizes)}. "
                "Take the configuration that was saved with the weights"
            )
        foreign = sorted(key for key in info["unexpected_keys"] if not key.startswith(self._all_heads))
        if foreign:
            raise ValueError(
                f"{type(self).__name__} from {source}: the configuration has no place for {', '.join(foreign)}. "
                "Take the configuration that was saved with the weights"
            )
        saved_as = self.config.architectures or []
        head = {key for key in self.state_dict() if key.startswith(self._head_keys)} if self._head_keys else set()
        head -= set(self.all_tied_weights_keys)
        # A head is new as a whole, and only where the checkpoint was saved by another class.
        if head and head <= missing and type(self).__name__ not in saved_as:
            missing -= head
        if missing:
            raise ValueError(
                f"{type(self).__name__} from {source}: the checkpoint lacks {', '.join(sorted(missing))}. "
                "Take a complete checkpoint"
            )

    def save_pretrained(self, save_directory, *args, include_code: bool = False, **kwargs):
        """As in transformers.

        Args:
            include_code: also write the modelling files, so that the folder opens with `trust_remote_code=True` where
                rnn-hf is not installed, through every Auto class of the family.
        """
        if kwargs.pop("push_to_hub", False):
            raise ValueError("save_pretrained(push_to_hub=True) would replace the card that is there: use push_to_hub")
        (Path(save_directory) / MANIFEST).unlink(missing_ok=True)  # of what is about to be overwritten
        own_map = getattr(self.config, "auto_map", None)
        if include_code or self._auto_class is not None:
            self.config.auto_map = dict(self.AUTO_MAP)
        elif own_map is not None:
            del self.config.auto_map  # it would name files that this folder will not hold
        try:
            super().save_pretrained(save_directory, *args, **kwargs)
            if include_code and self._auto_class is None:
                custom_object_save(self, save_directory)
        finally:
            if own_map is not None:
                self.config.auto_map = own_map
            elif hasattr(self.config, "auto_map"):
                del self.config.auto_map

    def push_to_hub(self, repo_id: str, tokenizer: PreTrainedTokenizerBase | None = None, **options) -> str:
        """Pushes the model with its tokenizer, code and card in one commit: `rnn_hf.hub.model.push_model`.

        Unlike transformers' own, it is private unless `private=False`, needs a `license` (an SPDX identifier; a card
        that has one will do), and no card that somebody wrote is overwritten.

        Args:
            repo_id: `owner/name`, or a name alone.
            tokenizer: default: that of the folder which the model was loaded from.
            options: `license`, `private`, `revision`, `create_pr`, `tag`, `commit_message`, `token`, `dry_run` and
                the others of `rnn_hf.hub.push.PushOptions`.

        Returns:
            the address of the commit or pull request.

        Raises:
            ImportError: rnn-hf is not installed, as where the model came with its code.
        """
        # The one way up from here, and by name: what a push needs does not travel with a checkpoint.
        try:
            push = importlib.import_module("rnn_hf.hub.model")
        except ModuleNotFoundError as error:
            raise ImportError("push_to_hub writes card and manifest with rnn-hf: pip install rnn-hf") from error
        return push.push_model(self, repo_id, tokenizer, **options)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, *args, **kwargs
    ) -> nn.Embedding:
        """As in transformers. Raises ValueError where the model cannot have that size (`_check_vocab_size`), and where
        it has no embeddings."""
        if self.config.one_pass:
            raise ValueError(
                f"resize_token_embeddings is for embeddings, and {type(self).__name__} has none: fit it anew with its "
                "tokens"
            )
        if pad_to_multiple_of is not None and not isinstance(pad_to_multiple_of, int):
            return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, *args, **kwargs)  # which refuses
        require(integer(1, optional=True), pad_to_multiple_of=pad_to_multiple_of)
        now, multiple = self.get_input_embeddings().num_embeddings, pad_to_multiple_of or 1
        size = -(-(now if new_num_tokens is None else new_num_tokens) // multiple) * multiple
        if size != now:
            self._check_vocab_size(size)
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, *args, **kwargs)

    def _check_vocab_size(self, size: int) -> None:
        """Raises ValueError where the ids of special tokens would lie outside a vocabulary of another size."""
        resized = copy.deepcopy(self.config)
        resized.vocab_size = size
        resized.check()


def _check_downloaded(repo_id: str, kwargs: dict) -> str | None:
    """Compares what came from the Hub, the tokenizer too, with the manifest of the same commit, if there is one; and
    returns that commit. `kwargs` are those of `from_pretrained`."""
    named = {key: kwargs[key] for key in OF_FILES & kwargs.keys()}
    quiet = dict.fromkeys((f"_raise_exceptions_for_{what}" for what in
                           ("missing_entries", "connection_errors", "gated_repo")), False)  # fmt: skip
    read = cached_file(repo_id, "config.json", **{**named, "local_files_only": True}, **quiet)
    if commit := extract_commit_hash(read, None):
        named["revision"] = commit
    if (manifest := cached_file(repo_id, MANIFEST, **named, **quiet)) is not None:
        for tokenizer_file in ("tokenizer.json", "tokenizer_config.json"):  # AutoTokenizer compares nothing
            cached_file(repo_id, tokenizer_file, **named, **quiet)
        check_manifest(Path(manifest))
    return commit


def _damaged(source: Path, error: SafetensorError) -> str:
    """Names the file at fault, where the weights are local."""
    for file in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return f"{file} is damaged or incomplete ({error}): fetch or save it again"
    return f"the weights of {source} are damaged or incomplete ({error}): fetch or save them again"


def _check_shard_paths(folder: Path) -> None:
    """A local index may only name files that stand in its own folder."""
    for index in folder.glob("*.safetensors.index*.json"):  # `variant=` reads model.safetensors.index.VARIANT.json
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{index} is no index of weights (a JSON object with weight_map): save it again"
            ) from error
        for shard in shards:
            if Path(shard).name != shard:
                raise ValueError(f"{index} names a shard outside its folder: {shard!r}")
