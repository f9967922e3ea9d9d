"""Ray found or started, asked what it has, and watched while it trains."""
