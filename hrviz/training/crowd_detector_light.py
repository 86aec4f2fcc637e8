"""Trains SALISA's light detector of people, on the small frame, even or warped (`crowd-detector-light`)."""

from functools import partial

from hrviz.training import crowd_detectors

train = partial(crowd_detectors.train, "crowd-detector-light")
