"""Methods that weigh losses, one module each; `combination` says what they have in common."""
