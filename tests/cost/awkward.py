"""Networks that the meter refuses, for its tests and the command line's; registered once a process."""

from __future__ import annotations

import torch
from torch import nn


def misfit() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    net.load_state_dict({"0.weight": torch.zeros(4, 5, 1, 1), "0.bias": torch.zeros(4)})
    return net


class Branching(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y * 2 if y.mean() > 0 else y


class Picking(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[x > 0]


class Numpy(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(super().forward(x).detach().numpy())


class Detached(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).detach()


class Custom(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twice(super().forward(x))


class Old(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.hrviz_test.thrice(super().forward(x))


@torch.library.custom_op("hrviz_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


LIBRARY = torch.library.Library("hrviz_test", "FRAGMENT")
LIBRARY.define("thrice(Tensor x) -> Tensor")
LIBRARY.impl("thrice", lambda x: x * 3, "CPU")
