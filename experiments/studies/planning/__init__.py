"""What a study will take: time, memory, disk, downloads; what fits into a budget."""
