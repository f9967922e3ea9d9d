"""How ranks talk to each other, by the device that they train on."""

# What lies on the host is told from host to host: that it waits for no GPU.
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
