"""Low-fidelity images, and what raters say of them."""
