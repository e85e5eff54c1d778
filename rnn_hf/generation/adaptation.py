"""Language models that adapt to the text they score: continuous cache, dynamic evaluation, mixtures of models.

Notable:
- A token's probability uses what precedes it and nothing else: the cache holds past words only, and weights move on a
  segment once all of it has been scored.
- Any causal model of transformers' interface will do: `past_key_values` in and out, `logits` whose softmax is the
  distribution; a cache needs `hidden_states` too, dynamic evaluation weights with a gradient.
- Memory does not grow with the text but for one number a token and column.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..models.cache import detach_
from ..models.config_checks import integer, number, require

TOKENS_AT_ONCE, LOGITS_AT_ONCE = 512, 2**25
QUERIES_AT_ONCE = 128  # tokens that look into the cache together
MOST_STEPS, ENOUGH = 1000, 1e-6  # of a search for weights, and the change of a weight that ends it


class ContinuousCache:
    """The recent words, each as likely as the states before it are near (Grave et al. 2017, "Improving neural language
    models with a continuous cache", section 3):

        p(w | h_1..t) ~ sum over i < t with x_i+1 = w of exp(theta h_t . h_i),   the last `window` of these i

    For several settings at once, each a window and a theta, so that they can be compared in one reading.

    Raises:
        ValueError: a window below 1 or a negative theta.
    """

    def __init__(self, windows: Sequence[int], thetas: Sequence[float]):
        for window in windows:
            require(integer(1), window=window)
        for theta in thetas:
            require(number(0, 1000), theta=theta)
        self.windows, self.thetas = sorted(set(windows)), sorted(set(thetas))
        self.restart()

    @property
    def settings(self) -> list[tuple[int, float]]:
        """(window, theta) in the order of `log_probs`."""
        return [(window, theta) for theta in self.thetas for window in self.windows]

    def restart(self) -> None:
        """Forgets all words, as at the beginning of a text."""
        self.hidden = self.words = None

    def log_probs(self, hidden: Tensor, words: Tensor, otherwise: Tensor) -> Tensor:
        """Log-probabilities of the words that follow, which then are in the cache.

        Args:
            hidden: (time, features), the states that predict them.
            words: (time,), their ids.
            otherwise: (time,), their log-probabilities where the cache is empty.

        Returns:
            (settings, time), in nats; -inf for a word that is not in the cache.
        """
        if self.hidden is None:
            self.hidden, self.words = hidden[:0], words[:0]
        parts = zip(*(x.split(QUERIES_AT_ONCE) for x in (hidden, words, otherwise)), strict=True)
        return torch.cat([self._log_probs(*part) for part in parts], 1)

    def _log_probs(self, hidden: Tensor, words: Tensor, otherwise: Tensor) -> Tensor:
        kept, time = len(self.words), len(words)
        keys, known = torch.cat([self.hidden, hidden]), torch.cat([self.words, words])
        here = kept + torch.arange(time, device=words.device)[:, None]
        nothing = otherwise.new_full((len(self.thetas), time), -torch.inf)
        total, found, columns = nothing, nothing, []
        for low, high in pairwise([0, *self.windows]):  # by age: a window adds to the one below it
            span = slice(max(0, kept - high), max(0, kept + time - 1 - low))
            age = here - torch.arange(len(known), device=words.device)[span]
            outside = (age <= low) | (age > high)  # [time, span]
            if outside.numel():
                scores = hidden @ keys[span].T
                scores = torch.stack([theta * scores for theta in self.thetas]).masked_fill(outside, -torch.inf)
                total = total.logaddexp(scores.logsumexp(-1))  # [thetas, time]
                others = words[:, None] != known[span]
                found = found.logaddexp(scores.masked_fill(others, -torch.inf).logsumexp(-1))
            columns.append(torch.where(total.isinf(), otherwise, found - total))
        self.hidden, self.words = keys[-self.windows[-1] :], known[-self.windows[-1] :]
        return torch.stack(columns, 1).flatten(0, 1)


class DynamicEvaluation:
    """Gradient descent on the text that has been read, with a decay back to the trained weights (Krause et al. 2018,
    "Dynamic evaluation of neural sequence models"). As a context; when it ends, the weights are what they were.

        SGD:  w <- w - rate * g            + decay * (w_trained - w)
        RMS:  w <- w - rate * g / (r + 1)  + min(1, decay * r) * (w_trained - w)

    where g is the gradient of a segment's mean loss, and r its root mean square on training data over the mean of these
    (RMS_norm). Theirs divides by rms + epsilon, an epsilon for each model; in shares of the mean 1 does for many.

    Args:
        model: the model, all of whose weights that are not frozen (`requires_grad`) move.
        rate: of the descent.
        decay: of what was learnt, at each step.
        rms: what `gradient_rms` gave, for the RMS form; None for SGD.
        segment: tokens that are scored before the weights move on them.

    Raises:
        ValueError: a number out of range; in use, a model whose loss has no gradient.
    """

    def __init__(
        self, model: PreTrainedModel, rate: float, decay: float, rms: list[Tensor] | None = None, segment: int = 20
    ):
        require(number(0, 1e6), rate=rate)
        require(number(0, 1), decay=decay)
        require(integer(1), segment=segment)
        self.segment, self.weights = segment, _trainable(model)
        if rms is None:
            self.rates, self.decays = ([torch.tensor(x).to(w) for w in self.weights] for x in (rate, decay))
        else:
            mean = sum(float(r.sum()) for r in rms) / sum(r.numel() for r in rms)
            self.rates = [rate / (r / mean + 1) for r in rms]
            self.decays = [(decay * r / mean).clamp(max=1) for r in rms]

    def __enter__(self) -> "DynamicEvaluation":
        self.trained = [weight.detach().clone() for weight in self.weights]
        return self

    def __exit__(self, *error) -> None:
        self.restart()
        del self.trained

    @torch.no_grad()
    def restart(self) -> None:
        """Back to the trained weights, as at the beginning of a text."""
        for weight, trained in zip(self.weights, self.trained, strict=True):
            weight.copy_(trained)

    def learn(self, loss: Tensor) -> None:
        """One step on a segment's mean loss."""
        parts = zip(self.weights, _gradients(loss, self.weights), self.trained, self.rates, self.decays, strict=True)
        with torch.no_grad():
            for weight, gradient, trained, rate, decay in parts:
                weight.lerp_(trained, decay).addcmul_(gradient, rate, value=-1)


def _trainable(model: PreTrainedModel) -> list[Tensor]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _gradients(loss: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
    if not loss.requires_grad:
        raise ValueError("dynamic evaluation needs a model whose loss has a gradient: this one learns nothing from it")
    return torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)


def gradient_rms(model: PreTrainedModel, batches: Iterable[dict[str, Tensor]]) -> list[Tensor]:
    """The root mean square, over batches, of the gradient of their mean loss, one tensor a weight that is not
    frozen.

    Args:
        batches: `input_ids` and `shift_labels` (lanes, time), which continue the same lanes.

    Raises:
        ValueError: a model whose loss has no gradient.
    """
    weights, state = _trainable(model), None
    squares, count = [torch.zeros_like(weight) for weight in weights], 0
    for batch in batches:
        with torch.enable_grad():
            output = model(**batch, past_key_values=state, use_cache=True, skip_logits=True)
        for square, gradient in zip(squares, _gradients(output.loss, weights), strict=True):
            square.addcmul_(gradient, gradient)
        state = detach_(output.past_key_values)
        count += 1
    return [square.div_(count).sqrt_() for square in squares]


def read_text(
    model: PreTrainedModel, ids: Tensor, learner: DynamicEvaluation | None = None, with_hidden: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Reads a text once, in chunks, from the initial state: every token but the first is scored.

    Args:
        model: a causal language model, in evaluation mode.
        ids: (1 + time,), of any integer type.
        learner: moves the model's weights on what has been scored.
        with_hidden: whether the hidden states are wanted.

    Yields:
        the words of a chunk (time,), their log-probabilities (time,) in nats, and the last layer's states that predict
        them (time, features) or None.

    Raises:
        ValueError: hidden states are wanted, and the model gives none.
    """
    state = None
    most = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // model.config.vocab_size))
    step = most if learner is None else min(most, learner.segment)
    for start in range(0, len(ids) - 1, step):
        part = ids[start : start + step + 1].to(model.device, torch.int64)
        words = part[1:]
        with torch.set_grad_enabled(learner is not None):
            output = model(
                input_ids=part[None, :-1], past_key_values=state, use_cache=True, output_hidden_states=with_hidden
            )
            logits = output.logits[0]
            nats = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), words, reduction="none")
        state = output.past_key_values
        if learner is not None:
            detach_(state)
            learner.learn(nats.mean())
        if with_hidden and not output.hidden_states:
            raise ValueError(f"a cache needs hidden states, which {type(model).__name__} does not give")
        yield words, -nats.detach(), output.hidden_states[-1][0].detach() if with_hidden else None


def text_log_probs(
    model: PreTrainedModel,
    texts: Iterable[Tensor],
    learner: DynamicEvaluation | None = None,
    cache: ContinuousCache | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the tokens of texts, each from the initial state, trained weights and an empty cache.

    Args:
        texts: as `ids` of `read_text`.

    Returns:
        those of the model (tokens,), and those of the cache (settings, tokens) or None, in nats, on the CPU.
    """
    of_model, of_cache = [], []
    for ids in texts:
        for part in (learner, cache):
            if part is not None:
                part.restart()
        for words, log_probs, hidden in read_text(model, ids, learner, cache is not None):
            of_model.append(log_probs.cpu())
            if cache is not None:
                of_cache.append(cache.log_probs(hidden, words, log_probs).cpu())
    return torch.cat(of_model), torch.cat(of_cache, 1) if cache is not None else None


def mixture_weights(log_probs: Tensor, given: Sequence[float | None] | None = None) -> Tensor:
    """The weights of a linear mixture of models under which the tokens are likeliest, by expectation maximisation: the
    likelihood has one maximum, and each step comes nearer (Jelinek & Mercer 1980).

    Args:
        log_probs: (models, tokens), what each says of the same tokens.
        given: weights that stand; None for those to be found.

    Returns:
        (models,) float64, of sum 1.

    Raises:
        ValueError: given weights that are negative or leave less than nothing to the others.
    """
    given = [None] * len(log_probs) if given is None else list(given)
    free = torch.tensor([weight is None for weight in given])
    for weight in given:
        require(number(0, 1, optional=True), weight=weight)
    mass = 1 - sum(weight for weight in given if weight is not None)
    if mass < -1e-9 or (not free.any() and abs(mass) > 1e-9):
        raise ValueError(f"the weights of a mixture must add up to 1; got {given}")
    mass = max(mass, 0.0)
    weights = torch.tensor([mass / max(1, int(free.sum())) if w is None else w for w in given], dtype=torch.float64)
    for _ in range(MOST_STEPS if free.sum() > 1 and mass > 0 else 0):
        before = weights
        shares = (weights.log()[:, None] + log_probs.double()).softmax(0).mean(1)
        weights = torch.where(free, mass * shares / shares[free].sum(), weights)
        if float((weights - before).abs().max()) < ENOUGH:
            break
    return weights


def mixed(log_probs: Tensor, weights: Tensor) -> Tensor:
    """Log-probabilities (tokens,) under the mixture of models (models, tokens) by `weights` (models,), in float64."""
    return (weights.log()[:, None] + log_probs.double()).logsumexp(0)
