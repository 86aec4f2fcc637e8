"""`colon-bagnet-17`: see `search_bagnet`."""

from functools import partial

from hrviz.training import search_bagnet

train = partial(search_bagnet.train, "colon-bagnet-17")
