"""`colon-ats`: see `search_ats`."""

from functools import partial

from hrviz.training import search_ats

train = partial(search_ats.train, "colon-ats")
