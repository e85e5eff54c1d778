"""Classifiers by the words that a text holds: Naive Bayes, logistic regression, both together, and averaged embeddings.

The first three differ in how they are fitted (`bag_of_words.py`); fitted, they are one linear map of the text's
n-grams, `NgramScores`. Padding on any side leaves the numbers as they are.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple, is_tracing

from .bag_of_words import fit_bag_of_words
from .config_checks import integer, require
from .configuration_bow import BowConfig
from .input_checks import check_ids, check_input, checked_labels, mask_or_padding, real_steps, refuse_export
from .ngram_features import counted, ngram_numbers, spelled
from .pooling import pool_mean
from .text_model import TextPreTrainedModel
from .token_embedding import embed


class NgramScores(nn.Module):
    """The sum over a text's n-grams of their weights for each label. N-grams that the table lacks add nothing.

    Of Naive Bayes the weights are log p(n-gram | label), and the bias log p(label), less their mean over the labels,
    which no softmax sees.
    """

    def __init__(self, config: BowConfig):
        super().__init__()
        self.config = config
        size = config.num_features
        self.register_buffer("table", torch.zeros(size, dtype=torch.int64))  # see `ngram_features`
        if config.features == "tfidf":
            self.idf = nn.Parameter(torch.ones(size))
        self.weight = nn.Parameter(torch.zeros(size, config.num_labels))
        self.bias = nn.Parameter(torch.zeros(config.num_labels))

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """(batch, time) ids, and bool, false at padding -> (batch, num_labels)."""
        numbers, first, counts = counted(ngram_numbers(self.table, input_ids, mask, self.config.ngram_max))
        values = first.to(self.weight.dtype)  # an n-gram counts where it first stands
        if self.config.features != "binary":
            values = values * counts
        numbers = numbers.clamp(min=0)
        if not len(self.table):
            return self.bias.repeat(len(input_ids), 1)
        if self.config.features == "tfidf":
            values = F.normalize(values * self.idf[numbers], dim=1)
        return F.embedding_bag(numbers, self.weight, mode="sum", per_sample_weights=values) + self.bias


class BowForSequenceClassification(TextPreTrainedModel):
    """One label, several, or a number for a text (`config.problem_type`, else by the labels given).

    All but `classifier="mlp"` are fitted to all training texts at once (`fit`, which `rnn-hf fit` calls). They keep
    float32 under any `dtype`, have no embeddings, and give no number.
    """

    config_class = BowConfig
    config: BowConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_bow.BowConfig",
        "AutoModelForSequenceClassification": "modeling_bow.BowForSequenceClassification",
    }
    accepts_loss_kwargs = False  # the loss is a batch's mean: Trainer divides it by its accumulation steps

    def __init__(self, config: BowConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        if config.one_pass:
            self.ngrams = NgramScores(config)
            # Sums of thousands of weights. Not the table, whose int64 would become float32 too.
            self._keep_in_fp32_modules_strict = [f"ngrams.{name}" for name, _ in self.ngrams.named_parameters()]
        else:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
            widths = [config.embedding_size] + [config.hidden_size] * config.num_hidden_layers
            self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
            self.dropout = nn.Dropout(config.hidden_dropout)
            self.score = nn.Linear(widths[-1], config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, NgramScores):
            for tensor in (module.table, *module.parameters(recurse=False)):
                init.zeros_(tensor)
        else:
            super()._init_weights(module)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, time)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, *optional*):
                1 at real tokens, 0 at padding, which may stand anywhere; n-grams run over it. Without a mask,
                `pad_token_id` is taken for padding.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*):
                In place of ids, for an `mlp`.
            labels (*optional*): `(batch,)` class ids; `(batch, num_labels)` of 0 and 1 for several labels;
                `(batch, num_labels)`, or `(batch,)` of one target, numbers for regression.

        Returns:
            `loss`, `logits` (`torch.Tensor` of shape `(batch, num_labels)`).

        Raises:
            ValueError: not exactly one of ids and embeddings, or embeddings where there are none; an empty batch or
                text; an id outside the vocabulary; a mask of another shape.
        """
        attention_mask = mask_or_padding(self.config, input_ids, attention_mask)
        if self.config.one_pass:
            refuse_export(self)
            logits = self.ngrams(self._checked(input_ids, inputs_embeds), real_steps(attention_mask, input_ids))
        else:
            hidden = embed(self.embed_tokens, input_ids, inputs_embeds, self.config.embedding_dropout)
            hidden = self.dropout(pool_mean(hidden, real_steps(attention_mask, hidden)))
            for layer in self.layers:
                hidden = self.dropout(F.relu(layer(hidden)))
            logits = self.score(hidden)
        loss = None
        if labels is not None:
            labels = checked_labels(labels, logits, self.config)
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def fit(
        self, tokens: Tensor, lengths: Tensor, labels: Tensor, row_weights: Tensor | None = None
    ) -> "BowForSequenceClassification":
        """Takes table and weights from training texts, in the place of what it had; `config.num_features` becomes the
        number of their n-grams. Not for an `mlp`.

        Args:
            tokens: `(tokens,)` ids, the texts end to end.
            lengths: `(texts,)`, tokens of each.
            labels: `(texts,)` ids, or `(texts, num_labels)` of 0 and 1 for several labels.
            row_weights: `(texts,)`, how much each counts; 1 by default.

        Returns:
            The model.

        Raises:
            ValueError: an `mlp`; no token; lengths or labels that do not fit.
        """
        if not self.config.one_pass:
            raise ValueError("classifier='mlp' is trained by gradient descent: it has no fit")
        fitted = fit_bag_of_words(self.config, tokens, lengths, labels, row_weights)
        device = self.ngrams.bias.device
        self.config.num_features = len(fitted.table)
        self.ngrams = NgramScores(self.config).to(device)
        self.ngrams.load_state_dict({name: value for name, value in fitted._asdict().items() if value is not None})
        return self

    def _checked(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if input_ids is None or inputs_embeds is not None:
            raise ValueError(f"classifier={self.config.classifier!r} reads input_ids: it has no embeddings")
        check_input(input_ids, True)
        if not is_tracing(input_ids):
            check_ids(input_ids, self.config.vocab_size)
        return input_ids

    @torch.no_grad()
    def weightiest_features(
        self, tokenizer: PreTrainedTokenizerBase, count: int = 10
    ) -> dict[str, list[tuple[str, float]]]:
        """What speaks most for each label, the weightiest first: n-grams, words joined by a space, or an `mlp`'s words.

        Args:
            tokenizer: the model's tokenizer.
            count: features a label.

        Returns:
            label -> (feature, weight), the weight in nats: what one occurrence adds to the label's logit, less the mean
            over the labels unless each is told from its absence. Of tf-idf features before a text's vector is made 1
            long; of an `mlp` the logit of a text of that word alone.
        """
        require(integer(1), count=count)
        if self.config.one_pass:
            weight = self.ngrams.weight
            if self.config.features == "tfidf":
                weight = weight * self.ngrams.idf[:, None]
            features = self.ngrams.table
        else:
            features = torch.tensor(
                [i for i in range(self.config.vocab_size) if i not in tokenizer.all_special_ids], device=self.device
            )
            was_training = self.training
            weight = self.eval()(features[:, None], torch.ones_like(features[:, None])).logits
            self.train(was_training)
        if self.config.problem_type != "multi_label_classification":
            weight = weight - weight.mean(1, keepdim=True)
        found = {}
        for i, label in self.config.id2label.items():
            top = weight[:, i].topk(min(count, len(weight)))
            rows = [spelled(features, n) if self.config.one_pass else [int(features[n])] for n in top.indices.tolist()]
            texts = [" ".join(tokenizer.convert_ids_to_tokens(row)) for row in rows]
            found[label] = list(zip(texts, top.values.tolist(), strict=True))
        return found


__all__ = ["BowForSequenceClassification"]
