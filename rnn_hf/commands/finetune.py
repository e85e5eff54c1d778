"""`rnn-hf finetune LM_FOLDER --data FILE`: a classifier from a language model, the second and third stage of ULMFiT
(Howard & Ruder 2018) in one command.

Notable: the texts are split once, by the classifier's data module, and both stages read what was written: no held-out
text is in the language model's training text. The options of both, the columns and the labels are checked before the
first is trained. The same command goes on where it was interrupted.

Here stands what needs no Lightning, so that it answers at once; `finetuning.py` has the rest.
"""

from ..models.suggestion import suggestion
from .fit import command_line_options

HELP = """usage: rnn-hf finetune LM_FOLDER --data DATA [--output_dir DIR] [--KEY.KEY VALUE ...]

Trains a classifier of your texts that starts from a language model: the language model goes on with your texts, then a
classifier is trained on its encoder (ULMFiT, Howard & Ruder 2018). Writes a folder with data/ (the texts as they were
split), lm/ and classifier/ (run folders). The same command goes on where it was interrupted.

  LM_FOLDER              run folder, model folder or Hub id of a recurrent language model, as
                         `rnn-hf fit --config custom/language_modeling` trains one
  --data DATA            csv, tsv, json, jsonl, parquet; a folder with train.*, validation.* and test.*; a Hub id, or a
                         name such as rotten_tomatoes. What has no validation or test split gets one, a tenth each;
                         training texts that equal a held-out one are left out
  --text-column NAME     default: text
  --label-column NAME    default: label. A list of labels makes the classifier multi-label, as does
                         --classifier.data.label_separator ";" for labels in a string
  --output_dir DIR       default: runs/finetune, then runs/finetune-2, ...
  --device, --seed_everything, --early_stopping_patience and --KEY.KEY VALUE as for `rnn-hf fit`
                         for both stages: --trainer.precision bf16-mixed --seed_everything 1
  --lm.KEY VALUE, --classifier.KEY VALUE
                         for one of them: --lm.trainer.max_epochs 1 --classifier.model.learning_rate 0.01
  --lm.config RECIPE, --classifier.config RECIPE
                         in place of custom/finetune_1_lm and custom/finetune_2_classifier: copy those and edit them

The language model keeps its words. --lm.data.tokenizer "{kind: word, lowercase: true}" gives it those of your texts:
words that it knows keep their vectors, the others are learnt.

examples:
  rnn-hf finetune runs/quickstart/language_model --data reviews.csv --text-column review --label-column stars
  rnn-hf finetune runs/rotten_tomatoes/ulmfit_1_lm --data rotten_tomatoes --trainer.precision bf16-mixed
"""

RECIPES = {"lm": "custom/finetune_1_lm", "classifier": "custom/finetune_2_classifier"}  # in the order of the stages
OWN = ("data", "text_column", "label_column", "output_dir")
SECTIONS = ("model", "data", "trainer", "hub")  # of a recipe
OF_FIT = (
    "config",
    "device",
    "seed_everything",
    "early_stopping_patience",
    "skip_nonfinite",
    "checkpoint_every_n_steps",
    "logger",
    "max_steps",
)
# keys of the stages that are not theirs to set -> the cure
TAKEN = {
    "model.pretrained": "the language model is the first word after finetune",
    "data.dataset": "give --data",
    "data.path": "give --data",
    "data.text_column": "give --text-column",
    "data.label_column": "give --label-column",
}


def run(argv: list[str]) -> None:
    if not argv or {"-h", "--help"} & {*argv}:
        print(HELP, end="")
        return
    if argv[0].startswith("-"):
        raise ValueError(f"the language model comes first: rnn-hf finetune LM_FOLDER --data DATA ...; got {argv[0]!r}")
    if argv[1:] and not argv[1].startswith("-"):
        raise ValueError(
            f"finetune takes one language model, and the texts by --data; got {argv[1]!r} behind {argv[0]!r}"
        )
    own, options = sorted_options(command_line_options(argv[1:]))
    if own.get("text_column", "text") == own.get("label_column", "label"):
        raise ValueError(
            f"--text-column and --label-column are two columns; got {own.get('text_column', 'text')!r} twice"
        )
    if "data" not in own:
        raise ValueError("finetune needs --data: a file, a folder, a Hub id or a name such as rotten_tomatoes")

    from .finetuning import finetune  # 4 s, which no error above should cost

    finetune(argv[0], own, options)


def sorted_options(
    given: list[tuple[str, str | None]],
) -> tuple[dict[str, str], dict[str, list[tuple[str, str | None]]]]:
    """(the verb's own options, the options of `rnn-hf fit` for each stage).

    Raises:
        ValueError: an option that is unknown, lacks its value, or is not to be set here.
    """
    own: dict[str, str] = {}
    options: dict[str, list[tuple[str, str | None]]] = {stage: [] for stage in RECIPES}
    for name, value in given:
        if (plain := name.replace("-", "_")) in OWN:
            if not value:
                raise ValueError(f"--{name} needs a value")
            own[plain] = value
            continue
        stage, _, key = name.partition(".")
        if key and stage not in (first := (*RECIPES, *SECTIONS)):
            near = suggestion(stage, first)
            raise ValueError(f"unknown option --{name}: it must begin with one of {', '.join(first)}{near}")
        stages, key = ([stage], key) if key and stage in RECIPES else ([*RECIPES], name)
        if key in TAKEN:
            raise ValueError(f"--{name} cannot be set: {TAKEN[key]}")
        if "." not in key and key not in OF_FIT:
            allowed = [*OWN, *OF_FIT, *(f"{stage}.{option}" for stage in RECIPES for option in OF_FIT)]
            raise ValueError(f"unknown option --{name}{suggestion(name, allowed)}; `rnn-hf finetune --help` explains")
        if name == "config" or name.startswith("hub."):
            raise ValueError(f"--{name} is for one stage: --classifier.{name} or --lm.{name}")
        for stage in stages:
            options[stage].append((key, value))
    return own, options
