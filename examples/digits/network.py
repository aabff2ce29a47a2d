"""A small PyTorch network on the same digits, on a GPU if the step asks for one.

rayform run examples/digits/network.py                 on the CPU
rayform run examples/digits/network.py -p gpus=1       on a GPU; on a cluster this brings up a GPU node
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import nn

from images import NETWORK
from rayform import ArtifactConfig, ArtifactType, Client, Model, Resources, log_metadata, pipeline, step


@step
def fit_network(
    train_x: np.ndarray, train_y: np.ndarray, epochs: int, seed: int = 0
) -> Annotated[nn.Module, ArtifactConfig(name="network", artifact_type=ArtifactType.MODEL)]:
    """Train two layers; if the step's resources include a GPU, PyTorch sees it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    images = torch.tensor(train_x, dtype=torch.float32, device=device)
    digits = torch.tensor(train_y, dtype=torch.long, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), digits)
        loss.backward()
        optimizer.step()
        if (epoch + 1) % 50 == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f} on {device}")
    log_metadata({"device": device, "loss": loss.item()})
    return network.cpu()


@step
def score_network(
    network: nn.Module, test_x: np.ndarray, test_y: np.ndarray
) -> Annotated[float, "network_accuracy"]:
    """Measure how many test images the network gets right."""
    with torch.no_grad():
        read = network(torch.tensor(test_x, dtype=torch.float32)).argmax(dim=1).numpy()
    accuracy = float((read == test_y).mean())
    log_metadata({"accuracy": accuracy}, infer_model=True)
    return accuracy


@pipeline(model=Model(name="digits-network"), image=NETWORK)
def network_training(epochs: int = 150, gpus: float = 0.0) -> None:
    """Train on the newest data sets that feature engineering made."""
    client = Client()
    train_x, train_y = client.get_artifact_version("train_x"), client.get_artifact_version("train_y")
    test_x, test_y = client.get_artifact_version("test_x"), client.get_artifact_version("test_y")

    fit_on = fit_network.with_options(resources=Resources(gpus=gpus))
    score_network(fit_on(train_x, train_y, epochs), test_x, test_y)


if __name__ == "__main__":
    network_training()
