"""`rnn-hf fit`: the run folder, overrides, exported weights, repeatability, and every wrong input."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from .conftest import write_workplace


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_the_run_folder_is_complete(workplace, name):
    run = workplace / "runs" / name
    pictures = {"confusion_matrix.png", "reliability_diagram.png"} if name == "classifier" else set()
    assert {p.name for p in run.iterdir()} == {"model", "checkpoints", "metrics.csv", "curves.png"} | pictures
    checkpoint, mark = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert mark == f"{checkpoint}.sha256"
    files = {p.name for p in (run / "model").iterdir()}
    expected = {"config.json", "metrics.json", "model.safetensors", "recipe.yaml", "tokenizer.json"}
    expected |= {"tokenizer_config.json", "SHA256SUMS", "README.md", "curves.png"} | (
        {"generation_config.json"} if name == "lm" else set()
    )
    assert files == expected
    metrics = json.loads((run / "model" / "metrics.json").read_text())
    assert metrics["seed"] == 0
    assert metrics["versions"]["torch"] == torch.__version__
    assert metrics["data"]["splits"]["test"]
    assert (run / "metrics.csv").read_text().count("\n") > 3
    assert set(metrics["reports"]) == ({"validation", "test"} if name == "classifier" else set())


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_evaluate_repeats_the_metrics_of_the_run(workplace, rnn_hf, name):
    """The exported weights are the best ones: their figures come back from the folder alone."""
    metrics = json.loads((workplace / "runs" / name / "model" / "metrics.json").read_text())
    for split in ("test", "validation"):
        code, out, err = rnn_hf("evaluate", f"runs/{name}", "--data", "reviews", "--split", split, "--json")
        assert code == 0, err
        again = json.loads(out)
        assert again.pop("eval_state", None) == ("carried" if name == "lm" else None)
        expected = {
            key.removeprefix(f"{split}/"): v for key, v in metrics["metrics"].items() if key.startswith(f"{split}/")
        }
        assert {key: again.pop(key) for key in expected} == pytest.approx(expected, rel=1e-5, abs=1e-9)
        report = metrics["reports"].get(split, {})
        assert set(again) == set(report)
        assert again.get("confusion_matrix") == report.get("confusion_matrix")


def test_texts_scored_each_by_itself_and_steps_of_random_length(workplace, rnn_hf):
    """`eval_state` stands in metrics.json beside the figures, and `evaluate` repeats them in the same state alone."""
    code, out, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/reset", "--data.eval_state", "reset",
        "--data.random_sequence_length", "true", "--trainer.max_epochs", "1",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads((workplace / "runs/reset/model/metrics.json").read_text())
    assert report["data"]["eval_state"] == "reset"
    assert {"bits_per_character", "bits_per_byte"} <= set(report["units"])
    recipe = yaml.safe_load((workplace / "runs/reset/model/recipe.yaml").read_text())
    assert recipe["data"]["random_sequence_length"] is True
    assert "full_rate_length" not in recipe["model"], "it follows from the data's"
    expected = {key.removeprefix("test/"): v for key, v in report["metrics"].items() if key.startswith("test/")}
    for state in ("reset", "carried"):
        code, out, err = rnn_hf("evaluate", "runs/reset", "--data", "reviews", "--json", "--eval-state", state)
        assert code == 0, err
        again = json.loads(out)
        assert again.pop("eval_state") == state
        assert again["tokens"] == report["data"]["splits"]["test"]["tokens"]
        assert (again == pytest.approx(expected, rel=1e-5)) == (state == "reset")
    code, out, err = rnn_hf("evaluate", "runs/reset", "--data", "reviews")
    assert "eval_state reset\n" in out and "eval_state reset, as for the model's own figures" in err
    assert "eval_state carried\n" in rnn_hf("evaluate", "runs/lm", "--data", "reviews")[1]


def test_what_was_learnt(workplace):
    lm = json.loads((workplace / "runs/lm/model/metrics.json").read_text())
    assert lm["metrics"]["test/perplexity"] < lm["data"]["baselines"]["test/unigram_perplexity"]
    classifier = json.loads((workplace / "runs/classifier/model/metrics.json").read_text())
    assert classifier["metrics"]["test/accuracy"] > 0.9 > classifier["data"]["baselines"]["test/majority_accuracy"]


def test_predict_reads_as_much_of_a_text_as_training_did(workplace, rnn_hf):
    """`max_length` travels with the tokenizer: what stands behind it changes nothing."""
    code, _, err = rnn_hf(
        "fit", "--config", "classifier.yaml", "--data.max_length", "4", "--trainer.max_epochs", "1",
        "--output_dir", "runs/first_words",
    )  # fmt: skip
    assert code == 0, err
    first = rnn_hf("predict", "runs/first_words", "the film was great")[1]
    assert rnn_hf("predict", "runs/first_words", "the film was great and dull and slow and boring")[1] == first


def test_from_pretrained_opens_both_folders(workplace):
    lm = AutoModelForCausalLM.from_pretrained("runs/lm/model")
    tokenizer = AutoTokenizer.from_pretrained("runs/lm/model")
    assert lm.config.eos_token_id == tokenizer.eos_token_id == lm.generation_config.eos_token_id
    assert lm.generate(**tokenizer("the film", return_tensors="pt"), max_new_tokens=3).shape[1] > 2
    classifier = AutoModelForSequenceClassification.from_pretrained("runs/classifier/model")
    assert classifier.config.id2label == {0: "negative", 1: "positive"}


def test_overrides_keep_their_types_and_merge(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/overridden", "--model.config.hidden_size", "7",
        "--model.config.layer_norm", "true", "--model.config.output_dropout=0.25", "--model.config.cell_type", "gru",
        "--trainer.max_epochs=1", "--seed_everything", "5",
    )  # fmt: skip
    assert code == 0, err
    config = json.loads((workplace / "runs/overridden/model/config.json").read_text())
    assert (config["hidden_size"], config["embedding_size"]) == (7, 12)
    assert (config["layer_norm"], config["output_dropout"], config["cell_type"]) == (True, 0.25, "gru")
    assert json.loads((workplace / "runs/overridden/model/metrics.json").read_text())["seed"] == 5


def test_the_saved_recipe_repeats_the_run_bit_by_bit_and_another_seed_differs(tmp_path):
    """In fresh processes; the default run folder never collides."""
    write_workplace(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def fit(*arguments):
        command = [sys.executable, "-m", "rnn_hf.cli", "fit", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    first = fit("--config", "classifier.yaml", "--model.config.hidden_dropout=0.2", "--trainer.max_epochs=1")
    assert "wrote runs/classifier/model" in first.stdout
    assert "validation/accuracy" in first.stderr
    fit("--config", "runs/classifier/model/recipe.yaml")
    fit("--config", "classifier.yaml", "--trainer.max_epochs=1", "--seed_everything=1")
    weights = [(tmp_path / f"runs/classifier{n}/model/model.safetensors").read_bytes() for n in ("", "-2", "-3")]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_fine_tuning_takes_encoder_and_tokenizer_from_a_run_folder(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "classifier.yaml", "--model.pretrained", "runs/lm", "--output_dir", "runs/tuned",
        "--model.config.bidirectional", "false", "--trainer.max_epochs", "1",
    )  # fmt: skip
    assert code == 0, err
    assert (workplace / "runs/tuned/model/tokenizer.json").read_text() == (
        workplace / "runs/lm/model/tokenizer.json"
    ).read_text()
    report = json.loads((workplace / "runs/tuned/model/metrics.json").read_text())
    assert report["pretrained"] == {
        "name": "lm", "is_local": True, "task": "language_modeling", "dataset": "reviews", "leaks": [],
    }  # fmt: skip
    assert (
        "It starts from the weights of lm, which was trained on reviews."
        in (workplace / "runs/tuned/model/README.md").read_text()
    )


WRONG = [
    (["fit"], None),
    (["fti"], "unknown command 'fti' (did you mean 'fit'?)"),
    (["fit", "--config", "lm.yml"], "no recipe file 'lm.yml'"),
    (["fit", "--config", "quickstart/sentimant"], "did you mean 'quickstart/sentiment'?"),
    (["fit", "--config", "lm.yaml", "--modle.learning_rate", "1"], "unknown key 'modle.learning_rate'"),
    (["fit", "--config", "lm.yaml", "--model.learning_rat", "1"], "(did you mean 'model.learning_rate'?)"),
    (["fit", "--config", "lm.yaml", "--model.config.hiden_size", "1"], "(did you mean 'hidden_size'?)"),
    (["fit", "--config", "lm.yaml", "--model.config.hidden_size", "1.5"], "hidden_size must be a whole number"),
    (["fit", "--config", "lm.yaml", "--model.config.bidirectional", "true"], "bidirectional must be false"),
    (["fit", "--config", "lm.yaml", "--trainer.max_epoch", "1"], "(did you mean 'trainer.max_epochs'?)"),
    (["fit", "--config", "lm.yaml", "--trainer.max_epochs", "many"], "trainer.max_epochs must be"),
    (["fit", "--config", "lm.yaml", "--data.batch_size", "0"], "batch_size must be a whole number from 1"),
    (["fit", "--config", "lm.yaml", "--data.dataset", "revews"], "(did you mean 'reviews'?)"),
    (["fit", "--config", "lm.yaml", "--data.text_column", "txt"], "no column 'txt' in"),
    (["fit", "--config", "lm.yaml", "--data.dataset", "empty.txt"], "empty.txt holds no"),
    (["fit", "--config", "lm.yaml", "--task", "classifcation"], "(did you mean 'classification'?)"),
    (["fit", "--config", "classifier.yaml", "--model.pretrained", "runs/none"], "no such folder: 'runs/none'"),
    (["fit", "--config", "classifier.yaml", "--data.label_column", "lable"], "(did you mean 'label'?)"),
    (["fit", "--config", "lm.yaml", "--output_dir", "reviews"], "output_dir 'reviews' is not empty"),
    (["fit", "--config", "broken.yaml"], "is not valid YAML"),
    (["fit", "--config", "list.yaml"], "must hold a mapping"),
    (["fit", "--config", "null.yaml"], "model must be a mapping; got None"),
    (["predict", "untokenised", "good film"], "holds no tokenizer.json"),
    (["fit", "--config", "typo.yaml"], "unknown key 'data.batchsize' in typo.yaml (did you mean 'data.batch_size'?)"),
    (["fit", "--config", "lm.yaml", "--data.tokenizer.kind", "wrd"], "(did you mean 'word'?)"),
    (["fit", "--config", "layer.yaml", "--data.tokenizer.vocb_size", "9"], "(did you mean 'vocab_size'?)"),
    (["fit", "--config", "layer.yaml", "--data.tokenizer.vocab_size", "0"], "vocab_size must be a whole number from 4"),
    (["fit", "--config", "layer.yaml", "--trainer.max_epochs", "0"], "trainer.max_epochs must be more than 0, or noth"),
    (["fit", "--config", "lm.yaml", "--max_steps", "0"], "trainer.max_steps must be more than 0"),
    (["fit", "--config", "lm.yaml", "--max_step", "9"], "unknown key 'max_step' on the command line"),
    (["fit", "--config", "lm.yaml", "--device", "gpu"], "--device must be one of auto, cpu, cuda, mps; got 'gpu'"),
    (["fit", "--config", "lm.yaml", "--device", "mps"], "device mps is not on this machine, or not in its torch; here"),
    (["fit", "--config", "lm.yaml", "--data.seed", "5"], "'data.seed' on the command line cannot be set: it is taken"),
    (["fit", "--config", "lm.yaml", "--model.tokenizer", "x"], "it is taken from data.tokenizer"),
    (["fit", "--config", "classifier.yaml", "--model.id2label", "x"], "it is taken from data.id2label"),
    (["fit", "--config", "classifier.yaml", "--model.id2label.0", "x"], "it is taken from data.id2label"),
    (
        ["fit", "--config", "linked.yaml"],
        "'model.id2label' in linked.yaml cannot be set: it is taken from data.id2label",
    ),
    (["fit", "--config", "misnamed.yaml"], "the recipe has no task: 'taks' is no key (did you mean 'task'?)"),
    (["fit", "--config", "lm.yaml", "--logger", "tensorbord"], "logger must be Literal['csv', 'tensorboard', 'wandb']"),
    (
        ["fit", "--config", "lm.yaml", "--early_stopping_patience", "-1"],
        "early_stopping_patience must be a whole number",
    ),
    (
        ["fit", "--config", "lm.yaml", "--config", "value.yaml"],
        "callbacks: EarlyStopping: patience must be int; got 'many'",
    ),
    (["fit", "--config", "lm.yaml", "--config", "beside.yaml"], "unknown key 'patience' beside class_path"),
    (
        ["fit", "--config", "lm.yaml", "--config", "nameless.yaml"],
        "a class is given as its name or as {class_path: NAME",
    ),
    (["fit", "--config", "lm.yaml", "--trainer.logger", "TensorBoardLogger"], "arguments are required: save_dir"),
    (
        ["fit", "--config", "lm.yaml", "--logger=wandb", "--trainer.logger=false"],
        "give logger (wandb) or trainer.logger",
    ),
    (["lr-find"], None),
    (["lr-find", "--config", "lm.yaml", "--min_rate", "0"], "--min_rate must be a number above 0; got '0'"),
    (["lr-find", "--config", "lm.yaml", "--min_rate", "1", "--max_rate", "0.1"], "--max_rate must be a number above 1"),
    (["lr-find", "--config", "lm.yaml", "--num_rates", "5"], "--num_rates must be a whole number above 20; got '5'"),
    (["lr-find", "--config", "lm.yaml", "--model.learning_rat", "5"], "(did you mean 'model.learning_rate'?)"),
    (["lr-find", "--model.learning_rate", "5"], "lr-find needs --config RECIPE"),
    (["fit", "lm.yaml"], "only options are taken, --name value; got 'lm.yaml'"),
    (["generate", "runs/lm", "--promt", "x"], "unknown argument '--promt' (did you mean '--prompt'?)"),
    (["generate", "runs/lm", "--prompt", ""], "is empty"),
    (["generate", "runs/lm", "--prompt", "zzz"], "only words that the tokenizer does not know"),
    (["generate", "runs/lm", "--temperature", "-1"], "--temperature must be 0 or more"),
    (["generate", "runs/lm", "--top-p", "0"], "--top-p must be"),
    (["generate", "runs/lm", "--max-new-tokens", "0"], "--max-new-tokens must be at least 1"),
    (["generate", "runs/classifier"], "holds a text classifier, not a language model"),
    (["generate", "./nowhere"], "no such folder: './nowhere'"),
    (["generate", "reviews"], "holds no model"),
    (["predict", "runs/lm", "x"], "holds a language model, not a text classifier"),
    (["predict", "runs/classifier", "good film", ""], "text 2 '' is empty"),
    (["predict", "runs/classifier", "zzz"], "only words that the tokenizer does not know"),
    (["score", "runs/lm", ""], "is empty"),
    (["evaluate", "runs/lm", "--data", "nowhere.txt"], "no data set 'nowhere.txt'"),
    (["evaluate", "runs/classifier", "--data", "other.csv"], "label must be one of negative, positive; got 'neutral'"),
    (["evaluate", "runs/lm"], "--data"),
    (["fit", "--config", "lm.yaml", "--data.eval_state", "rest"], "(did you mean 'reset'?)"),
    (["evaluate", "runs/lm", "--datta", "reviews"], "unknown argument '--datta' (did you mean '--data'?)"),
    (["evaluate", "runs/lm", "--data", ""], "the data set must be a file, a folder, a Hub id or one of"),
    (["evaluate", "number", "--data", "reviews"], "is for models that give labels; 'number' gives a number"),
    (["predict", "number", "good film"], "predict is for models that give labels"),
    (["fit", "--config", "lm.yaml", "--output_dir", ""], "output_dir must be a new folder"),
    (["fit", "--config", "lm.yaml", "--model.config.dtype", "flot32"], "(did you mean 'float32'?)"),
    (["fit", "--config", "classifier.yaml", "--model.pretrained", "absent"], "no such folder: 'absent'; a Hub"),
    (["predict", "reveiws", "x"], "no such folder: 'reveiws' (did you mean 'reviews'?); a Hub id is owner/name"),
    (["predict", "me/nowhere", "x"], "no folder 'me/nowhere' is here, and the Hub was not reached"),
    (["fit", "--config", "layer.yaml", "--data.tokenizer.knd", "byte"], "'knd' (did you mean 'kind'?)"),
    (["fit", "--config", "classifier.yaml", "--data.dataset", "lists.jsonl"], "set data.multi_label true"),
    (["fit", "--config", "runs/lm/model/recipe.yaml", "--data.dataset", "sp"], "relative to the folder that it ran in"),
    (["fit", "--config", "lm.yaml", "--data.dataset", "semicolons.csv"], "they seem to be separated by ';'"),
    (["fit", "--config", "lm.yaml", "--config", "callback.yaml"], "no class 'EarlyStoping' (did you mean 'EarlyStopp"),
    (["fit", "--config", "lm.yaml", "--config", "argument.yaml"], "no argument 'moniter' (did you mean 'monitor'?)"),
    (["fit", "--config", "lm.yaml", "--config", "monitor.yaml"], "(did you mean 'validation/perplexity'?)"),
    (["fit", "--config", "lm.yaml", "--trainer.callbacks", "EarlyStoping"], "no class 'EarlyStoping' (did you mean"),
    (["fit", "--config", "lm.yaml", "--config", "second.yaml"], "no class 'EarlyStoping' (did you mean 'EarlyStopp"),
    (
        ["fit", "--config", "lm.yaml", "--config", "train.yaml"],
        "EarlyStopping's monitor must be one of validation/loss",
    ),
    (["predict", "runs/classifier", "caf\udce9"], r"text 1 'caf\udce9' is not valid UTF-8"),
    (["fit", "--config", "lm.yaml", "--config", "logger.yaml"], "no class 'CSVLoger' (did you mean 'CSVLogger'?)"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG, ids=lambda x: " ".join(x)[:60] if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_destroys_nothing(workplace, rnn_hf, argv, message):
    (workplace / "empty.txt").write_text("")
    (workplace / "broken.yaml").write_text("task: [")
    (workplace / "lists.jsonl").write_text('{"text": "a", "label": ["x", "y"]}\n')
    (workplace / "semicolons.csv").write_text("text;label\na;b\n")
    (workplace / "list.yaml").write_text("- task")
    (workplace / "typo.yaml").write_text("task: classification\ndata: {dataset: reviews, batchsize: 3}\n")
    (workplace / "null.yaml").write_text("task: classification\nmodel: null\n")
    (workplace / "untokenised").mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (workplace / "untokenised" / name).write_bytes((workplace / "runs/classifier/model" / name).read_bytes())
    (workplace / "other.csv").write_text("text,label\ngood film,neutral\n")
    (workplace / "callback.yaml").write_text("trainer: {callbacks: [{class_path: EarlyStoping}]}\n")
    for name in ("moniter", "monitor"):
        callback = f"{{class_path: EarlyStopping, init_args: {{{name}: validation/perplexty}}}}"
        file = {"moniter": "argument.yaml", "monitor": "monitor.yaml"}[name]
        (workplace / file).write_text(f"trainer: {{callbacks: [{callback}]}}\n")
    (workplace / "second.yaml").write_text(
        "trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {monitor: validation/loss}}, EarlyStoping]}\n"
    )
    (workplace / "train.yaml").write_text(
        "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {monitor: train/loss}}]}\n"
    )
    (workplace / "layer.yaml").write_text("task: language_modeling\ndata: {dataset: absent, tokenizer: {kind: word}}\n")
    (workplace / "linked.yaml").write_text(
        "task: classification\nmodel: {id2label: {0: a}}\ndata: {dataset: reviews}\n"
    )
    (workplace / "misnamed.yaml").write_text("taks: classification\n")
    stop = "{class_path: EarlyStopping, init_args: {monitor: validation/loss, patience: many}}"
    (workplace / "value.yaml").write_text(f"trainer: {{callbacks: [{stop}]}}\n")
    (workplace / "beside.yaml").write_text("trainer: {callbacks: [{class_path: EarlyStopping, patience: 3}]}\n")
    (workplace / "nameless.yaml").write_text("trainer: {callbacks: [{init_args: {monitor: validation/loss}}]}\n")
    (workplace / "logger.yaml").write_text("trainer: {logger: {class_path: CSVLoger}}\n")
    (workplace / "number").mkdir(exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (workplace / "number" / name).write_bytes((workplace / "runs/classifier/model" / name).read_bytes())
    config = json.loads((workplace / "runs/classifier/model/config.json").read_text())
    (workplace / "number/config.json").write_text(json.dumps({**config, "problem_type": "regression"}))

    def snapshot():
        return {p: p.stat().st_mtime_ns for p in workplace.rglob("*") if p.is_file()}

    before = snapshot()
    code, out, err = rnn_hf(*argv)
    assert snapshot() == before
    if message is None:  # no argument at all: the help
        assert (code, err) == (0, "")
        assert "--config RECIPE" in out
        return
    errors = [line for line in err.splitlines() if line.startswith("rnn-hf: error:")]
    assert len(errors) == 1, err
    assert message in errors[0]
    assert "Traceback" not in err
    assert code == 2


def test_help_is_quick_and_names_every_verb():
    """Help does not wait for Lightning, which costs seconds."""
    code = "import sys; from rnn_hf.cli import main; main(['--help']); assert 'lightning' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    for verb in ("fit", "recipes", "lr-find", "generate", "predict", "evaluate", "card", "score", "quickstart"):
        assert f"\n  {verb} " in out.stdout


def test_cutoffs_go_by_the_vocabulary_of_the_data(workplace, rnn_hf):
    """Not by the 10,000 words of a configuration without data."""
    head = ("--model.config.lm_head", "adaptive", "--model.config.adaptive_cutoffs", "[20000]")
    code, _out, err = rnn_hf("fit", "--config", "lm.yaml", "--output_dir", "runs/clusters", *head)
    words = len(json.loads((workplace / "runs/lm/model/tokenizer.json").read_text())["model"]["vocab"])
    assert code == 2 and f"adaptive_cutoffs must be below vocab_size={words}; got [20000]" in err


NGRAM = """\
task: language_modeling
model: {config: {model_type: ngram, order: 3}}
data: {dataset: reviews, batch_size: 1}
"""


def test_a_family_that_is_counted(workplace, rnn_hf):
    """One pass, no optimiser, no checkpoint; and the folder serves every verb."""
    (workplace / "ngram.yaml").write_text(NGRAM)
    code, out, err = rnn_hf("fit", "--config", "ngram.yaml", "--output_dir", "runs/ngram")
    assert code == 0, err
    assert {path.name for path in (workplace / "runs/ngram").iterdir()} == {"model", "metrics.csv"}
    report = json.loads((workplace / "runs/ngram/model/metrics.json").read_text())
    assert report["metrics"]["test/perplexity"] < 1.2 * report["data"]["baselines"]["test/unigram_perplexity"]
    assert report["reports"]["test"]["smoothing"]["maximum_likelihood"]["perplexity"] is None
    assert report["parameters"] > 100
    card = (workplace / "runs/ngram/model/README.md").read_text()
    assert "A 3-gram modified Kneser-Ney language model" in card
    assert "Fitted in one pass over the training split, " in card
    assert "`rnn-hf fit --config ngram.yaml`" in card and "Versions: rnn-hf" in card and "curves.png" not in card
    code, out, err = rnn_hf("evaluate", "runs/ngram", "--data", "reviews", "--json")
    assert json.loads(out)["perplexity"] == pytest.approx(report["metrics"]["test/perplexity"], rel=1e-5)
    code, out, err = rnn_hf("score", "runs/ngram", "the film is good")
    assert code == 0 and "perplexity" in out
    code, out, err = rnn_hf("generate", "runs/ngram", "--prompt", "the film", "--max-new-tokens", "5")
    assert code == 0 and out.startswith("the film")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.learning_rate", "1"], "unknown key 'model.learning_rate'"),
        (["--model.config.smoothing", "kneserney"], "smoothing must be one of"),
        (["--model.config.model_type", "ngrm"], "did you mean 'ngram'"),
        (["--trainer.max_epochs", "2"], "trainer.max_epochs must be 1; got 2"),
        (["--trainer.devices", "2"], "is fitted to all training data by one process"),
        (["--model.config.smoothing", "maximum_likelihood"], "probability 0 under smoothing 'maximum_likelihood'"),
    ],
)
def test_what_a_counted_family_refuses(workplace, rnn_hf, options, message):
    (workplace / "ngram.yaml").write_text(NGRAM)
    code, _out, err = rnn_hf("fit", "--config", "ngram.yaml", "--output_dir", "runs/refused", *options)
    assert code == 2 and message in err
    assert not (workplace / "runs/refused/model").exists()


def test_other_verbs_on_a_counted_family(workplace, rnn_hf):
    (workplace / "ngram.yaml").write_text(NGRAM)
    code, _out, err = rnn_hf("lr-find", "--config", "ngram.yaml")
    assert code == 2 and "lr-find is for models that are trained step by step" in err
    assert rnn_hf("fit", "--config", "ngram.yaml", "--fast_dev_run")[0] == 0


def test_a_feed_forward_model(workplace, rnn_hf):
    code, _out, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/ffn", "--model.config.model_type", "ffn",
        "--model.label_smoothing", "0.1", "--model.activation_penalty", "1",
        "--model.temporal_activation_penalty", "1",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads((workplace / "runs/ffn/model/metrics.json").read_text())
    assert report["metrics"]["test/perplexity"] < 1.2 * report["data"]["baselines"]["test/unigram_perplexity"]
