"""The snippets of a card: one for each way to load the model. A test runs them as they stand."""

import json
import shlex

from .facts import Facts

HERE = "."  # from where the snippets of a card without Hub id load
FALLBACK = "An example text."


def examples(facts: Facts) -> list[str]:
    """Texts to try the model on, where the run has kept some."""
    texts = facts.get("data", "sample_texts", default=[])
    # a back quote could end the snippet's block, and a dash would begin an option
    return [text for text in texts if "`" not in text and not text.startswith("-")]


def snippets(facts: Facts, where: str) -> list[tuple[str, str, str]]:
    """(heading, language, code) of each way to use the model.

    Args:
        where: a Hub id, or the path from which the snippets are run.
    """
    if not facts.has_tokenizer:
        return []
    texts = examples(facts) or [FALLBACK]
    found = [("With rnn-hf", "python", f"import rnn_hf  # pip install rnn-hf\n{_direct(facts, where, texts)}")]
    if facts.task.verb != "info":
        if facts.task.verb != "score":
            found.append(("In a pipeline", "python", _pipeline(facts, where, texts)))
        if not facts.gives_a_number:
            found.append(("From a shell", "bash", _shell(facts, where, texts)))
    if facts.has_code:
        code = _direct(facts, where, texts, ", trust_remote_code=True")
        found.append(("Without rnn-hf, by the code that lies beside the weights", "python", code))
    return found


def _direct(facts: Facts, where: str, texts: list[str], remote: str = "") -> str:
    task, place = facts.task, _string(where)
    use = {"generate": _generate, "score": _score, "info": _encode}.get(task.verb, _classify)(facts, texts)
    torch = "" if task.verb in ("generate", "score") else "import torch\n"
    return (
        f"{torch}from transformers import {task.auto_class}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({place}{remote})\n"
        f"model = {task.auto_class}.from_pretrained({place}{remote})\n{use}"
    )


def _generate(facts: Facts, texts: list[str]) -> str:
    return (
        f'inputs = tokenizer({_string(texts[0])}, return_tensors="pt")\n'
        "ids = model.generate(**inputs, max_new_tokens=20, do_sample=True)\n"
        "print(tokenizer.decode(ids[0]))"
    )


def _score(facts: Facts, texts: list[str]) -> str:
    return f"print(model.score({_string(texts[0])}, tokenizer)[0].perplexity)"


def _encode(facts: Facts, texts: list[str]) -> str:
    return (
        f'inputs = tokenizer({_string(texts[0])}, return_tensors="pt")\n'
        "with torch.no_grad():\n    print(model(**inputs).last_hidden_state.shape)"
    )


def _classify(facts: Facts, texts: list[str]) -> str:
    logits = "with torch.no_grad():\n    logits = model(**inputs).logits\n"
    if facts.task.pipeline_tag == "token-classification":
        return (
            f'inputs = tokenizer({_string(texts[0])}, return_tensors="pt")\n{logits}'
            "tags = [model.config.id2label[i] for i in logits[0].argmax(-1).tolist()]\n"
            'print(list(zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), tags)))'
        )
    lines = "".join(f"    {_string(text)},\n" for text in texts)
    read = f'texts = [\n{lines}]\ninputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")\n'
    if facts.gives_a_number:
        show = "print(logits.squeeze(-1).tolist())"
    elif facts.several_labels:
        show = (
            "for row in logits.sigmoid():\n"
            "    print([model.config.id2label[i] for i, p in enumerate(row.tolist()) if p > 0.5])"
        )
    else:
        show = "print([model.config.id2label[i] for i in logits.argmax(-1).tolist()])"
    return read + logits + show


def _pipeline(facts: Facts, where: str, texts: list[str]) -> str:
    task = facts.task.pipeline_tag
    more = ", max_new_tokens=20" if task == "text-generation" else ""
    every = ", top_k=None" if facts.several_labels else ""
    return (
        "import rnn_hf\nfrom transformers import pipeline\n\n"
        f"pipe = pipeline({_string(task)}, model={_string(where)}{every})\nprint(pipe({_string(texts[0])}{more}))"
    )


def _shell(facts: Facts, where: str, texts: list[str]) -> str:
    text = shlex.quote(texts[0]) if set(texts[0]) & set('"$`\\!') else f'"{texts[0]}"'
    if facts.task.verb == "generate":
        return f"rnn-hf generate {where} --prompt {text} --max-new-tokens 20"
    return f"rnn-hf {facts.task.verb} {where} {text}"


def _string(text: str) -> str:
    """A string of Python in double quotes, with no character that one does not see."""
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
