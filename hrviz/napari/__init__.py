"""The napari plugin: reader, sample data and one panel for all methods.

It holds no method logic: methods come from `hrviz.METHODS`, controls from `hrviz.forms.magicgui`,
layers from `hrviz.views.napari`. Nothing here imports napari or Qt until it is used.
"""
