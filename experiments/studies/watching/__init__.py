"""Looking at a study again and again while others compute it."""
