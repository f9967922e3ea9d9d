"""Methods that combine each coordinate of the task gradients by itself.

Each coordinate lies on one rank with the gradients of all groups, so that they are exact wherever it is cut.
"""
