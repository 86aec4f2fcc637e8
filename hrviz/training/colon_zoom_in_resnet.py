"""`colon-zoom-in-resnet`: see `zoom_in_recipes`."""

from functools import partial

from hrviz.training import zoom_in_recipes

train = partial(zoom_in_recipes.train, "colon-zoom-in-resnet")
