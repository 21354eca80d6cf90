"""Versions of models that do not change: manifests, stages, and each change of stage."""
