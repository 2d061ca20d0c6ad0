"""What more than one Reelay service needs, and nothing else."""
