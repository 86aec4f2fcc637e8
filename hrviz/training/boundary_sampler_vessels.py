"""Trains `boundary-sampler-vessels`: see `hrviz.training.boundary_sampler`."""

from functools import partial

from hrviz.training import boundary_sampler

train = partial(boundary_sampler.train, "vessels")
