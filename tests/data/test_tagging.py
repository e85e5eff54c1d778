"""Sentences of words: one label and one prediction a word under every tokenizer, spans in IOB2, unknown tags."""

import json
import random

import pytest
import torch

from rnn_hf import RnnConfig, RnnForTokenClassification
from rnn_hf.data.sentences import IGNORED, TaggedSentences, cut_words, split_words, tag_sentences, tagged_batches
from rnn_hf.data.tagging import TaggingDataModule
from rnn_hf.tokenization import build_tokenizer

# several words in one, several pieces, no letters, nothing at all, white space, combining and removed characters
HARD = [
    "New York",
    "U.S.",
    "don't",
    "\u200b",
    "",
    "a\u00a0b",
    "e\u0301te\u0301",
    "...",
    ":-)",
    "日本",
    "<unk>",
    "<pad>",
    " ",
]
TOKENIZERS = ["word", {"kind": "word", "split": "whitespace", "lowercase": True}, "char", "byte", "bpe"]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in rows))


def tagged(count: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """Sentences in which a name of one or two words is a span."""
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        words = draw.choices(["the", "film", "by", "was", "don't", "..."], k=draw.randint(1, 12))
        tags = ["O"] * len(words)
        place = draw.randint(0, len(words))
        name = ["Ann"] if i % 2 else ["New", "York"]
        words[place:place] = name
        tags[place:place] = ["B-PER"] if i % 2 else ["B-LOC", "I-LOC"]
        rows.append((words, tags))
    return rows


@pytest.fixture
def entities(tmp_path):
    for seed, (split, count) in enumerate([("train", 150), ("validation", 30), ("test", 31)]):
        write_jsonl(tmp_path / f"{split}.jsonl", tagged(count, seed))
    return tmp_path


@pytest.mark.parametrize("spec", TOKENIZERS, ids=str)
def test_one_first_piece_a_word(spec):
    sentences = [HARD, [""], ["", "a"], ["a", ""], ["a"] * 7]
    tokenizer = build_tokenizer(spec, [" ".join(HARD)] * 3)
    pieces = cut_words(sentences, tokenizer)
    first = pieces.first.split(pieces.lengths.tolist())
    assert [int(row.sum()) for row in first] == [len(words) for words in sentences]
    assert len(pieces.ids) == len(pieces.first) == int(pieces.lengths.sum())
    # What stands between two first pieces spells the word, for words that tokenizers leave as they are.
    for word in ("don't", ":-)", "日本"):
        pieces = cut_words([["x", word, "y"]], tokenizer)
        start, end = pieces.first.nonzero()[1:, 0].tolist()
        alone = tokenizer(f" {word}" if spec == "bpe" else word, add_special_tokens=False)["input_ids"]
        assert pieces.ids[start:end][: len(alone)].tolist() == alone
        assert tokenizer.decode(pieces.ids[start:end][len(alone) :]).strip() == ""  # the space before the next word


def test_the_pieces_of_a_text_are_those_of_its_words():
    """So a pipeline, which is given the text, computes what training computed."""
    for spec in TOKENIZERS:
        tokenizer = build_tokenizer(spec, ["the film by Ann was good ."] * 3)
        words = ["the", "film", "was", "don't", "."]
        assert cut_words([words], tokenizer).ids.tolist() == tokenizer(" ".join(words))["input_ids"]


def test_batches_hold_every_word_once(entities):
    data = TaggingDataModule(str(entities), batch_size=8)
    assert data.id2label == dict(enumerate(["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]))  # I-PER: B-'s partner
    for split, loader in (("train", data.train_dataloader()), ("test", data.test_dataloader())):
        rows = data.source.splits[split]
        seen = []
        for batch in loader:
            ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
            assert ids.shape == mask.shape == labels.shape and ids.dtype == labels.dtype == torch.int64
            assert (labels[mask == 0] == IGNORED).all() and (ids[mask == 0] == data.tokenizer.pad_token_id).all()
            assert (mask.sum(1).max() == ids.shape[1]) and (mask.diff(dim=1) <= 0).all()
            for row, label in zip(ids, labels, strict=True):
                seen.append(
                    (row[label != IGNORED].tolist(), [data.id2label[i] for i in label[label != IGNORED].tolist()])
                )
        wanted = []
        for words, tags in zip(rows.texts, rows.labels, strict=True):
            wanted.append(([data.tokenizer(word)["input_ids"][0] for word in words], tags))
        assert sorted(seen) == sorted(wanted)
        facts = data.facts()["splits"][split]
        assert facts["words"] == sum(map(len, rows.texts)) == sum(facts["tags"].values())


def test_labels_of_words_of_several_pieces():
    tokenizer = build_tokenizer("word", ["U.S. film New York"])
    item = TaggedSentences([["film", "U.S.", "New York", ""]], tokenizer, [[3, 1, 2, 0]])[[0]]
    assert item["labels"].tolist() == [[3, 1, IGNORED, IGNORED, IGNORED, 2, IGNORED, 0]]
    assert item["input_ids"][0, -1] == tokenizer.unk_token_id


def test_spans_are_read_as_iob2_whatever_the_file_has(tmp_path):
    iob1 = [(["New", "York", "Paris", "is"], ["I-LOC", "I-LOC", "B-LOC", "O"]), (["Ann"], ["I-PER"])]
    write_jsonl(tmp_path / "train.jsonl", iob1)
    write_jsonl(tmp_path / "validation.jsonl", iob1[1:])
    data = TaggingDataModule(str(tmp_path))
    assert data.source.splits["train"].labels == [["B-LOC", "I-LOC", "B-LOC", "O"], ["B-PER"]]
    facts = data.facts()
    assert facts["tag_scheme"] == "IOB1"
    assert [facts["splits"][split]["tags_changed_to_iob2"] for split in ("train", "validation")] == [2, 1]
    assert "IOB1" in data.summary()[0]
    label2id = {label: i for i, label in data.id2label.items()}
    batch = next(iter(tagged_batches(str(tmp_path), data.tokenizer, label2id, split="validation")))
    assert batch["labels"].tolist() == [[label2id["B-PER"]]]


def test_tags_of_single_words_stay(tmp_path):
    rows = [(["a", "b"], ["DET", "NOUN"]), (["b"], ["VERB"]), (["b"], ["NOUN"]), (["c"], ["NOUN"])]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "validation.jsonl", [(["b", "a", "z", "b"], ["NOUN", "DET", "NOUN", "VERB"])])
    data = TaggingDataModule(str(tmp_path))
    assert data.id2label == {0: "DET", 1: "NOUN", 2: "VERB"}
    assert data.facts()["tag_scheme"] is None
    assert data.baselines() == {"validation/most_frequent_tag_accuracy": 0.75}


def test_class_labels_of_a_parquet_file_are_named(tmp_path):
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features({"tokens": List(Value("string")), "ner": List(ClassLabel(names=["O", "B-X", "I-X"]))})
    Dataset.from_dict({"tokens": [["a", "b"], ["c"]], "ner": [[1, 2], [0]]}, features).to_parquet(
        tmp_path / "train.parquet"
    )
    Dataset.from_dict({"tokens": [["a"]], "ner": [[1]]}, features).to_parquet(tmp_path / "validation.parquet")
    data = TaggingDataModule(str(tmp_path), label_column="ner")
    assert data.id2label == {0: "B-X", 1: "I-X", 2: "O"}
    assert data.source.splits["train"].labels == [["B-X", "I-X"], ["O"]]


def test_validation_is_split_off_the_same_in_every_run(tmp_path):
    write_jsonl(tmp_path / "all.jsonl", tagged(100, 3))
    first, second = (TaggingDataModule(str(tmp_path / "all.jsonl"), seed=seed).source.splits for seed in (0, 1))
    assert 8 <= len(first["validation"]) <= 12
    assert len(first["train"]) + len(first["validation"]) == 100
    assert first == second


def test_a_classifiers_max_length_cuts_no_sentence(entities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = build_tokenizer("word", ["the film by Ann was New York"])
    tokenizer.model_max_length = 3
    tokenizer.save_pretrained(folder)
    data = TaggingDataModule(str(entities), tokenizer=str(folder))
    assert data.encoded["train"].lengths.max() > 3
    assert data.tokenizer.model_max_length > 10**9


def test_bad_input(entities):
    rows = tagged(3, 9)
    write_jsonl(entities / "validation.jsonl", [rows[0], (["Ann", "flew"], ["B-PER", "B-ORG"])])
    with pytest.raises(
        ValueError, match=r"validation\.jsonl row 2, word 'flew': the tag must be one of B-LOC, .*, O; got 'B-ORG'"
    ):
        TaggingDataModule(str(entities)).val_dataloader()
    write_jsonl(entities / "validation.jsonl", [rows[0], (["Ann", "flew"], ["B-PER"])])
    with pytest.raises(ValueError, match=r"validation\.jsonl row 2, column 'tags' must hold a tag for each token"):
        TaggingDataModule(str(entities)).val_dataloader()
    write_jsonl(entities / "validation.jsonl", [([], [])])
    with pytest.raises(ValueError, match=r"validation\.jsonl row 1, column 'tokens' must be a list"):
        TaggingDataModule(str(entities)).val_dataloader()
    write_jsonl(entities / "validation.jsonl", rows)
    write_jsonl(entities / "train.jsonl", [(["a", "b"], ["X", "X"])])
    with pytest.raises(ValueError, match=r"train\.jsonl must have at least 2 tags; all its words have 'X'"):
        _ = TaggingDataModule(str(entities)).id2label
    with pytest.raises(ValueError, match=r"batch_size must be .* got 0"):
        TaggingDataModule(str(entities), batch_size=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Dr. Smith's dog doesn't bark (in the U.S.), \"ok\"?",
            "Dr . Smith 's dog does n't bark ( in the U.S. ) , \" ok \" ?",
        ),
        (
            "We're sure she'll say 'no', can't you? rock'n'roll",
            "We 're sure she 'll say ' no ' , ca n't you ? rock'n'roll",
        ),
        ("at 5% ($3), http://a.b/c?d=1.", "at 5 % ( $ 3 ) , http://a.b/c?d=1 ."),
        ("do n't 's ... :-) $ 5 %", "do n't 's ... :-) $ 5 %"),
        ("  \n", ""),
    ],
)
def test_split_words(text, words):
    assert split_words(text) == split_words(words) == words.split()


@pytest.mark.parametrize("spec", TOKENIZERS, ids=str)
def test_each_word_is_tagged_as_alone_in_its_sentence(spec):
    tokenizer = build_tokenizer(spec, [" ".join(HARD)] * 3)
    torch.manual_seed(0)
    config = RnnConfig(
        vocab_size=len(tokenizer), embedding_size=6, hidden_size=5, bidirectional=True, pad_token_id=0, num_labels=4
    )
    model = RnnForTokenClassification(config).eval()
    sentences = [HARD, ["a"], HARD[3:5], HARD * 3, ["日本", "U.S."]]
    together = tag_sentences(model, tokenizer, sentences)
    for words, (tags, probabilities) in zip(sentences, together, strict=True):
        assert len(tags) == len(probabilities) == len(words)
        ((alone, their_probabilities),) = tag_sentences(model, tokenizer, [words])
        assert tags == alone and probabilities == pytest.approx(their_probabilities, abs=1e-6)
        assert all(tag.startswith("LABEL_") for tag in tags) and all(0.25 <= p <= 1 for p in probabilities)
    assert tag_sentences(model, tokenizer, []) == []
    with pytest.raises(ValueError, match="sentence 2 has no words"):
        tag_sentences(model, tokenizer, [["a"], []])
