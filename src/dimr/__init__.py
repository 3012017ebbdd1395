"""Reference reproduction of DiMR (arXiv 2406.09416): multi-resolution diffusion with TD-LN."""
