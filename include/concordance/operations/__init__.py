"""How the product tells what it does: metrics and logs."""
