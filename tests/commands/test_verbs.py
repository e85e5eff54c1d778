"""`generate`, `predict` and `score` on models that `fit` left, beside what the models say in Python."""

import math
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def test_generate_streams_the_model_s_text(workplace, rnn_hf):
    code, out, _ = rnn_hf("generate", "runs/lm", "--prompt", "the film", "--temperature", "0", "--max-new-tokens", "8")
    assert code == 0
    model = AutoModelForCausalLM.from_pretrained("runs/lm/model")
    tokenizer = AutoTokenizer.from_pretrained("runs/lm/model")
    ids = torch.tensor([[2, *tokenizer("the film")["input_ids"]]])
    expected = model.generate(ids, do_sample=False, max_new_tokens=8)[0]
    assert out.split() == tokenizer.decode(expected, skip_special_tokens=True).split()
    assert out.startswith("the film")


def test_generate_is_seeded(workplace, rnn_hf):
    arguments = ["generate", "runs/lm", "--max-new-tokens", "30", "--temperature", "2"]
    first, second, other = (rnn_hf(*arguments, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == second != other


def test_predict_prints_label_and_probability(workplace, rnn_hf, type_in):
    texts = ["a great film", "the plot is dull and slow and boring"]
    code, out, _ = rnn_hf("predict", "runs/classifier", *texts)
    assert code == 0
    model = AutoModelForSequenceClassification.from_pretrained("runs/classifier/model")
    tokenizer = AutoTokenizer.from_pretrained("runs/classifier/model")
    for text, line in zip(texts, out.splitlines(), strict=True):
        label, probability = line.split("\t")
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        assert label == model.config.id2label[int(expected.argmax())]
        assert float(probability) == pytest.approx(float(expected.max()), abs=1e-4)
    assert [line.split("\t")[0] for line in out.splitlines()] == ["positive", "negative"]

    type_in("\n".join(texts))
    assert rnn_hf("predict", "runs/classifier", "-")[1] == out


def test_score_shows_the_chain_rule(workplace, rnn_hf):
    code, out, _ = rnn_hf("score", "runs/lm", "the film is good")
    assert code == 0
    rows = re.findall(r"^ *(-?[\d.]+)  (.*)$", out, re.M)
    tokens = [(float(value), name) for value, name in rows[:-2]]
    assert [name for _, name in tokens] == ["the", "film", "is", "good", "<eos>"]
    total, perplexity = float(rows[-2][0]), float(rows[-1][0])
    assert total == pytest.approx(sum(value for value, _ in tokens), abs=1e-3)
    assert perplexity == pytest.approx(math.exp(-total / 5), abs=0.01)


def test_a_classifier_s_error_names_the_right_verb(workplace, rnn_hf):
    assert "use `rnn-hf predict`" in rnn_hf("generate", "runs/classifier")[2]
