"""What every model of every family keeps: saving and loading, padding, chunks, its state, losses, and travelling code.

A family joins by its line in `conftest.py`. `test_generation.py` and `test_decoding.py` take every language model too.
"""

import contextlib
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoConfig, pipeline

from rnn_hf import new_cache, train_word_tokenizer
from rnn_hf.models.auto import FAMILIES

from .conftest import CLASSIFIERS, LANGUAGE_MODELS, MODELS, skip_counted

IDS = torch.tensor([[5, 6, 7, 8], [9, 6, 11, 12]])
WEIGHTS = "model.safetensors"
TEXTS = ["a good film", "a bad film , really", "the film was good"]
language_models = pytest.mark.parametrize("name", LANGUAGE_MODELS)
classifiers = pytest.mark.parametrize("name", CLASSIFIERS)
all_models = pytest.mark.parametrize("name", MODELS)


def auto_class_of(model) -> type:
    return next(auto for auto, cls in FAMILIES[type(model.config)].items() if cls is type(model))


def test_every_model_of_every_family_is_tested():
    assert {type(make()) for make in MODELS.values()} == {cls for heads in FAMILIES.values() for cls in heads.values()}


@all_models
def test_auto_classes_round_trip(name, tmp_path):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    again = auto_class_of(model).from_pretrained(tmp_path)
    assert type(again) is type(model) and not again.training
    torch.testing.assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
    torch.testing.assert_close(again(IDS)[0], model(IDS)[0], atol=0, rtol=0)
    assert not list(tmp_path.glob("*.py"))
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == again.config.to_dict()


@all_models
def test_each_missing_tensor_and_each_other_shape_is_refused(name, tmp_path):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    whole = load_file(tmp_path / WEIGHTS)
    for key, tensor in whole.items():
        for change, message in (
            ({}, f"the checkpoint lacks .*{key}"),
            ({key: torch.cat([tensor, tensor])}, f"{key} is "),
        ):
            changed = {k: v for k, v in whole.items() if k != key} | change
            save_file(changed, tmp_path / WEIGHTS, metadata={"format": "pt"})
            with pytest.raises(ValueError, match=message):
                type(model).from_pretrained(tmp_path)
    save_file(whole | {"other": torch.ones(1)}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="no place for other"):
        type(model).from_pretrained(tmp_path)


WITHOUT_RNN_HF = """
import sys, importlib.abc
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "rnn_hf":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import torch, transformers
folder, out, *autos = sys.argv[1:]
ids = torch.tensor([[5, 6, 7, 8], [9, 6, 11, 12]])
results = {}
for auto in autos:
    torch.manual_seed(3)
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    assert not any(m == "rnn_hf" or m.startswith("rnn_hf.") for m in sys.modules)
    results[auto] = model(ids)[0]
    if auto == "AutoModelForCausalLM":
        results["generated"] = model.generate(ids, max_new_tokens=5, do_sample=False)
    if type(model).__name__ in model.config.architectures:
        model.save_pretrained(folder + "/again")
torch.save(results, out)
"""


@pytest.mark.parametrize("config_class", FAMILIES, ids=lambda c: c.model_type)
def test_a_folder_with_its_code_opens_without_rnn_hf(config_class, tmp_path):
    """Through every Auto class that opens it here, with the same numbers; what is saved from there opens again."""
    heads = FAMILIES[config_class]
    classes = {"AutoConfig": config_class, **{auto.__name__: cls for auto, cls in heads.items()}}
    files = {name: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}" for name, cls in classes.items()}
    left = set(heads)
    for model in (make() for make in MODELS.values()):
        if type(model.config) is not config_class or auto_class_of(model) not in left:
            continue
        folder, ours = tmp_path / type(model).__name__, {}
        model.save_pretrained(folder, include_code=True)
        assert json.loads((folder / "config.json").read_text())["auto_map"] == files
        for auto in heads:
            torch.manual_seed(3)
            with contextlib.suppress(ValueError):  # a head that is another network altogether
                ours[auto] = auto.from_pretrained(folder)
        assert auto_class_of(model) in ours
        results = opened_without_rnn_hf(folder, [auto.__name__ for auto in ours], tmp_path)
        for auto, expected in ours.items():
            torch.testing.assert_close(results[auto.__name__], expected(IDS)[0], atol=0, rtol=0)
            if auto.__name__ == "AutoModelForCausalLM":
                written = expected.generate(IDS, max_new_tokens=5, do_sample=False)
                assert torch.equal(results["generated"], written)
        again = json.loads((folder / "again" / "config.json").read_text())["auto_map"]
        assert again.keys() == files.keys()
        for reference in again.values():
            assert (folder / "again" / f"{reference.split('.')[0]}.py").is_file()
        left -= set(ours)
    assert not left


def opened_without_rnn_hf(folder, autos, home):
    environment = {**os.environ, "HF_HOME": str(home / "home"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_RNN_HF, str(folder), str(folder / "out.pt"), *autos],
        env=environment, cwd=home, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return torch.load(folder / "out.pt", weights_only=True)


@all_models
def test_the_local_class_wins_and_leaves_no_stale_map(name, tmp_path):
    local = MODELS[name]()
    local.save_pretrained(tmp_path / "a", include_code=True)
    model = auto_class_of(local).from_pretrained(tmp_path / "a", trust_remote_code=True)
    assert type(model) is type(local)
    model.save_pretrained(tmp_path / "b")
    assert "auto_map" not in json.loads((tmp_path / "b" / "config.json").read_text())


# Padding and chunks


def padded(rows, side):
    """The rows in one batch, with their mask; `holes` puts padding anywhere."""
    longest = max(map(len, rows)) + 2
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        at = {"left": torch.arange(longest - len(row), longest), "right": torch.arange(len(row))}.get(side)
        at = torch.randperm(longest)[: len(row)].sort()[0] if at is None else at
        ids[i, at], mask[i, at] = row, 1
    return ids, mask


@pytest.mark.parametrize("side", ["left", "right", "holes"])
@all_models
def test_padding_is_invisible(name, side):
    """A padded row has the numbers of the row alone, whatever id stands at the padding."""
    model = MODELS[name]()
    rows = [torch.randint(3, 41, (n,)) for n in (7, 1, 4)]
    ids, mask = padded(rows, side)
    ids[mask == 0] = torch.randint(3, 41, (int((mask == 0).sum()),))
    with torch.no_grad():
        found = model(ids, attention_mask=mask)[0]
        for i, row in enumerate(rows):
            alone = model(row[None], attention_mask=torch.ones(1, len(row)))[0][0]
            got = found[i] if found.ndim == 2 else found[i, mask[i].bool()]
            torch.testing.assert_close(got, alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [None, "left", "right", "holes"])
@language_models
def test_chunks_are_invisible(name, side):
    """Any split into calls with a carried state gives the numbers of one call, recorded for roll-back or not."""
    model = LANGUAGE_MODELS[name]()
    ids, mask = padded([torch.randint(3, 41, (n,)) for n in (12, 5, 9)], side or "left")
    mask = None if side is None else mask
    with torch.no_grad():
        whole = model(ids, attention_mask=mask)
        for cuts in ([1] * 14, [5, 1, 8], [14]):
            for record in (False, True):
                cache, parts = new_cache(model.config), []
                if record:
                    cache.activate_past_recording()
                masks = [None] * len(cuts) if mask is None else mask.split(cuts, 1)
                for part, of_part in zip(ids.split(cuts, 1), masks, strict=True):
                    parts.append(model(part, attention_mask=of_part, past_key_values=cache).logits)
                got, expected = torch.cat(parts, 1), whole.logits
                if mask is not None:
                    got, expected = got[mask.bool()], expected[mask.bool()]
                torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5)
                assert int(cache.get_seq_length()) == 14


@language_models
def test_shift_labels_lose_no_target_between_chunks(name):
    model = LANGUAGE_MODELS[name]()
    stream = torch.randint(3, 41, (2, 13))
    ids, targets = stream[:, :-1], stream[:, 1:]
    whole = model(ids, shift_labels=targets).loss
    first = model(ids[:, :5], shift_labels=targets[:, :5], use_cache=True)
    second = model(ids[:, 5:], shift_labels=targets[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close((5 * first.loss + 7 * second.loss) / 12, whole)


# Losses


@language_models
def test_the_loss_is_that_of_the_logits(name):
    """With and without them, whichever are kept, over all tokens or so many."""
    model = LANGUAGE_MODELS[name]()
    ids = torch.randint(3, 41, (3, 8))
    ids[0, 5] = -100
    labels, ids = ids, ids.clamp(min=3)
    out = model(ids, labels=labels)
    expected = F.cross_entropy(out.logits[:, :-1].reshape(-1, 41), labels[:, 1:].reshape(-1))
    for loss in (
        out.loss,
        model(ids, labels=labels, skip_logits=True).loss,
        model(ids, labels=labels, logits_to_keep=1).loss,
        model(ids, labels=labels, num_items_in_batch=10).loss * 10 / 20,
    ):
        torch.testing.assert_close(loss, expected)
    assert model(ids, labels=labels, skip_logits=True).logits is None
    for steps in (torch.arange(8).flip(0), 3, 9):
        kept = model(ids, logits_to_keep=steps).logits
        torch.testing.assert_close(kept, out.logits[:, steps if torch.is_tensor(steps) else slice(-steps, None)])
    with pytest.raises(ValueError, match="labels must be from 0 to 40"):
        model(ids, labels=ids + 40)
    with pytest.raises(ValueError, match=r"labels must be of shape \(3, 8\)"):
        model(ids, labels=ids.T)


@classifiers
def test_a_classifier_s_loss_is_that_of_the_logits(name):
    model = CLASSIFIERS[name]()
    labels = torch.tensor([0, 2])
    out = model(IDS, labels=labels)
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits, labels))
    with pytest.raises(ValueError, match="labels must be from 0 to 2"):
        model(IDS, labels=labels + 1)


# What a counted family has not


@all_models
def test_every_parameter_gets_a_gradient(name):
    model = MODELS[name]().train()
    skip_counted(model, "gradients")
    ids = torch.randint(3, 41, (4, 9))
    model(ids)[0].square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@all_models
def test_inputs_embeds(name):
    model = MODELS[name]()
    skip_counted(model, "embeddings")
    embeds = model.get_input_embeddings()(IDS)
    torch.testing.assert_close(model(inputs_embeds=embeds)[0], model(IDS)[0])
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(IDS, inputs_embeds=embeds)


@all_models
def test_resize_token_embeddings(name):
    model = MODELS[name]()
    skip_counted(model, "embeddings")
    before = model(IDS)[0]
    model.resize_token_embeddings(50)
    after = model(IDS)[0]
    torch.testing.assert_close(after[..., : before.shape[-1]], before)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 50
    with pytest.raises(ValueError, match="eos_token_id must be from 0 to 1"):
        model.resize_token_embeddings(2)


@all_models
def test_bfloat16(name, tmp_path):
    model = MODELS[name]()
    skip_counted(model, "other number types")
    model.save_pretrained(tmp_path)
    half = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    out = half(IDS)[0]
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), model(IDS)[0], atol=0.05, rtol=0.05)


# With a tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_word_tokenizer([*TEXTS, " ".join(f"word{i}" for i in range(30))])


@language_models
def test_score_follows_the_chain_rule(name, tokenizer):
    model = LANGUAGE_MODELS[name](vocab_size=len(tokenizer))
    scores = model.score(TEXTS, tokenizer, batch_size=2)
    for text, score in zip(TEXTS, scores, strict=True):
        words = text.split()
        assert score.tokens == [*words, "<eos>"]
        total = 0.0
        for i, word in enumerate(score.tokens):  # each factor by itself, from the text before it
            history = torch.tensor([[tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(words[:i])]])
            log_probs = model(history).logits[0, -1].detach().log_softmax(-1)
            total += float(log_probs[tokenizer.convert_tokens_to_ids(word)])
        assert score.total == pytest.approx(total, abs=1e-4)
        assert score.perplexity == pytest.approx(torch.tensor(-total / len(score.tokens)).exp().item(), rel=1e-4)
    assert [s.text for s in scores] == TEXTS
    with pytest.raises(ValueError, match="no text was given"):
        model.score([], tokenizer)


@language_models
def test_text_generation_pipeline(name, tokenizer, tmp_path):
    model = LANGUAGE_MODELS[name](vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write = pipeline("text-generation", model=str(tmp_path))
    batch = write(["a good", "the"], max_new_tokens=4, do_sample=False, batch_size=2)
    assert batch == [write(text, max_new_tokens=4, do_sample=False) for text in ("a good", "the")]
    assert batch[0][0]["generated_text"].startswith("a good")


@classifiers
def test_text_classification_pipeline(name, tokenizer, tmp_path):
    model = CLASSIFIERS[name](vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path))
    for many, text in zip(classify(TEXTS, batch_size=3), TEXTS, strict=True):
        probabilities = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        assert many["label"] == model.config.id2label[int(probabilities.argmax())]
        assert many["score"] == pytest.approx(float(probabilities.detach().max()), abs=1e-6)
