"""A package of someone else that plugs into every place where ours can be plugged in.

It is found by its entry points where the folder above is on PYTHONPATH.
"""
