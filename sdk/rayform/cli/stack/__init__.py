"""`rayform stack`: registered stacks, and the life cycle of deployed ones. `registration` has the command group."""
