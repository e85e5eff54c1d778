"""A model's parameters layer by layer: for learning rates that fall from layer to layer, and layers that thaw one after
another (Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", ULMFiT)."""

from torch.nn import Parameter
from transformers import PreTrainedModel


def layer_groups(model: PreTrainedModel) -> list[list[Parameter]]:
    """The parameters of the head, of each layer from the last to the first, and of the embedding.

    A norm behind the last layer belongs to it. An embedding whose vectors are the head's too belongs to the head.
    """
    embedding = model.get_input_embeddings().weight
    is_tied = model.config.tie_word_embeddings and hasattr(model, "lm_head")
    layers = getattr(model.base_model, "layers", [])
    group_of = {id(p): 1 + number for number, layer in enumerate(reversed(layers)) for p in layer.parameters()}
    group_of |= {id(p): 1 for p in model.base_model.parameters() if id(p) not in group_of}
    group_of[id(embedding)] = 0 if is_tied else len(layers) + 1
    groups = [[] for _ in range(len(layers) + 2)]
    for parameter in model.parameters():
        groups[group_of.get(id(parameter), 0)].append(parameter)
    return [group for group in groups if group]


def grouped_for_optimizer(
    groups: list[list[Parameter]], learning_rate: float, rate_divisor: float, weight_decay: float
) -> list[dict]:
    """The optimiser's groups: matrices decay, vectors do not; each layer's rate is the one above over `rate_divisor`.

    With a divisor of 1 there are two, all matrices and all vectors.
    """
    if rate_divisor == 1:
        groups = [[parameter for group in groups for parameter in group]]
    made = []
    for depth, group in enumerate(groups):
        rate = learning_rate / rate_divisor**depth
        matrices, vectors = [p for p in group if p.ndim >= 2], [p for p in group if p.ndim < 2]
        made.append({"params": matrices, "lr": rate, "weight_decay": weight_decay})
        made.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return [group for group in made if group["params"]]
