"""Low-fidelity images, and what raters say about them."""
