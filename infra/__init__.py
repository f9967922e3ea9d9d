"""How machines get there: templates of the files that start a cluster, and which of them make which kind of cluster.

Knows nothing of training: no ray, no torch, none of the other packages. `concord cluster init` fills the templates in.
"""
