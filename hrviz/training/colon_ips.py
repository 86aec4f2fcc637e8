"""`colon-ips`: see `search_ips`."""

from functools import partial

from hrviz.training import search_ips

train = partial(search_ips.train, "colon-ips")
