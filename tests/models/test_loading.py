"""Saving and loading: strict, safe, seeded. What holds for every family stands in `test_families.py`."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from rnn_hf import RnnConfig, RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

from .conftest import CELLS, full_config, randomise

IDS = torch.tensor([[5, 6, 7, 8]])
WEIGHTS = "model.safetensors"


def edit(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [False, True])
def test_tied_embeddings(tied, tmp_path):
    """Tied: one tensor saved, with a projection where the widths differ; the file holds no second copy."""
    model = randomise(RnnForCausalLM(full_config(tie_word_embeddings=tied)))
    model.save_pretrained(tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / WEIGHTS)) is not tied
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
    assert (again.projection is not None) is tied
    torch.testing.assert_close(again(IDS).logits, model(IDS).logits, atol=0, rtol=0)


def test_a_new_head_is_seeded_and_an_old_one_is_kept(tmp_path):
    """A language model's encoder in a classifier: the head is new, the same under one seed, and finite."""
    lm = randomise(RnnForCausalLM(full_config()))
    lm.save_pretrained(tmp_path)
    heads = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        model = RnnForSequenceClassification.from_pretrained(tmp_path, num_labels=3, pooling="concat")
        torch.testing.assert_close(model.model.state_dict(), lm.model.state_dict(), atol=0, rtol=0)
        assert all(p.isfinite().all() for p in model.parameters())
        heads.append(model.score.weight)
    assert heads[0].shape == (3, 3 * 5)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].abs().max() > 0


def test_half_a_head_is_refused(tmp_path):
    randomise(RnnForTokenClassification(full_config())).save_pretrained(tmp_path)
    edit(tmp_path, lambda t: t.pop("score.bias"))
    with pytest.raises(ValueError, match=r"lacks score\.bias"):
        RnnForSequenceClassification.from_pretrained(tmp_path)


def test_shapes_must_be_equal_unless_told(tmp_path):
    RnnForCausalLM(full_config()).save_pretrained(tmp_path)
    edit(tmp_path, lambda t: t.update({"lm_head.bias": torch.zeros(40)}))
    with pytest.raises(ValueError, match=r"lm_head\.bias"):
        RnnForCausalLM.from_pretrained(tmp_path)
    model = RnnForCausalLM.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    assert model.lm_head.bias.shape == (41,)


def test_label_names_at_loading(tmp_path):
    """Another number of labels, or other names, replaces the saved ones; both directions of the map agree."""
    RnnForSequenceClassification(full_config(id2label={0: "no", 1: "yes"})).save_pretrained(tmp_path)
    saved = RnnForSequenceClassification.from_pretrained(tmp_path).config
    assert (saved.id2label, saved.label2id) == ({0: "no", 1: "yes"}, {"no": 0, "yes": 1})
    renamed = RnnForSequenceClassification.from_pretrained(tmp_path, id2label={0: "a", 1: "b"}).config
    assert (renamed.id2label, renamed.label2id) == ({0: "a", 1: "b"}, {"a": 0, "b": 1})
    with pytest.raises(RuntimeError, match=r"score\.weight is \(2, 5\), not \(3, 5\)"):
        RnnForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    three = RnnForSequenceClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True).config
    assert three.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, {0: "a", 1: "b"}),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"a": 1, "b": 0}}, {0: "b", 1: "a"}),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": "0", "LABEL_1": "1"}}, None),
        ({"label2id": {"b": 1, "a": 0}}, {0: "a", 1: "b"}),
        ({"id2label": {"0": "same", "1": "same"}}, {0: "same", 1: "same"}),
        ({"dtype": "auto"}, None),
    ],
)
def test_label_names_edited_after_construction_load(saved, loaded, tmp_path):
    RnnForSequenceClassification(full_config()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("id2label", "label2id")}
    file.write_text(json.dumps({**config, **saved}))
    config = RnnForSequenceClassification.from_pretrained(tmp_path).config
    assert config.id2label == (loaded or {0: "LABEL_0", 1: "LABEL_1"})
    assert config.label2id == {label: i for i, label in config.id2label.items()}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id2label": {0: "a", 5: "b"}}, "id2label must have the keys 0 to 1"),
        ({"id2label": ["a", "b"]}, "id2label must be a mapping"),
        ({"id2label": {0: "a", 1: "b"}, "num_labels": 4}, "num_labels must be 2"),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "label2id must be the inverse"),
    ],
)
def test_label_names_given_at_loading_are_checked(given, message, tmp_path):
    RnnForSequenceClassification(full_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        RnnForSequenceClassification.from_pretrained(tmp_path, **given)
    named = {"id2label": {"0": "a", "1": "b"}}, {"label2id": {"a": 0, "b": 1}}
    for names in named:
        assert RnnForSequenceClassification.from_pretrained(tmp_path, **names).config.id2label == {0: "a", 1: "b"}


def test_an_explicit_state_dict_is_loaded_as_in_transformers(tmp_path):
    model = RnnForCausalLM(full_config())
    model.save_pretrained(tmp_path)
    part = {"lm_head.bias": torch.arange(41.0)}
    again = RnnForCausalLM.from_pretrained(None, config=model.config, state_dict=part)
    assert torch.equal(again.lm_head.bias, part["lm_head.bias"])
    assert all(p.isfinite().all() for p in again.parameters())


def test_pickles_are_not_read(tmp_path):
    """A .bin whose unpickling would run code: refused, not run."""
    model = RnnForCausalLM(full_config())
    model.config.save_pretrained(tmp_path)

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save({"x": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        RnnForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="use_safetensors must be True"):
        RnnForCausalLM.from_pretrained(tmp_path, use_safetensors=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/model.safetensors", "a/../../model.safetensors"])
def test_shards_stay_inside_the_folder(shard, tmp_path):
    inside = tmp_path / "inside"
    model = RnnForCausalLM(full_config())
    model.save_pretrained(inside)
    (inside / WEIGHTS).rename(tmp_path / WEIGHTS)
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(tmp_path / WEIGHTS), shard)}
    for name, variant in ((f"{WEIGHTS}.index.json", None), (f"{WEIGHTS}.index.v.json", "v")):
        (inside / name).write_text(json.dumps(index))
        with pytest.raises(ValueError, match="names a shard outside its folder"):
            RnnForCausalLM.from_pretrained(inside, variant=variant)
        (inside / name).unlink()


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_broken_index_is_named(content, tmp_path):
    RnnForCausalLM(full_config()).save_pretrained(tmp_path)
    (tmp_path / f"{WEIGHTS}.index.json").write_text(content)
    with pytest.raises(ValueError, match="is no index of weights"):
        RnnForCausalLM.from_pretrained(tmp_path)


def test_sharded_folder(tmp_path):
    model = randomise(RnnForCausalLM(full_config()))
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    torch.testing.assert_close(RnnForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits, atol=0, rtol=0)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a tensor"])
def test_damaged_weights_are_refused(content, tmp_path):
    RnnForCausalLM(full_config()).save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=WEIGHTS):
        RnnForCausalLM.from_pretrained(tmp_path)


def test_a_wrong_path_is_one_clear_error(tmp_path):
    with pytest.raises(OSError, match="no_such_folder"):
        RnnForCausalLM.from_pretrained(tmp_path / "no_such_folder")


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights(cell):
    """Every parameter is drawn, recurrent weights orthogonal gate by gate, an LSTM's forget gate open."""
    model = RnnForSequenceClassification(full_config(cell_type=cell, hidden_size=8, bidirectional=True))
    assert all(p.isfinite().all() and p.abs().max() < 10 for p in model.parameters())
    rnn = model.model.layers[0].rnn
    for gate in rnn.weight_hh_l0_reverse.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    bias = rnn.bias_ih_l0.detach().clone()
    if cell == "lstm":
        assert (bias[8:16] == 1).all()
        bias[8:16] = 0
    assert (bias == 0).all()
    assert (model.model.layers[0].gate.bias == -2).all()
    assert (model.model.embed_tokens.weight[0] == 0).all()


@pytest.mark.parametrize("width", [32, 300])
@pytest.mark.parametrize(("layer_norm", "length"), [(False, 3), (True, 1)])
def test_size_of_initial_token_vectors(width, layer_norm, length):
    """In a language model equally long whatever their widths, else within 0.1; a given range goes before."""
    fields = {"vocab_size": 200, "embedding_size": width, "hidden_size": 2 * width, "layer_norm": layer_norm}
    for tied in (False, True):
        model = RnnForCausalLM(RnnConfig(**fields, tie_word_embeddings=tied))
        for weight in (model.model.embed_tokens.weight, model.lm_head.weight):
            assert 0.95 * length < weight.norm(dim=1).mean() < 1.05 * length
    others = (RnnModel(RnnConfig(**fields)), RnnForSequenceClassification(RnnConfig(**fields)))
    given = RnnForCausalLM(RnnConfig(**fields, initializer_range=0.1))
    for weight in (*(model.get_input_embeddings().weight for model in (*others, given)), given.lm_head.weight):
        assert 0.099 < weight.abs().max() <= 0.1


def test_resize_token_embeddings():
    for tied in (False, True):
        model = randomise(RnnForCausalLM(full_config(tie_word_embeddings=tied)))
        before = model(IDS).logits
        model.resize_token_embeddings(50)
        after = model(IDS).logits
        assert after.shape[-1] == model.config.vocab_size == model.lm_head.bias.shape[0] == 50
        torch.testing.assert_close(after[..., :41], before)
        assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    for size in (0, 2):
        with pytest.raises(ValueError, match=r"vocab_size must be|eos_token_id must be from 0 to 1"):
            model.resize_token_embeddings(size)  # it could be saved, but never loaded
    assert model.config.vocab_size == 50


def test_bfloat16(tmp_path):
    model = randomise(RnnForCausalLM(full_config()))
    model.save_pretrained(tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    mask = torch.tensor([[0, 1, 1, 1]])
    for kwargs in ({}, {"attention_mask": mask}):
        out = half(IDS, **kwargs).logits
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out[:, 1:].float(), model(IDS, **kwargs).logits[:, 1:], atol=0.05, rtol=0)
    loss = half.train()(IDS, labels=IDS).loss
    loss.backward()
    assert loss.isfinite()
    assert half.generate(IDS, max_new_tokens=3, do_sample=False).shape == (1, 7)


def test_weights_without_a_place_are_refused(tmp_path):
    """A configuration with fewer layers or norms than the checkpoint would silently drop half the network."""
    RnnForCausalLM(full_config()).save_pretrained(tmp_path)
    for change in ({"num_hidden_layers": 1}, {"layer_norm": False}, {"tie_word_embeddings": True}):
        with pytest.raises(ValueError, match=r"no place for model\.|sizes differ|tie_word_embeddings must be"):
            RnnForCausalLM.from_pretrained(tmp_path, **change)


@pytest.mark.parametrize("cell", CELLS)
def test_embeddings_of_another_width_are_refused(cell):
    model = RnnForCausalLM(full_config(cell_type=cell))
    with pytest.raises(ValueError, match=r"inputs_embeds must have 6 features \(embedding_size\); got 7"):
        model(inputs_embeds=torch.randn(2, 4, 7))
