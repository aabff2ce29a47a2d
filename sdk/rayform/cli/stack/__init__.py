"""`rayform stack`: registered stacks, and the life of deployed ones. `registration` holds the group."""
