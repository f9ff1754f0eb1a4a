"""``python -m bedkd``, and what ``accelerate launch -m bedkd`` and ``torchrun -m bedkd`` start."""

from bedkd.cli import app

if __name__ == "__main__":
    app(prog_name="bedkd")
