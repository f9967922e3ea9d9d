"""Methods that read the Gramian of the task gradients, one module each.

`combination` makes a combination of a weighting: groups, blocks, `every`, `after` and `strength` are the same for all.
"""
