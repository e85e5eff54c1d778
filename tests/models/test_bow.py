"""The bag of words beside scikit-learn; its exact n-grams; a second fit of another size; what it says of its words."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from transformers import AutoModelForSequenceClassification

from rnn_hf import BowConfig, BowForSequenceClassification, train_word_tokenizer
from rnn_hf.models.ngram_features import make_table, ngram_numbers, spelled

from .conftest import bow

FEATURES = ["counts", "binary", "tfidf"]


class Corpus:
    """Texts of numbers as words whose labels depend on them, some held out with words that training lacks."""

    def __init__(self, num_labels, seed=0):
        draw = np.random.default_rng(seed)
        self.labels = draw.permutation(np.arange(120) % num_labels)
        ids = [draw.integers(3, 23 + 3 * label, draw.integers(1, 15)).tolist() for label in self.labels]
        self.train, self.test = ids, [draw.integers(3, 41, draw.integers(1, 15)).tolist() for _ in range(30)]

    def matrices(self, features, ngram_max):
        """scikit-learn's, of both."""
        count = CountVectorizer(
            tokenizer=str.split, token_pattern=None, ngram_range=(1, ngram_max), binary=features == "binary"
        )
        texts = [[" ".join(map(str, row)) for row in rows] for rows in (self.train, self.test)]
        matrices = [count.fit_transform(texts[0]), count.transform(texts[1])]
        if features == "tfidf":
            weigh = TfidfTransformer().fit(matrices[0])
            matrices = [weigh.transform(matrix) for matrix in matrices]
        return matrices

    def fitted(self, labels=None, row_weights=None, **fields):
        labels = torch.tensor(self.labels if labels is None else labels)
        config = BowConfig(vocab_size=41, pad_token_id=0, **fields)
        model = BowForSequenceClassification(config).eval()
        tokens = torch.tensor([i for row in self.train for i in row])
        return model.fit(tokens, torch.tensor([len(row) for row in self.train]), labels, row_weights)

    def logits(self, model):
        return torch.cat([model(torch.tensor([row])).logits for row in self.test]).detach()


def assert_probabilities(logits, expected):
    np.testing.assert_allclose(logits.softmax(-1).numpy(), expected, atol=1e-5, rtol=0)


def converged(penalty=1.0):
    return LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("num_labels", "ngram_max"), [(2, 1), (2, 3), (4, 2)])
def test_naive_bayes_is_scikit_learn_s(num_labels, ngram_max, features):
    corpus = Corpus(num_labels)
    train, test = corpus.matrices(features, ngram_max)
    for alpha in (1.0, 0.1):
        model = corpus.fitted(num_labels=num_labels, ngram_max=ngram_max, features=features, alpha=alpha)
        assert model.config.num_features == train.shape[1]
        theirs = MultinomialNB(alpha=alpha).fit(train, corpus.labels)
        assert_probabilities(corpus.logits(model), theirs.predict_proba(test))


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("num_labels", "ngram_max"), [(2, 2), (4, 1)])
def test_logistic_regression_is_scikit_learn_s(num_labels, ngram_max, features):
    corpus = Corpus(num_labels)
    train, test = corpus.matrices(features, ngram_max)
    for penalty in (1.0, 0.2):
        model = corpus.fitted(
            classifier="logistic_regression",
            num_labels=num_labels,
            ngram_max=ngram_max,
            features=features,
            l2_penalty=penalty,
        )
        theirs = converged(penalty).fit(train, corpus.labels)
        assert_probabilities(corpus.logits(model), theirs.predict_proba(test))


def test_nb_logistic_regression_is_scikit_learn_s_on_features_times_their_ratios():
    """Wang & Manning 2012, section 2.3 without interpolation, of two labels."""
    corpus = Corpus(2)
    train, test = (matrix.toarray() for matrix in corpus.matrices("binary", 2))
    positive, negative = (1 + train[corpus.labels == label].sum(0) for label in (1, 0))
    ratio = np.log((positive / positive.sum()) / (negative / negative.sum()))
    model = corpus.fitted(classifier="nb_logistic_regression", num_labels=2, ngram_max=2, features="binary")
    theirs = converged().fit(train * ratio, corpus.labels)
    assert_probabilities(corpus.logits(model), theirs.predict_proba(test * ratio))


@pytest.mark.parametrize("classifier", ["naive_bayes", "logistic_regression"])
def test_several_labels_a_row_are_one_classifier_each(classifier):
    corpus = Corpus(3)
    labels = np.stack([corpus.labels == 0, corpus.labels > 0, np.arange(120) % 2 == 0], 1).astype(int)
    model = corpus.fitted(labels, classifier=classifier, num_labels=3, problem_type="multi_label_classification")
    train, test = corpus.matrices("counts", 1)
    theirs = OneVsRestClassifier(MultinomialNB() if classifier == "naive_bayes" else converged()).fit(train, labels)
    found = corpus.logits(model).sigmoid().numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(test), atol=1e-5, rtol=0)


@pytest.mark.parametrize("classifier", ["naive_bayes", "logistic_regression"])
def test_rows_may_weigh_more(classifier):
    corpus = Corpus(2)
    weights = np.where(corpus.labels == 1, 2.5, 0.5)
    model = corpus.fitted(None, torch.tensor(weights), classifier=classifier, num_labels=2)
    train, test = corpus.matrices("counts", 1)
    theirs = (MultinomialNB() if classifier == "naive_bayes" else converged()).fit(train, corpus.labels, weights)
    assert_probabilities(corpus.logits(model), theirs.predict_proba(test))


def test_a_label_without_rows_is_unlikely_and_finite():
    for classifier in ("naive_bayes", "logistic_regression", "nb_logistic_regression"):
        corpus = Corpus(2)
        model = corpus.fitted(classifier=classifier, num_labels=3)
        logits = corpus.logits(model)
        assert logits.isfinite().all()
        assert (logits.argmax(-1) != 2).all()


@pytest.mark.parametrize("ngram_max", [1, 2, 5])
def test_every_ngram_has_a_number_of_its_own(ngram_max):
    rows = [torch.randint(0, 9, (n,)).tolist() for n in (1, 2, 30, 7)]
    tokens = torch.tensor([i for row in rows for i in row]) + 2**31 - 10  # the largest ids are exact too
    places = torch.arange(4).repeat_interleave(torch.tensor([len(row) for row in rows]))
    table, of_rows, numbers = make_table(tokens, places, ngram_max)
    expected = []
    for row in rows:
        row = [i + 2**31 - 10 for i in row]
        expected.append([tuple(row[i : i + n]) for n in range(1, ngram_max + 1) for i in range(len(row) - n + 1)])
    seen = sorted({ngram for row in expected for ngram in row})
    assert sorted(tuple(spelled(table, number)) for number in range(len(table))) == seen
    assert (table.diff() > 0).all()
    for i, ngrams in enumerate(expected):
        own = [tuple(spelled(table, number)) for number in numbers[of_rows == i].tolist()]
        assert sorted(own) == sorted(ngrams)
        ids = tokens[places == i][None]
        found = ngram_numbers(table, ids, torch.ones_like(ids).bool(), ngram_max)
        assert sorted(tuple(spelled(table, n)) for n in found[found >= 0].tolist()) == sorted(ngrams)


def test_ngrams_that_training_lacks_add_nothing():
    model = bow(ngram_max=3)
    unseen = torch.tensor([[1, 1, 1, 1]])
    torch.testing.assert_close(model(unseen).logits[0], model.ngrams.bias)
    empty = BowForSequenceClassification(BowConfig(vocab_size=41, num_labels=3))  # before any fit
    assert torch.equal(empty(unseen).logits, torch.zeros(1, 3))


@pytest.mark.parametrize("features", FEATURES)
def test_a_second_fit_of_another_size_replaces_the_first(features, tmp_path):
    """Its sizes stand in the config: each opens through the Auto class, and a config of the other is refused."""
    model, sizes = bow(ngram_max=2, features=features), []
    for part, length in (("first", 12), ("second", 300)):
        torch.manual_seed(length)
        tokens = torch.randint(3, 41, (3 * length,))
        model.fit(tokens, torch.full((3,), length), torch.arange(3))
        model.save_pretrained(tmp_path / part)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / part)
        ids = tokens[:length][None]
        assert torch.equal(again(ids).logits, model(ids).logits)
        assert torch.equal(again.ngrams.table, model.ngrams.table)
        assert again.config.num_features == len(load_file(tmp_path / part / "model.safetensors")["ngrams.table"])
        sizes.append(again.config.num_features)
    assert sizes[0] < sizes[1]
    with pytest.raises(ValueError, match=r"ngrams\.table is .*, not"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "first", num_features=sizes[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fitted_weights_stay_float32(dtype, tmp_path):
    model = bow(ngram_max=2, features="tfidf")
    model.save_pretrained(tmp_path)
    half = BowForSequenceClassification.from_pretrained(tmp_path, dtype=dtype)
    ids = torch.randint(3, 41, (2, 9))
    assert torch.equal(half(ids).logits, model(ids).logits)


def test_a_new_model_finds_all_labels_alike():
    model = BowForSequenceClassification(BowConfig(vocab_size=41, num_labels=3))
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6], [7, 8]])).logits
    assert logits.numpy().tolist() == [[0.0] * 3] * 2  # which a pipeline asks for


def test_a_vocabulary_of_another_size_needs_another_fit():
    with pytest.raises(ValueError, match="BowForSequenceClassification has none: fit it anew"):
        bow().resize_token_embeddings(50)


def test_weightiest_features():
    tokenizer = train_word_tokenizer(["good film", "good story", "bad film", "bad story", "not good"])
    rows = [(text, i) for text, i in (("good film", 1), ("bad story", 0), ("not good", 0), ("good story", 1))]
    ids = [tokenizer(text)["input_ids"] for text, _ in rows]
    tokens, lengths = torch.tensor([i for row in ids for i in row]), torch.tensor([len(row) for row in ids])
    names = {0: "negative", 1: "positive"}
    for classifier in ("naive_bayes", "logistic_regression", "nb_logistic_regression"):
        config = BowConfig(vocab_size=len(tokenizer), classifier=classifier, ngram_max=2, id2label=names)
        model = BowForSequenceClassification(config).fit(tokens, lengths, torch.tensor([i for _, i in rows]))
        found = model.weightiest_features(tokenizer, 3)
        assert list(found) == ["negative", "positive"]
        assert [weight for _, weight in found["positive"]] == sorted(dict(found["positive"]).values(), reverse=True)
        assert {"not", "bad", "not good", "bad story"} >= {feature for feature, _ in found["negative"]}
        assert "good film" in dict(found["positive"])
        number = next(n for n in range(len(model.ngrams.table)) if spelled(model.ngrams.table, n) == ids[0])
        assert dict(found["positive"])["good film"] == pytest.approx(model.ngrams.weight[number, 1].item())
    assert len(model.weightiest_features(tokenizer, 1000)["positive"]) == model.config.num_features


def test_weightiest_words_of_averaged_embeddings():
    tokenizer = train_word_tokenizer(["good bad film"])
    model = bow(vocab_size=len(tokenizer), classifier="mlp", num_labels=2, embedding_size=6)
    found = model.weightiest_features(tokenizer, 3)["LABEL_0"]
    assert {word for word, _ in found} == {"good", "bad", "film"}
    logits = model(torch.tensor([[tokenizer.convert_tokens_to_ids(found[0][0])]])).logits[0]
    assert found[0][1] == pytest.approx((logits[0] - logits.mean()).item(), abs=1e-6)


def test_averaged_embeddings():
    model = bow(classifier="mlp", embedding_size=6, hidden_size=7)
    ids = torch.randint(3, 41, (2, 5))
    average = model.embed_tokens(ids).mean(1)
    expected = model.score(model.layers[0](average).relu())
    torch.testing.assert_close(model(ids).logits, expected)
    torch.testing.assert_close(model(ids.flip(1)).logits, expected)


@pytest.mark.parametrize(("fields", "message"), [
    ({"classifier": "naive_bays"}, "did you mean 'naive_bayes'"),
    ({"features": "tf-idf"}, "did you mean 'tfidf'"),
    ({"alpha": 0}, "alpha must be a number from 1e-10"),
    ({"l2_penalty": 2.0}, "l2_penalty=2.0 is for classifier=logistic_regression or nb_logistic_regression; got 'naive"),
    ({"hidden_size": 3}, "hidden_size=3 is for classifier=mlp"),
    ({"classifier": "mlp", "ngram_max": 2}, "ngram_max=2 is for classifier=naive_bayes or"),
    ({"classifier": "logistic_regression", "alpha": 0.1}, "alpha=0.1 is for"),
    ({"problem_type": "regression"}, "problem_type regression is for classifier=mlp"),
    ({"num_features": 10**9}, "parameters, more than 2.0e"),
])  # fmt: skip
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BowConfig(**fields)


def test_what_does_not_fit_is_refused():
    model, ids = bow(), torch.tensor([[5, 6]])
    with pytest.raises(ValueError, match="'naive_bayes' reads input_ids: it has no embeddings"):
        model(inputs_embeds=torch.randn(1, 2, 3))
    with pytest.raises(ValueError, match="token ids must be from 0 to 40; got 41"):
        model(ids + 35)
    with pytest.raises(ValueError, match="lengths of 3 together"):
        model.fit(ids[0], torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels of shape \(1,\)"):
        model.fit(ids[0], torch.tensor([2]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels must be from 0 to 2"):
        model.fit(ids[0], torch.tensor([2]), torch.tensor([3]))
    with pytest.raises(ValueError, match="trained by gradient descent"):
        bow(classifier="mlp").fit(ids[0], torch.tensor([2]), torch.tensor([0]))
    with pytest.raises(ValueError, match="count must be a whole number from 1"):
        model.weightiest_features(train_word_tokenizer(["a"]), 0)
