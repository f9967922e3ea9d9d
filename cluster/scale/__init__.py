"""What a step costs on so many GPUs, worked out without them."""
