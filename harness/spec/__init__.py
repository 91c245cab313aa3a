"""The spec language: layers, losses, optimizers, models, programs, and what each means in NumPy.

Standard library and NumPy only, so that it loads inside any backend's environment.
"""
