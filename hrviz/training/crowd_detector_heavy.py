"""Trains SALISA's heavy detector of people, on full resolution (`crowd-detector-heavy`)."""

from functools import partial

from hrviz.training import crowd_detectors

train = partial(crowd_detectors.train, "crowd-detector-heavy")
