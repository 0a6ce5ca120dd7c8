"""How many labels are needed: curves from none on, and masks that other runs predict."""
