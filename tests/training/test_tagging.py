"""Taggers: span F1 as conlleval counts it, every word counted once, and a module that learns."""

import lightning as L
import pytest
import torch

from rnn_hf.data.tagging import TaggingDataModule
from rnn_hf.training.tagging import TaggingModule
from rnn_hf.training.tagging_metrics import SpanEvaluation, TaggingEvaluation, evaluation_of, spans

from .conftest import trainer

IGNORED = -100


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", {("PER", 0, 1), ("LOC", 3, 3)}),  # seqeval's own example
        ("B-X B-X I-X", {("X", 0, 0), ("X", 1, 2)}),
        ("O I-X I-X", {("X", 1, 2)}),  # conlleval: I- behind O begins a chunk
        ("I-X I-Y", {("X", 0, 0), ("Y", 1, 1)}),  # and so does a change of type
        ("B-X I-Y I-Y O", {("X", 0, 0), ("Y", 1, 2)}),
        ("I-X B-X", {("X", 0, 0), ("X", 1, 1)}),
        ("B-a-b I-a-b", {("a-b", 0, 1)}),
        ("B I O I", {("", 0, 1), ("", 3, 3)}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_spans(tags, expected):
    assert spans(tags.split()) == expected


class Answers:
    """Stands in for a model whose answers are known."""

    def __init__(self, id2label, answers):
        self.config = type("Config", (), {"id2label": id2label})
        self.answers = answers

    def __call__(self, input_ids, labels, **_):
        logits = torch.nn.functional.one_hot(self.answers.pop(0), len(self.config.id2label)).float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return type("Output", (), {"logits": logits, "loss": loss})


def evaluate(true, predicted, batch_size=10):
    """An evaluation of these tags; between the words stand pieces that do not count."""
    tags = sorted({tag for sentence in true + predicted for tag in sentence.split()})
    id2label = dict(enumerate(tags))
    time = 2 * max(len(sentence.split()) for sentence in true)
    labels = torch.full((len(true), time), IGNORED)
    answers = torch.randint(len(tags), (len(true), time), generator=torch.Generator().manual_seed(0))
    for i, (a, b) in enumerate(zip(true, predicted, strict=True)):
        for j, (tag, answer) in enumerate(zip(a.split(), b.split(), strict=True)):
            labels[i, 2 * j], answers[i, 2 * j] = tags.index(tag), tags.index(answer)
    evaluation = evaluation_of(tags)()
    model = Answers(id2label, list(answers.split(batch_size)))
    for part in labels.split(batch_size):
        evaluation.update(model, {"input_ids": torch.zeros_like(part), "labels": part})
    return evaluation, id2label


def test_the_published_example_of_seqeval():
    true = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    predicted = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    for batch_size in (1, 2):
        evaluation, id2label = evaluate(true, predicted, batch_size)
        metrics = evaluation.compute()
        assert isinstance(evaluation, SpanEvaluation) and set(metrics) == set(evaluation.names)
        assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0.5, 0.5, 0.5)
        assert metrics["accuracy"] == pytest.approx(0.8)
        assert (metrics["words"], metrics["spans"]) == (10, 2)
        report = evaluation.report(id2label)
        assert report["span_types"]["MISC"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
        assert report["span_types"]["PER"] == {"precision": 1, "recall": 1, "f1": 1, "support": 1}
        assert report["labels"]["I-PER"]["support"] == 1


def test_a_case_worked_by_hand():
    # true: X 0-1, Y 3-3, X 5-5 | predicted: X 0-1 (right), X 3-3 (type), X 5-6 (end), Y 7-7 (none): 1 of 4 and of 3
    evaluation, id2label = evaluate(["B-X I-X O B-Y O B-X O O"], ["B-X I-X O I-X O B-X I-X I-Y"])
    metrics = evaluation.compute()
    assert (metrics["precision"], metrics["recall"]) == (1 / 4, 1 / 3)
    assert metrics["f1"] == pytest.approx(2 / 7)
    assert metrics["accuracy"] == 5 / 8
    assert evaluation.report(id2label)["span_types"]["X"] == {
        "precision": pytest.approx(1 / 3), "recall": 0.5, "f1": pytest.approx(0.4), "support": 2
    }  # fmt: skip


def test_no_span_anywhere_is_an_f1_of_zero():
    evaluation, id2label = evaluate(["O B-X", "O"], ["O O", "O"])
    assert [evaluation.compute()[name] for name in ("precision", "recall", "f1")] == [0, 0, 0]
    assert evaluation.report(id2label)["span_types"] == {"X": {"precision": 0, "recall": 0, "f1": 0, "support": 1}}


def test_tags_of_single_words():
    evaluation, id2label = evaluate(["DET NOUN VERB", "NOUN"], ["DET VERB VERB", "NOUN"])
    assert type(evaluation) is TaggingEvaluation and evaluation.monitor == "accuracy"
    metrics = evaluation.compute()
    assert set(metrics) == {"loss", "accuracy", "words"} and (metrics["accuracy"], metrics["words"]) == (0.75, 4)
    report = evaluation.report(id2label)
    assert report["confusion_matrix"] == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert report["labels"]["NOUN"] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_a_tagger_learns_and_every_word_is_scored(tmp_path, tokenizer):
    """The tag of a word depends on the word before it."""
    words = ["a", "b.c", "don't"]
    generator = torch.Generator().manual_seed(0)
    for split, rows in {"train": 240, "validation": 30}.items():
        lines = []
        for _ in range(rows):
            drawn = torch.randint(3, (int(torch.randint(1, 6, (1,), generator=generator)),), generator=generator)
            before = ["O", "B-X", "B-Y"]
            tags = ["O"] + [before[i] for i in drawn.tolist()[:-1]]
            lines.append("".join(f"{words[i]}\t{tag}\n" for i, tag in zip(drawn.tolist(), tags, strict=True)))
        (tmp_path / f"{split}.conll").write_text("\n".join(lines))
    data = TaggingDataModule(str(tmp_path), tokenizer=tokenizer, batch_size=8)
    L.seed_everything(1, verbose=False)
    config = {"embedding_size": 12, "hidden_size": 16, "bidirectional": True}
    module = TaggingModule(data.tokenizer, data.id2label, config, learning_rate=0.03)
    assert module.monitor == ("validation/f1", "max")
    trainer(max_epochs=4).fit(module, data)
    assert module.model.config.id2label == data.id2label
    assert module.metrics["validation/words"] == sum(map(len, data.source.splits["validation"].texts))
    assert module.metrics["validation/f1"] > 0.95
    assert module.reports["validation"]["span_types"].keys() == {"X", "Y"}
