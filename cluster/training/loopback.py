"""What keeps a process group of this host's processes alone off the network."""

import os
import socket

LOOPBACK = "127.0.0.1"


def loopback_variables() -> dict[str, str]:
    """The variables by which gloo and NCCL listen on loopback alone, as they are where the user has set them."""
    interface = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if interface is None:
        return {}
    return {name: os.environ.get(name, interface) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
