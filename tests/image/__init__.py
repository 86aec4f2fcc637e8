"""Tests of hrviz.image."""
