"""PyTorch modules of each class come back in another process, and tensors of each layout."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.other_process import loaded_elsewhere
from support.sameness import assert_same, difference

from rayform_core.errors import UsageError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.local import LocalArtifactStore
from rayform_runtime.artifacts.values import save_value

torch = pytest.importorskip("torch")

Through = Callable[..., tuple[Any, Any]]

_ARGUMENTS: dict[str, Any] = {
    "cutoffs": [2, 4],
    "decoder_layer": lambda: torch.nn.TransformerDecoderLayer(4, 2, 8),
    "dim": 1,
    "embed_dim": 4,
    "encoder_layer": lambda: torch.nn.TransformerEncoderLayer(4, 2, 8),
    "mode": "LSTM",
    "module": lambda: torch.nn.Linear(2, 2),
    "n_classes": 6,
    "num_chunks": 4,
    "unflattened_size": (1, 2),
    "value": 1.0,
}
_GIVEN: dict[str, dict[str, Any]] = {
    "FractionalMaxPool2d": {"kernel_size": 2, "output_size": 2},
    "FractionalMaxPool3d": {"kernel_size": 2, "output_size": 2},
    "GRU": {"input_size": 2, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
    "LSTM": {"input_size": 2, "hidden_size": 3, "num_layers": 2, "proj_size": 2},
    "ModuleDict": {"modules": lambda: {"a": torch.nn.ReLU()}},
    "ModuleList": {"modules": lambda: [torch.nn.ReLU()]},
    "ParameterDict": {"parameters": lambda: {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(1)}},
    "ParameterList": {"values": lambda: [torch.nn.Parameter(torch.ones(2))]},
    "RNN": {"input_size": 2, "hidden_size": 3},
    "Transformer": {"d_model": 4, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1},
}


def _modules() -> Iterator[tuple[str, Any]]:
    """Yield a module of each class in `torch.nn`, built with small arguments."""
    for name, kind in inspect.getmembers(torch.nn, inspect.isclass):
        if not issubclass(kind, torch.nn.Module):
            continue
        arguments = dict(_GIVEN.get(name, {}))
        for parameter in inspect.signature(kind).parameters.values() if not arguments else ():
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                arguments[parameter.name] = _ARGUMENTS.get(parameter.name, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield name, kind(**{key: item() if callable(item) else item for key, item in arguments.items()})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_module_of_each_class_comes_back(tmp_path: Path, local_store: LocalArtifactStore) -> None:
    """Attributes, parameters and text of every class in `torch.nn` are the same in a new process."""
    modules = dict(_modules())
    assert len(modules) > 150
    saved = [save_value(local_store, new_id(), module) for module in modules.values()]
    loaded = loaded_elsewhere(tmp_path, local_store, saved)
    differences = {
        name: found
        for (name, module), copy in zip(modules.items(), loaded, strict=True)
        if (found := difference(module, copy))
    }
    assert not differences


class Reader(torch.nn.Module):
    """A network like many: embedding, LSTM, head; lists of plain attributes with tensors in them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 4)
        self.lstm = torch.nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = torch.nn.GRU(10, 3, batch_first=True)
        self.head = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
        self.masks = [torch.ones(2), {"a": torch.zeros(1)}]
        self.types = {"in": torch.float32, "act": torch.tanh}
        self.layer = torch.nn.Linear
        self.hidden = [torch.nn.Linear(1, 1)]

    def forward(self, tokens: Any) -> Any:
        states, _ = self.lstm(self.embed(tokens))
        states, _ = self.gru(states)
        return self.types["act"](self.head(states[:, -1])) * self.masks[0]


def test_recurrent_networks_come_back(through: Through) -> None:
    """They compute the same, can be trained, moved and stored again."""
    tokens = torch.randint(0, 10, (3, 6))
    network = Reader().eval()
    loaded, _ = through(network)
    assert torch.equal(loaded(tokens), network(tokens))
    assert loaded.lstm._flat_weights[0] is loaded.lstm.weight_ih_l0
    assert torch.equal(loaded.hidden[0].weight, network.hidden[0].weight)
    optimizer = torch.optim.SGD(loaded.parameters(), lr=1.0)
    loaded(tokens).sum().backward()
    optimizer.step()
    assert not torch.equal(loaded(tokens), network(tokens))
    again, _ = through(loaded.double())
    assert torch.equal(again(tokens), loaded(tokens))


def test_lazy_modules_come_back(through: Through) -> None:
    """A module whose shapes the first call decides makes them in the first call after it was loaded."""
    loaded, _ = through(torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.ReLU()))
    assert loaded(torch.ones(2, 5)).shape == (2, 3)
    assert type(loaded[0]) is torch.nn.Linear


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.jagged),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.ones(2).to(torch.float8_e4m3fn).float(),
        lambda: torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        lambda: torch.arange(6).reshape(2, 3).T,
        lambda: torch.tensor([1 + 2j]).conj(),
    ],
    ids=["nested", "csr", "quantized", "float8", "channels last", "transposed", "conjugate"],
)
def test_tensors_of_each_layout_come_back(through: Through, make: Callable[[], Any]) -> None:
    """Layout, strides and values; alone and in a list."""
    tensor = make()
    for loaded in (through(tensor)[0], through([tensor])[0][0]):
        assert_same(loaded, tensor)
        if tensor.layout is torch.strided and not tensor.is_quantized:
            assert loaded.stride() == tensor.stride()


class Labelled(torch.Tensor):
    """A tensor with a meaning that a plain one doesn't have."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2).as_subclass(Labelled),
        lambda: torch.eye(4).to_mkldnn(),
        lambda: torch.jit.script(torch.nn.Linear(1, 1)),
        lambda: {"a": torch.ones(2).as_subclass(Labelled)},
    ],
    ids=["subclass", "mkldnn", "script", "subclass inside"],
)
def test_what_would_not_come_back_is_refused(
    through: Through, local_store: LocalArtifactStore, make: Callable[[], Any]
) -> None:
    """With an error of ours, and nothing is left in the store."""
    with pytest.raises(UsageError):
        through(make())
    assert not list(local_store.list_objects())
