"""Loads a data set of its own with the worker processes of PyTorch."""

import torch
from both_ways import finish
from torch.utils.data import DataLoader, Dataset

from rayform import pipeline, step


class Numbers(Dataset):
    """Ten numbers."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return index * index


def summed(items: list) -> int:
    return sum(items)


@step
def batches(method: str) -> list:
    torch.set_num_threads(1)
    loader = DataLoader(Numbers(), 5, num_workers=2, collate_fn=summed, multiprocessing_context=method)
    return list(loader)


@pipeline
def loading() -> object:
    return batches("fork"), batches("spawn")


if __name__ == "__main__":
    finish(loading)
