"""The plain network and its training in PyTorch, as its own tutorials write them; no need of this project."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.contest import Clock, Turn
from benchmarks.workload import BATCH, LABELS, SIZE

if TYPE_CHECKING:
    import torch


class Folder:
    """Images of a split and their labels, as a DataLoader asks for them; at the top level, for its workers."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Pixels (3, h, w), float32, 0..1, and the label, (1,)."""
        import torch

        file = self.files[index]
        with Image.open(file) as image:
            pixels = np.array(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        label = torch.tensor([float(LABELS.index(file.parent.name))])
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, label


def train_with_pytorch(folder: Path, epochs: int, turn: Turn) -> None:
    """Trains in bfloat16 and channels last; a worker decodes the files ahead, in every epoch, as DataLoaders do."""
    import torch

    turn.begin()
    clock = Clock()
    model = build_network()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-4, alpha=0.9)
    measure = torch.nn.BCEWithLogitsLoss()

    def run(loader: Any) -> None:
        for images, labels in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(model.training):
                logits = model(images.contiguous(memory_format=torch.channels_last))
                loss = measure(logits.float(), labels)
            if model.training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    train, validation = (
        torch.utils.data.DataLoader(
            Folder(folder / split),
            batch_size=BATCH,
            shuffle=split == "train",
            num_workers=1,
            persistent_workers=True,
        )
        for split in ("train", "validation")
    )
    for _ in range(epochs):
        model.train()
        clock.begin_steps()
        run(train)
        clock.end_steps(len(train.dataset))
        model.eval()
        run(validation)
        clock.end_epoch()
    clock.hand_in(turn)


def build_network() -> "torch.nn.Module":
    """The textbook's plain network, channels last."""
    import torch

    nn, channels = torch.nn, 3
    stack: list[torch.nn.Module] = []
    for filters in (32, 64, 128, 128):
        stack += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    model = nn.Sequential(*stack, nn.Flatten(), nn.LazyLinear(512), nn.ReLU(), nn.LazyLinear(1))
    model(torch.zeros(1, 3, SIZE, SIZE))  # gives the lazy layers their shapes
    return model.to(memory_format=torch.channels_last)
