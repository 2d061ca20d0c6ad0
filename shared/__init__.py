"""What more than one Reelay service needs, and nothing else."""

from shared.lean import refuse_unwanted

refuse_unwanted()
