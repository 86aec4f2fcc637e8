"""Trains `vessel-deformation`: see `hrviz.training.deformation`."""

from functools import partial

from hrviz.training import deformation

train = partial(deformation.train, "vessels")
