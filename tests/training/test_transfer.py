"""From a language model to another vocabulary or task: remapped tokens, rates by layer, layers that thaw in order."""

import lightning as L
import pytest
import torch
from torch import nn

from rnn_hf import (
    ClassificationModule,
    LanguageModelingModule,
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    train_word_tokenizer,
)
from rnn_hf.training.layer_groups import grouped_for_optimizer, layer_groups
from rnn_hf.training.module import rate_factor
from rnn_hf.training.vocabulary import match_vocabulary

from .conftest import WORDS, trainer

LABELS = {0: "negative", 1: "positive"}


def saved(folder, tokenizer, **config):
    """A language model's folder, and the model."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 6, "hidden_size": 5, "num_hidden_layers": 2}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    model = RnnForCausalLM(RnnConfig(vocab_size=len(tokenizer), **{**sizes, **ids, **config}))
    if not config.get("tie_word_embeddings") and config.get("lm_head") != "adaptive":
        nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


OLD, NEW = train_word_tokenizer([" ".join(WORDS)]), train_word_tokenizer(["the Film is new and fresh fresh"])


def test_tokens_are_matched_by_spelling_then_ignoring_case_and_by_role():
    matched = match_vocabulary(OLD, NEW)
    old, new = OLD.get_vocab(), NEW.get_vocab()
    expected = {"the": "the", "Film": "film", "is": "is", "and": "and"} | {t: t for t in ("<pad>", "<unk>", "<eos>")}
    for token, i in new.items():
        assert matched.rows[i] == (old[expected[token]] if token in expected else -1), token
    assert matched.facts == {"vocabulary": 9, "found_exactly": 6, "found_ignoring_case": 1}
    assert match_vocabulary(OLD, train_word_tokenizer([" ".join(WORDS)])) is None


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_under_another_vocabulary(tmp_path, tied):
    """Shared tokens keep embedding, output vector and bias; new ones have the mean; all else is as it was."""
    size = {"tie_word_embeddings": True, "hidden_size": 6} if tied else {}
    before = saved(tmp_path, OLD, **size)
    module = LanguageModelingModule(NEW, pretrained=str(tmp_path))
    after, rows = module.model, match_vocabulary(OLD, NEW).rows
    assert after.config.vocab_size == len(NEW) and after.training
    changed = {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}
    for name, value in before.state_dict().items():
        if name not in changed:
            assert torch.equal(after.state_dict()[name], value), name
    for theirs, ours in [
        (before.get_input_embeddings().weight, after.get_input_embeddings().weight),
        (before.lm_head.weight, after.lm_head.weight),
        (before.lm_head.bias, after.lm_head.bias),
    ]:
        for i, row in enumerate(rows):
            torch.testing.assert_close(ours[i], theirs.mean(0) if row < 0 else theirs[row])
    assert (after.lm_head.weight is after.get_input_embeddings().weight) == tied
    assert module.vocabulary_facts["pretrained"] == str(tmp_path)


def test_the_coverage_is_counted_and_said(tmp_path):
    saved(tmp_path, OLD)
    module = ClassificationModule(NEW, LABELS, pretrained=str(tmp_path), config={"pooling": "concat"})
    ids = torch.tensor([NEW("the Film is fresh fresh")["input_ids"]])
    module.count_covered_tokens([{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
    assert module.vocabulary_facts["training_tokens_found_share"] == pytest.approx(3 / 5)
    (said,) = module.summary()
    assert said.startswith(f"vocabulary of {tmp_path}: 77.8% of 9 tokens") and "60.0% of the training tokens" in said
    assert isinstance(module.model, RnnForSequenceClassification)


def test_a_tied_adaptive_head_keeps_its_clusters(tmp_path):
    clusters = {"lm_head": "adaptive", "adaptive_cutoffs": [4, 7]}
    before = saved(tmp_path, OLD, tie_word_embeddings=True, hidden_size=6, **clusters)
    after = LanguageModelingModule(NEW, pretrained=str(tmp_path)).model
    assert torch.equal(after.lm_head.clusters.weight, before.lm_head.clusters.weight)
    ids = torch.tensor([NEW("the Film is new")["input_ids"]])
    assert after.eval()(ids).logits.exp().sum(-1).allclose(torch.tensor(1.0))
    saved(tmp_path / "untied", OLD, **clusters)
    with pytest.raises(ValueError, match="lm_head adaptive keeps its vocabulary unless tie_word_embeddings"):
        LanguageModelingModule(NEW, pretrained=str(tmp_path / "untied"))


def test_vocabularies_that_share_nothing_are_refused(tmp_path):
    saved(tmp_path, OLD)
    other = train_word_tokenizer(["ganz andere Wörter"])
    with pytest.raises(ValueError, match="has none of the 6 tokens of the data's vocabulary"):
        LanguageModelingModule(other, pretrained=str(tmp_path))


def test_the_direction_is_that_of_the_pretrained_model(tmp_path):
    """Whoever has learnt to read backward goes on so: into a classifier, and under another vocabulary."""
    before = saved(tmp_path / "backward", OLD, direction="backward")
    saved(tmp_path / "forward", OLD)
    pretrained = str(tmp_path / "backward")
    for tokenizer in (OLD, NEW):
        module = ClassificationModule(tokenizer, LABELS, pretrained=pretrained, config={"pooling": "concat"})
        assert module.model.config.direction == "backward"
        assert torch.equal(module.model.model.layers[0].rnn.weight_hh_l0, before.model.layers[0].rnn.weight_hh_l0)
        LanguageModelingModule(tokenizer, pretrained=pretrained, direction="backward")
    with pytest.raises(ValueError, match=r"has learnt to read backward, and cannot go on forward: leave the direction"):
        ClassificationModule(OLD, LABELS, pretrained=pretrained, config={"direction": "forward"})
    with pytest.raises(ValueError, match=r"has learnt to read forward, and cannot go on backward"):
        LanguageModelingModule(OLD, pretrained=str(tmp_path / "forward"), direction="backward")
    with pytest.raises(
        ValueError, match=r"the model reads backward, the data run forward: give data.direction backward"
    ):
        LanguageModelingModule(OLD, pretrained=pretrained)
    with pytest.raises(ValueError, match=r"model.config.direction is 'forward', but the data gives 'backward'"):
        LanguageModelingModule(OLD, config={"direction": "forward"}, direction="backward")
    with pytest.raises(ValueError, match=r"bidirectional=True reads both ways"):
        ClassificationModule(OLD, LABELS, pretrained=pretrained, config={"bidirectional": True})


@pytest.mark.parametrize("tied", [False, True])
def test_layers_from_the_head_down(tied):
    config = RnnConfig(vocab_size=20, embedding_size=6, hidden_size=6, num_hidden_layers=3, tie_word_embeddings=tied)
    model = RnnForCausalLM(config)
    groups = layer_groups(model)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [{names[id(p)].removeprefix("model.").split(".rnn")[0] for p in group} for group in groups]
    layers = [{f"layers.{i}"} for i in (2, 1, 0)]
    if tied:
        assert found == [{"embed_tokens.weight", "lm_head.bias"}, *layers]
    else:
        assert found == [{"lm_head.weight", "lm_head.bias"}, *layers, {"embed_tokens.weight"}]
    assert sum(map(len, groups)) == len(list(model.parameters()))


def test_rates_fall_by_layer():
    """ULMFiT, section 3.2: eta of layer l-1 is eta of layer l over 2.6."""
    model = RnnForSequenceClassification(RnnConfig(vocab_size=20, embedding_size=6, hidden_size=6, num_hidden_layers=2))
    layers = layer_groups(model)
    made = grouped_for_optimizer(layers, 0.01, 2.6, 0.1)
    rate = {id(p): group["lr"] for group in made for p in group["params"]}
    for depth, layer in enumerate(layers):
        assert {rate[id(p)] for p in layer} == {0.01 / 2.6**depth}
    assert all((group["weight_decay"] == 0.1) == (p.ndim == 2) for group in made for p in group["params"])
    assert len(grouped_for_optimizer(layers, 0.01, 1.0, 0.1)) == 2


def test_slanted_triangular_is_its_definition():
    """Howard & Ruder 2018, equation 3, with cut_frac 0.1 and ratio 32."""
    steps, cut = 200, 20
    for t in range(steps):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert rate_factor(t, steps, 0.1 * steps, "slanted_triangular") == pytest.approx((1 + p * 31) / 32)


class Changes(L.Callback):
    """Which layers' weights an epoch has changed, from the head down."""

    def __init__(self):
        self.changed = []

    def on_train_epoch_start(self, trainer, module):
        self.before = [[p.detach().clone() for p in layer] for layer in layer_groups(module.model)]

    def on_train_epoch_end(self, trainer, module):
        pairs = zip(self.before, layer_groups(module.model), strict=True)
        self.changed.append([any(not torch.equal(b, a) for b, a in zip(*pair, strict=True)) for pair in pairs])


def test_layers_thaw_one_by_one(tmp_path):
    saved(tmp_path, OLD)
    module = ClassificationModule(OLD, LABELS, pretrained=str(tmp_path), gradual_unfreezing=True, weight_decay=0.1)
    batch = {"input_ids": torch.randint(3, len(OLD), (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    loader, seen = torch.utils.data.DataLoader([batch, batch], batch_size=None), Changes()
    trainer(max_epochs=5, callbacks=[seen]).fit(module, loader)
    assert seen.changed == [[depth <= epoch for depth in range(4)] for epoch in range(5)]
    assert all(parameter.requires_grad for parameter in module.model.parameters())
