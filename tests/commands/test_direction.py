"""A backward language model and classifier by the command, and the mean of classifiers: `--average`."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rnn_hf.commands.averaged import mean_logits

SHORT = ["--trainer.max_epochs", "2"]


@pytest.fixture
def backward(workplace, rnn_hf):
    """runs/backward, a language model that reads from the end, and runs/from_end, a classifier on its encoder."""
    if not (workplace / "runs/from_end").exists():
        for argv in (
            ["lm.yaml", "--data.direction", "backward", "--output_dir", "runs/backward"],
            ["classifier.yaml", "--model.pretrained", "runs/backward", "--model.config.bidirectional", "false",
             "--output_dir", "runs/from_end"],
        ):  # fmt: skip
            code, _, err = rnn_hf("fit", "--config", *argv, *SHORT)
            assert code == 0, err
    return workplace


def opened(run, auto=AutoModelForSequenceClassification):
    folder = f"runs/{run}/model"
    return auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def by_hand(run, text):
    """label -> probability."""
    model, tokenizer = opened(run)
    with torch.no_grad():
        probabilities = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist()
    return {model.config.id2label[i]: p for i, p in enumerate(probabilities)}


@pytest.mark.parametrize("state", ["carried", "reset"])
def test_perplexity_of_a_backward_model_by_hand(backward, rnn_hf, state):
    code, out, err = rnn_hf("evaluate", "runs/backward", "--data", "reviews", "--json", "--eval-state", state)
    assert code == 0, err
    found = json.loads(out)
    model, tokenizer = opened("backward", AutoModelForCausalLM)
    assert model.config.direction == found["direction"] == "backward"
    end = tokenizer.eos_token_id
    texts = [line.rpartition(",")[0] for line in (backward / "reviews/test.csv").read_text().splitlines()[1:]]
    rows = [[end, *tokenizer(text)["input_ids"], end][::-1] for text in reversed(texts)]
    if state == "carried":
        rows = [[end, *(token for row in rows for token in row[1:])]]
    nats = count = 0
    for row in rows:
        with torch.no_grad():
            log_probs = model(torch.tensor([row[:-1]])).logits[0].log_softmax(-1)
        nats -= float(log_probs[range(len(row) - 1), row[1:]].sum())
        count += len(row) - 1
    assert found["tokens"] == count and found["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
    if state == "carried":
        metrics = json.loads((backward / "runs/backward/model/metrics.json").read_text())["metrics"]
        assert metrics["test/perplexity"] == pytest.approx(found["perplexity"], rel=1e-5)


def test_score_and_generate(backward, rnn_hf):
    code, out, err = rnn_hf("score", "runs/backward", "the film is good")
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines()[:5]] == ["good", "is", "film", "the", "<eos>"]
    code, out, err = rnn_hf("generate", "runs/backward", "--prompt", "the film")
    assert code == 2 and not out and "'runs/backward' reads backward, from the end of a text: it continues none" in err
    card = (backward / "runs/backward/model/README.md").read_text()
    assert "A single-layer backward LSTM language model" in card and "rnn-hf score" in card
    assert "generate" not in card.partition("## Results")[0]


def test_what_goes_on_from_it_reads_backward(backward, rnn_hf):
    model, _ = opened("from_end")
    assert model.config.direction == "backward"
    argv = ["fit", "--config", "lm.yaml", "--model.pretrained", "runs/backward", "--trainer.max_steps", "1"]
    code, _, err = rnn_hf(*argv, "--output_dir", "runs/backward_on")
    assert code == 0, err
    assert opened("backward_on", AutoModelForCausalLM)[0].config.direction == "backward"
    recipe = (backward / "runs/backward_on/model/recipe.yaml").read_text()
    assert "direction: backward" in recipe
    argv = ["fit", "--config", "lm.yaml", "--model.config.direction", "backward", "--trainer.fast_dev_run", "true"]
    assert rnn_hf(*argv)[0] == 0


def test_predict_average_is_the_mean_by_hand(backward, rnn_hf, tmp_path):
    texts = ["a great film", "the plot is dull and slow", "zebra good", ""]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    argv = ["predict", "runs/classifier", "--input", tmp_path / "in.jsonl", "--average", "runs/from_end"]
    code, out, err = rnn_hf(*argv)
    assert code == 0, err
    *rows, empty = [json.loads(line) for line in out.splitlines()]
    assert empty["label"] is None
    for text, row in zip(texts, rows, strict=False):
        pair = [by_hand(run, text) for run in ("classifier", "from_end")]
        mean = {label: (pair[0][label] + pair[1][label]) / 2 for label in pair[0]}
        assert {label: row[f"probability_{label}"] for label in mean} == pytest.approx(mean, abs=2e-6)
        assert row["label"] == max(mean, key=mean.get)
    code, out, err = rnn_hf("predict", "runs/classifier", texts[0], "--average", "runs/from_end", "runs/from_end/model")
    pair = [by_hand(run, texts[0])["positive"] for run in ("classifier", "from_end")]
    positive = (pair[0] + 2 * pair[1]) / 3
    assert out == f"{'positive' if positive > 0.5 else 'negative'}\t{max(positive, 1 - positive):.4f}\n", err


def test_evaluate_average_has_a_table_of_its_own(backward, rnn_hf):
    argv = ["evaluate", "runs/classifier", "--data", "reviews"]
    plain = json.loads(rnn_hf(*argv, "--json")[1])
    code, out, err = rnn_hf(*argv, "--average", "runs/from_end", "--json")
    assert code == 0, err
    found = json.loads(out)
    averaged = found.pop("averaged")
    assert found == plain
    other = json.loads(rnn_hf("evaluate", "runs/from_end", "--data", "reviews", "--json")[1])
    for name, alone in (("runs/classifier", plain), ("runs/from_end", other)):
        metrics = averaged["models"][name]
        assert metrics == pytest.approx({key: alone[key] for key in metrics}, abs=1e-5)
    right = nats = 0
    rows = [line.rpartition(",") for line in (backward / "reviews/test.csv").read_text().splitlines()[1:]]
    for text, _, label in rows:
        p = sum(by_hand(run, text)[label] for run in ("classifier", "from_end")) / 2
        right, nats = right + (p > 0.5), nats - math.log(p)
    assert averaged["mean"]["accuracy"] == pytest.approx(right / len(rows))
    assert averaged["mean"]["loss"] == pytest.approx(nats / len(rows), rel=1e-4)
    table = rnn_hf(*argv, "--average", "runs/from_end")[1].split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in table] == [
        "averaged", "runs/classifier", "runs/from_end", "mean of their probabilities"
    ]  # fmt: skip


def test_labels_are_matched_by_name(backward, rnn_hf, tmp_path):
    """The other model has them in another order, and is of another family."""
    folder = tmp_path / "run"
    (tmp_path / "bow.yaml").write_text(
        "task: classification\nmodel: {config: {model_type: bow, classifier: mlp}}\ndata: {dataset: reviews}\n"
    )
    code, _, err = rnn_hf("fit", "--config", tmp_path / "bow.yaml", "--output_dir", folder, *SHORT)
    assert code == 0, err
    config = json.loads((folder / "model/config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    plain = rnn_hf("predict", "runs/classifier", "a great film", "--average", folder)[1]
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    turned = torch.tensor([1, 0])
    state = {name: value[turned] if value.shape[:1] == (2,) else value for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    model.config.id2label, model.config.label2id = {0: "positive", 1: "negative"}, {"positive": 0, "negative": 1}
    model.save_pretrained(tmp_path / "turned")
    AutoTokenizer.from_pretrained(folder / "model").save_pretrained(tmp_path / "turned")
    assert rnn_hf("predict", "runs/classifier", "a great film", "--average", tmp_path / "turned")[1] == plain


@pytest.mark.parametrize("several", [False, True])
def test_mean_logits_have_the_mean_of_the_probabilities(several):
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    probabilities = torch.sigmoid if several else (lambda x: x.softmax(-1))
    mean = mean_logits(logits, several)
    torch.testing.assert_close(probabilities(mean), probabilities(logits).mean(0))
    assert torch.equal(mean_logits(logits[:1], several), logits[0])
    assert mean_logits(1000 * logits, several).isfinite().all()


@pytest.mark.parametrize(("argv", "message"), [
    (["predict", "runs/classifier", "x", "--average", "runs/lm"],
     "'runs/lm' holds a language model, not a text classifier"),
    (["predict", "runs/classifier", "good", "--average", "runs/classifier"], "got 'runs/classifier' twice"),
    (["predict", "runs/classifier", "good", "--average", "runs/clasifier"], "(did you mean 'runs/classifier'?)"),
    (["predict", "runs/classifier", "--average", "runs/from_end", "good"], "(texts stand before --average)"),
    (["evaluate", "runs/lm", "--data", "reviews", "--average", "runs/classifier"], "'runs/lm' holds a language model"),
    (["evaluate", "runs/lm", "--data", "reviews", "--interpolate", "runs/backward"],
     "the model reads forward, runs/backward reads backward"),
    (["fit", "--config", "lm.yaml", "--data.direction", "backwards"], "(did you mean 'backward'?)"),
    (["fit", "--config", "lm.yaml", "--data.direction", "backward", "--model", "{config: {model_type: ngram}}"],
     "data.direction backward is for model_type rnn; got 'ngram'"),
    (["fit", "--config", "lm.yaml", "--data.direction", "forward", "--model.pretrained", "runs/backward"],
     "data.direction is 'forward', but the model reads backward: leave data.direction out"),
    (["fit", "--config", "lm.yaml", "--data.direction", "backward", "--model.pretrained", "runs/lm"],
     "data.direction is 'backward', but the model reads forward"),
    (["fit", "--config", "classifier.yaml", "--model.config.direction", "backward"], "bidirectional=True reads both"),
    (["fit", "--config", "classifier.yaml", "--model.config.bidirectional", "false", "--model.config.direction",
      "forward", "--model.pretrained", "runs/backward"], "has learnt to read backward, and cannot go on forward"),
])  # fmt: skip
def test_mistakes(backward, rnn_hf, argv, message):
    code, out, err = rnn_hf(*argv)
    assert code == 2 and not out, err
    assert message in err


def test_other_labels_are_refused_by_name(backward, rnn_hf, tmp_path):
    model, tokenizer = opened("from_end")
    for labels, problem, message in (
        (["negative", "neutral"], None, "'neutral', 'positive' not in both of 'runs/classifier' and"),
        (
            ["negative", "positive"],
            "multi_label_classification",
            "'runs/classifier' is for single_label_classification",
        ),
    ):
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}
        model.config.problem_type = problem or model.config.problem_type
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "other")
        code, _, err = rnn_hf("predict", "runs/classifier", "good", "--average", tmp_path / "other")
        assert code == 2 and message in err
