"""`hardware`: what a run says of its machine."""

import platform

import torch

from rnn_hf.training.hardware import hardware


def test_the_processor():
    facts = hardware("cpu")
    assert facts["processor"] and facts["cores"] >= 1
    assert facts["threads"] == torch.get_num_threads()
    assert facts["memory_gb"] > 0.1
    assert "accelerator" not in facts
    assert platform.node() not in facts["platform"].split(), "the machine's name is nobody's business"


def test_an_accelerator_has_a_name_and_its_memory(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda device: type("Properties", (), {"total_memory": 80 * 10**9})
    )
    facts = hardware("cuda:1")
    assert (facts["accelerator"], facts["accelerator_memory_gb"]) == ("GPU 1", 80.0)
    assert hardware("mps")["accelerator"] == "mps"
