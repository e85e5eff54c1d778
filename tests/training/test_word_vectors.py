"""Models that start from word vectors: the weights are the file's, frozen or trained, saved, and tied."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from rnn_hf import LanguageModelingModule, train_word_tokenizer
from rnn_hf.training.tagging import TaggingModule

WORDS = ["the", "film", "is", "good", "and"]
TOKENIZER = train_word_tokenizer([" ".join([*WORDS, "unseen"])])
IDS = torch.tensor([TOKENIZER.get_vocab()[word] for word in WORDS])
ROWS = torch.arange(20, dtype=torch.float32).view(5, 4) / 7


@pytest.fixture
def file(tmp_path):
    lines = [f"{word} {' '.join(map(repr, row))}\n" for word, row in zip(WORDS, ROWS.tolist(), strict=True)]
    (tmp_path / "vectors.txt").write_text("".join(lines))
    return str(tmp_path / "vectors.txt")


def tagger(file, **arguments):
    L.seed_everything(0, verbose=False)
    id2label = {0: "A", 1: "B"}
    return TaggingModule(TOKENIZER, id2label, {"hidden_size": 3}, word_vectors=file, learning_rate=0.1, **arguments)


def train(module):
    ids = torch.randint(3, len(TOKENIZER), (4, 6), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids % 2}
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_steps=5, enable_model_summary=False, num_sanity_val_steps=0, **settings)
    trainer.fit(module, DataLoader([batch] * 5, batch_size=None))


def embedding(model):
    return model.get_input_embeddings().weight.detach()


def test_the_weights_are_those_of_the_file_and_stay_so_through_saving(file, tmp_path):
    module = tagger(file)
    assert torch.equal(embedding(module.model)[IDS], ROWS)
    assert (embedding(module.model)[TOKENIZER.pad_token_id] == 0).all()
    assert module.model.config.embedding_size == 4
    assert module.word_vector_facts["found_exactly"] == 5
    module.model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    assert torch.equal(embedding(loaded), embedding(module.model))


def test_frozen_vectors_do_not_move_and_others_do(file):
    for freeze in (True, False):
        module = tagger(file, freeze_word_vectors=freeze)
        before, head = embedding(module.model).clone(), module.model.score.weight.detach().clone()
        train(module)
        assert torch.equal(embedding(module.model), before) is freeze
        assert not torch.equal(module.model.score.weight, head)


def test_a_tied_language_model_predicts_with_them(file, tmp_path):
    config = {"hidden_size": 3, "tie_word_embeddings": True}
    model = LanguageModelingModule(TOKENIZER, config, word_vectors=file).model
    assert torch.equal(embedding(model)[IDS], ROWS)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path / "lm")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    assert torch.equal(loaded.lm_head.weight[IDS], ROWS)


def test_the_share_of_covered_tokens_is_counted(file):
    module = tagger(file)
    known, unseen = int(IDS[0]), TOKENIZER.get_vocab()["unseen"]
    batch = {"input_ids": torch.tensor([[known, known, unseen], [known, 0, 0]])}
    module.count_covered_tokens([batch | {"attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])}])
    assert module.word_vector_facts["training_tokens_found_share"] == 0.75
    assert module.summary() == [
        "word vectors vectors.txt: 55.6% of 9 tokens of the vocabulary (5 exactly, 0 ignoring case), "
        "75.0% of the training tokens"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": {"embedding_size": 7}}, r"embedding_size is 7, but the vectors of vectors\.txt have 4 numbers"),
        ({"pretrained": "some/model"}, r"give model\.word_vectors or model\.pretrained, .* got both"),
        ({"word_vectors": None, "freeze_word_vectors": True}, r"freeze_word_vectors needs model\.word_vectors"),
        ({"freeze_word_vectors": "yes"}, r"model\.freeze_word_vectors must be true or false; got 'yes'"),
        ({"word_vectors": "nowhere.txt"}, r"no word vectors 'nowhere\.txt'"),
    ],
)
def test_bad_arguments(file, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        TaggingModule(TOKENIZER, {0: "A", 1: "B"}, **{"word_vectors": file, **arguments})
