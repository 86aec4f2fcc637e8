"""Every example in a docstring is true."""

import doctest
import importlib
import pkgutil

import pytest

import hrviz

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# those need a GUI, or start a program
LEFT_OUT = ("hrviz.napari", "hrviz.app", "hrviz.worker")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(hrviz.__path__, "hrviz.", onerror=lambda name: None)
    if not module.name.startswith(LEFT_OUT)
]


@pytest.mark.parametrize("name", ["hrviz", *MODULES])
def test_examples(name):
    module = importlib.import_module(name)
    # `Method` objects carry the docstring of their function: look there too
    finder = doctest.DocTestFinder()
    tests = finder.find(module, name)
    for value in vars(module).values():
        function = getattr(value, "function", None)
        if function is not None and function.__module__ == name:
            tests += finder.find(function, f"{name}.{function.__name__}", globs=vars(module))
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
