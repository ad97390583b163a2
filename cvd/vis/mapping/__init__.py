"""Images as points on a plane: those that a network finds alike lie near one another."""
