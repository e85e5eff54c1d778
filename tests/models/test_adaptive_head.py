"""Adaptive softmax against torch's own, and as a head that generates, scores, saves and compiles as the full one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from rnn_hf import RnnConfig, RnnForCausalLM

from .conftest import ShapesMade, randomise, tiny_config

CUTOFFS = [9, 20]


def build(tied=False, **fields):
    fields = {"num_hidden_layers": 2, "eos_token_id": None, **fields}
    model = RnnForCausalLM(
        tiny_config(lm_head="adaptive", adaptive_cutoffs=CUTOFFS, tie_word_embeddings=tied, **fields)
    )
    return randomise(model)


def test_equals_torch():
    """Log-probabilities, loss and gradients of nn.AdaptiveLogSoftmaxWithLoss with the same weights."""
    torch.manual_seed(0)
    ours = build(last_hidden_size=32).lm_head.double()
    theirs = nn.AdaptiveLogSoftmaxWithLoss(32, 41, CUTOFFS, div_value=4.0, head_bias=True).double()
    assert [p.weight.shape for p in ours.projections] == [(8, 32), (2, 32)]
    with torch.no_grad():
        theirs.head.weight.copy_(torch.cat([ours.words.weight, ours.clusters.weight]))
        theirs.head.bias.copy_(torch.cat([ours.bias, ours.clusters.bias]))
        for tail, projection, words in zip(theirs.tail, ours.projections, ours.tails, strict=True):
            tail[0].weight.copy_(projection.weight)
            tail[1].weight.copy_(words.weight)
    hidden, targets = torch.randn(50, 32, dtype=torch.float64, requires_grad=True), torch.randint(41, (50,))
    log_probs = ours.log_probs(hidden, None)
    torch.testing.assert_close(log_probs, theirs.log_prob(hidden), atol=1e-12, rtol=0)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(50, dtype=torch.float64))
    nats, expected = ours.nats(hidden, targets, None), theirs(hidden, targets)
    torch.testing.assert_close(nats.mean(), expected.loss, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(loss, hidden) for loss in (nats.mean(), expected.loss)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("num_items", [None, 7])
def test_loss_and_gradients_are_those_of_the_probabilities(tied, num_items):
    model = build(tied).double()
    ids = torch.randint(3, 41, (3, 15))
    labels = ids.clone()
    labels[0, 3:6] = -100
    with_logits = model(ids, labels=labels, num_items_in_batch=num_items)
    torch.testing.assert_close(with_logits.logits.exp().sum(-1), torch.ones(3, 15, dtype=torch.float64))
    skipped = model(ids, labels=labels, skip_logits=True, num_items_in_batch=num_items)
    assert skipped.logits is None
    logits, targets = with_logits.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    expected = F.cross_entropy(logits, targets) if num_items is None else F.cross_entropy(
        logits, targets, reduction="sum") / num_items  # fmt: skip
    for out in (with_logits, skipped):
        torch.testing.assert_close(out.loss, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(out.loss, list(model.parameters())) for out in (with_logits, skipped)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("search", [
    {"do_sample": False}, {"do_sample": True, "top_p": 0.9}, {"num_beams": 3, "do_sample": False},
])  # fmt: skip
def test_generates_with_and_without_a_state(tied, search):
    model, prompt = build(tied), torch.tensor([[5, 30, 7]])
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        texts.append(model.generate(prompt, max_new_tokens=12, use_cache=use_cache, **search))
    assert torch.equal(*texts)
    if search == {"do_sample": False}:
        assert torch.equal(model.generate(prompt, max_new_tokens=12, prompt_lookup_num_tokens=3, **search), texts[0])


@pytest.mark.parametrize("tied", [False, True])
def test_saved_and_loaded(tied, tmp_path):
    model, ids = build(tied), torch.randint(3, 41, (2, 6))
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert again.get_output_embeddings() is None
    with pytest.raises(ValueError, match="resize_token_embeddings needs lm_head='full'"):
        again.resize_token_embeddings(50)
    for size in (None, 41):
        with pytest.raises(ValueError, match="resize_token_embeddings needs lm_head='full'"):
            again.resize_token_embeddings(size, pad_to_multiple_of=64)
    assert again.resize_token_embeddings(41).num_embeddings == 41


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("fields", [{"adaptive_cutoffs": [9, 30]}, {"adaptive_div_value": 2.0}])
def test_other_clusters_than_the_checkpoint_s_are_refused(fields, tied, tmp_path):
    build(tied).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="differ from the configuration's"):
        RnnForCausalLM.from_pretrained(tmp_path, **fields)
    with pytest.raises(RuntimeError, match="differ from the configuration's"):
        RnnForCausalLM.from_pretrained(tmp_path, config=RnnConfig.from_pretrained(tmp_path, **fields))
    RnnForCausalLM.from_pretrained(tmp_path, adaptive_cutoffs=CUTOFFS, adaptive_div_value=4.0)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("saved", "wanted"), [("full", "adaptive"), ("adaptive", "full")])
def test_from_one_head_to_the_other(saved, wanted, tied, tmp_path):
    """Refused; told to, the encoder is kept and the head is new."""
    model = RnnForCausalLM(tiny_config(lm_head=saved, tie_word_embeddings=tied))
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=f"lm_head is '{saved}' in the checkpoint, not '{wanted}'.*ignore_mism"):
        RnnForCausalLM.from_pretrained(tmp_path, lm_head=wanted)
    other = RnnForCausalLM.from_pretrained(tmp_path, lm_head=wanted, ignore_mismatched_sizes=True)
    for ours, theirs in zip(other.model.parameters(), model.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert other(torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.isfinite()


def test_compiles_as_one_graph():
    model, ids = build(), torch.randint(3, 41, (2, 6))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids, labels=ids).loss, model(ids, labels=ids).loss)


def test_rare_words_cost_only_the_tokens_that_need_them():
    """No tensor of one training step has tokens times vocabulary, nor tokens times a cluster."""
    config = tiny_config(vocab_size=5000, lm_head="adaptive", adaptive_cutoffs=[100, 1000])
    model = RnnForCausalLM(config).train()
    ids = torch.randint(3, 100, (4, 50))
    ids[0, :5] = 4000
    with ShapesMade() as made:
        model(ids, shift_labels=ids).loss.backward()
    assert (5, 4000) in made.shapes  # the last cluster, for the five tokens in it
    assert max(rows * width for rows, width in (s for s in made.shapes if len(s) == 2) if width >= 900) < 200 * 900


def test_the_vectors_of_words_start_as_long_as_an_embedding_s():
    model = RnnForCausalLM(RnnConfig(vocab_size=2000, embedding_size=64, hidden_size=64, lm_head="adaptive"))
    assert model.config.cutoffs == [120, 600]
    for weight in (model.model.embed_tokens.weight, model.lm_head.words.weight):
        assert 2.8 < weight.norm(dim=1).mean() < 3.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lm_head": "adaptiv"}, "did you mean 'adaptive'"),
        ({"lm_head": "adaptive", "adaptive_cutoffs": [5, 5]}, "adaptive_cutoffs must be a list of increasing ids"),
        ({"lm_head": "adaptive", "adaptive_cutoffs": []}, "adaptive_cutoffs must be a list of increasing ids"),
        ({"lm_head": "adaptive", "adaptive_cutoffs": [5, 41]}, "adaptive_cutoffs must be below vocab_size=41"),
        ({"lm_head": "adaptive", "adaptive_div_value": 0.5}, "adaptive_div_value must be a number from 1"),
        ({"adaptive_cutoffs": [5]}, "is for lm_head='adaptive'"),
        ({"adaptive_div_value": 2.0}, "is for lm_head='adaptive'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(vocab_size=41, **fields)


def test_the_smallest_vocabulary():
    with pytest.raises(ValueError, match="take lm_head='full' for so few words"):
        tiny_config(vocab_size=2, lm_head="adaptive", pad_token_id=0, bos_token_id=None, eos_token_id=None)
