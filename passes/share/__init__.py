"""Weight sharing: many weights, few values."""
