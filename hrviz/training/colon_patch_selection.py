"""`colon-patch-selection`: see `search_patch_selection`."""

from functools import partial

from hrviz.training import search_patch_selection

train = partial(search_patch_selection.train, "colon-patch-selection")
